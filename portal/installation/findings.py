"""The signs of a copy, as they are stored and as a person reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# What each sign says. Those of the data folder begin with `folder_`.
SENTENCES = {
    "path": "The database file was {was} and is now {now}.",
    "inode": "The database file is not the one that was there before: it was copied, or put back.",
    "disk": "The database is on another disk or volume than before.",
    "server": "The database is on another PostgreSQL server than before.",
    "number": "It is another database on the same PostgreSQL server: it was copied there, or made again and loaded.",
    "address": "The database was reached at {was} before and is now reached at {now}.",
    "loaded": "The rows of the database were loaded from a dump.",
    "older": "The database is older than this data folder: change {number} of the audit log, made before, is missing.",
    "other_life": "The database is as it was before another state of it was confirmed here.",
    "no_witness": "The data folder has no record of this database: its file witness.json is missing, or another one's.",
    "folder_path": "The data folder was {was} and is now {now}.",
    "folder_inode": "The data folder is not the one that was there before: it was copied, or put back.",
    "folder_disk": "The data folder is on another disk or volume than before.",
    "folder_machine": "The portal runs on another machine than before.",
}
# Signs that say the same to a person.
SAME_AS = {"born": "inode", "folder_born": "folder_inode", "folder_network": "folder_machine"}
# A further machine that joins a portal shows these as well. It is welcome if others are at work.
OF_A_NEWCOMER = frozenset({"address", *(name for name in (*SENTENCES, *SAME_AS) if name.startswith("folder_"))})


@dataclass(frozen=True)
class Finding:
    """One sign of a copy: what was expected, and what is there."""

    sign: str
    was: str = ""
    now: str = ""

    @property
    def sentence(self) -> str:
        """What a person reads."""
        return SENTENCES[SAME_AS.get(self.sign, self.sign)].format(was=self.was, now=self.now, number=self.was)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"sign": self.sign, "was": self.was, "now": self.now}


def findings_of(rows: list[dict[str, Any]]) -> list[Finding]:
    """Return what was stored, each thing that a person reads once."""
    found = {SAME_AS.get(row["sign"], row["sign"]): row for row in reversed(rows)}
    return [Finding(sign, row["was"], row["now"]) for sign, row in reversed(found.items())]
