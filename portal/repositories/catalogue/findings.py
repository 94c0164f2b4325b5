"""What a run found out about GitLab's lists themselves: rows that are wrong, too few rows, many that are gone.

Stored are codes and numbers; the sentences are made when they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from portal.connections.models import Connection
from portal.errors import Card, CardAction, Layer, Mender
from portal.gitlab.payloads import Defect
from portal.repositories.models import CatalogueRun

ROWS_NAMED = 5
# So many repositories gone at once, of those that were there, are said aloud.
MANY_LOST = 100
SOME_LOST, SHARE_LOST = 3, 0.25


@dataclass
class Findings:
    """What is collected during a run.

    Attributes:
        seen: ids of projects, also of those whose row could not be used.
        unnamed: rows of projects without an id that can be read.
        counted: how many projects GitLab says there are; None if it does not say.
        are_groups_whole: whether the list of groups came in full.
        defects: by list and field; stored on the run.
    """

    seen: set[int] = field(default_factory=set)
    unnamed: int = 0
    counted: int | None = None
    is_contradicted: bool = False
    are_groups_whole: bool = False
    groups: int = 0
    defects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    _noted: set[tuple[str, Defect]] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        """Whether nothing speaks against having seen everything: an empty list only counts if GitLab says so too."""
        if self.unnamed or self.is_contradicted:
            return False
        return bool(self.seen) if self.counted is None else len(self.seen) >= self.counted

    def note_defects(self, endpoint: str, found: Iterable[Defect]) -> None:
        """Note what is wrong with rows of a list; of many with the same fault, a few are named."""
        for defect in found:
            # A page that came out of order is asked for again; places on pages say nothing of other pages.
            if (endpoint, defect) in self._noted and defect.row.isdigit():
                continue
            self._noted.add((endpoint, defect))
            new = {"list": endpoint, "field": defect.field, "left_out": defect.is_left_out, "rows": [], "count": 0}
            noted = self.defects.setdefault((endpoint, defect.field), new)
            noted["left_out"] = noted["left_out"] or defect.is_left_out
            noted["count"] += 1
            if len(noted["rows"]) < ROWS_NAMED:
                noted["rows"].append(str(defect.row))

    def note_failure(self, endpoint: str, code: str) -> None:
        """Note a list that could not be read at all."""
        self.defects[endpoint, ""] = {"list": endpoint, "failure": code}


@dataclass(frozen=True)
class Notice:
    """Something about the last read that a person should know."""

    title: str
    note: str
    points: tuple[str, ...] = ()


def notices_of(run: CatalogueRun | None) -> list[Notice]:
    """Return what to say about a run that has ended."""
    if run is None:
        return []
    found = []
    if not run.complete:
        found.append(Notice(_incomplete_sentence(run), INCOMPLETE_NOTE))
    if is_large_loss(run):
        found.append(Notice(_lost_sentence(run), LOST_NOTE))
    if run.defects:
        points = tuple(_defect_sentence(item) for item in run.defects)
        found.append(Notice("GitLab's lists had rows or fields that could not be read", DEFECTS_NOTE, points))
    return found


def is_large_loss(run: CatalogueRun) -> bool:
    """Tell whether so much is gone at once that somebody should look."""
    return run.projects_lost >= MANY_LOST or (
        run.projects_lost >= SOME_LOST and run.projects_lost >= SHARE_LOST * run.projects_known
    )


def card_of(connection: Connection, run: CatalogueRun) -> Card | None:
    """Return why a run that has ended needs a person; None if it does not."""
    if run.complete and not is_large_loss(run):
        return None
    code, sentence, remedy = (
        ("repositories_gone", _lost_sentence(run), LOST_NOTE)
        if run.complete
        else ("catalogue_incomplete", _incomplete_sentence(run), INCOMPLETE_NOTE)
    )
    link = CardAction("Show repositories", f"/repositories/?connection={connection.slug}")
    return Card(code, Layer.GITLAB, sentence, remedy, Mender.GITLAB_ADMIN, actions=(link,))


INCOMPLETE_NOTE = (
    "What did not arrive stays in the list as it was. Press Read again. If it happens again, something between "
    "Gatehouse and GitLab, such as a proxy, changes GitLab's lists; whoever runs it can fix that."
)
LOST_NOTE = (
    "They stay in the list, marked No longer seen. If they were not deleted, the service user has lost its membership: "
    "add it to their group in GitLab again, then press Read again."
)
DEFECTS_NOTE = (
    "Everything else was read, and nothing was marked as gone because of it. GitLab's administrator can look at the "
    "projects named here; a proxy may also have changed GitLab's answer."
)


def _incomplete_sentence(run: CatalogueRun) -> str:
    if run.projects_counted is not None and run.projects_seen < run.projects_counted:
        return (
            f"The last read was incomplete: GitLab counts {run.projects_counted:,} repositories, "
            f"and {run.projects_seen:,} arrived."
        )
    if not run.projects_seen:
        return "The last read was incomplete: GitLab's list was empty, but GitLab did not say that there are none."
    return "The last read was incomplete: some rows of GitLab's list of projects could not be read."


def _lost_sentence(run: CatalogueRun) -> str:
    return f"{run.projects_lost:,} of {run.projects_known:,} repositories are gone since the last read."


def _defect_sentence(item: dict[str, Any]) -> str:
    address = f"GET /api/v4/{item['list']}"
    if "failure" in item:
        return f"{address} could not be read ({item['failure']}), so names of groups may be missing or old."
    rows = ", ".join(row if row.startswith("row") else f"id {row}" for row in item["rows"])
    more = f" and {item['count'] - len(item['rows']):,} more" if item["count"] > len(item["rows"]) else ""
    what = f"the field {item['field']} of {rows}{more}" if item["field"] else f"{rows}{more}"
    then = "so it was left out" if item["left_out"] else "so its earlier value stays"
    return f"{address}: {what} is missing or not valid, {then}."
