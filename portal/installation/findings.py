"""The signs of a copy, as stored and as people read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# What each sign says. Those of the data folder begin with `folder_`.
SENTENCES = {
    "path": "The database file was {was} and is now {now}.",
    "inode": "The database file is not the one that was there before: it was copied or restored.",
    "disk": "The database is on a different disk or volume than before.",
    "server": "The database is on a different PostgreSQL server than before.",
    "number": "It is another database on the same PostgreSQL server: it was copied there, or created again and loaded.",
    "address": "The database used to be reached at {was} and is now reached at {now}.",
    "loaded": "The rows of the database were loaded from a dump.",
    "older": "The database is older than this data folder: change {number} of the audit log, made before, is missing.",
    "other_life": "The database is in an older state than the one that was confirmed here.",
    "no_witness": "The data folder has no record of this database: witness.json is missing or belongs to another one.",
    "folder_path": "The data folder was {was} and is now {now}.",
    "folder_inode": "The data folder is not the one that was there before: it was copied or restored.",
    "folder_disk": "The data folder is on a different disk or volume than before.",
    "folder_machine": "The portal runs on a different machine than before.",
}
# Signs that people read as the same.
SAME_AS = {"born": "inode", "folder_born": "folder_inode", "folder_network": "folder_machine"}
# Another machine that joins a portal shows these as well. That is fine if others are running.
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
    """Return what was stored, each sentence once."""
    found = {SAME_AS.get(row["sign"], row["sign"]): row for row in reversed(rows)}
    return [Finding(sign, row["was"], row["now"]) for sign, row in reversed(found.items())]
