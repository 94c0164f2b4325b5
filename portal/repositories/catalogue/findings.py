"""What a run learned about GitLab's lists themselves: wrong rows, too few rows, many that are gone.

Codes and numbers are stored; the sentences are made when they are shown.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from portal.errors import Card, Surface
from portal.foreign import ShortText
from portal.gitlab.answers import Defect, Page, Project
from portal.repositories.catalogue.ranges import Covered
from portal.repositories.models import CatalogueRun, Doubt

ROWS_NAMED = 5
# Instead of a field: GitLab answers 500 if this row is in a list.
FAILS = ShortText("500")
# If at least this many repositories are gone at once, the run reports it.
MANY_LOST = 100
SOME_LOST, SHARE_LOST = 3, 0.25
# Below this, a few deleted projects in a small GitLab would already be a share that is asked about.
LEAST_ASKED = 10


@dataclass
class ReadFindings:
    """What is collected during a run about a list: of its projects, or of its groups.

    Attributes:
        seen: ids, also of those whose row could not be used.
        unnamed: rows without an id that can be read.
        counted: how many there are, as GitLab says; None if it does not say.
        are_groups_whole: whether the list of groups came in full.
        defects: by list and field; stored on the run.
        covered: ids of which everything is stored.
    """

    seen: set[int] = field(default_factory=set)
    unnamed: int = 0
    counted: int | None = None
    is_contradicted: bool = False
    are_groups_whole: bool = False
    defects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    _noted: set[tuple[str, Defect]] = field(default_factory=set)

    covered: Covered = field(default_factory=Covered)

    def to_bytes(self, row_version: int) -> bytes:
        """Return what another process needs to continue the run; `row_version` is the connection's."""
        seen = sorted(self.seen)
        steps = [number - before for number, before in zip(seen, [0, *seen], strict=False)]
        told = {
            "row_version": row_version,
            "covered": self.covered.intervals,
            "seen": steps,
            "unnamed": self.unnamed,
            "is_contradicted": self.is_contradicted,
            "defects": [{**item, "key": list(key)} for key, item in self.defects.items() if key[0] == "projects"],
        }
        return zlib.compress(json.dumps(told).encode())

    @classmethod
    def from_bytes(cls, checkpoint: bytes, row_version: int) -> ReadFindings | None:
        """Read what `to_bytes` wrote; None if the connection has changed since."""
        told = json.loads(zlib.decompress(checkpoint))
        if told["row_version"] != row_version:
            return None
        defects = {tuple(item.pop("key")): item for item in told["defects"]}
        found = cls(set(accumulate(told["seen"])), told["unnamed"], defects=defects)
        found.is_contradicted = told["is_contradicted"]
        # Newer ids than any that was seen are asked for again.
        highest = max(found.seen, default=0)
        found.covered = Covered((above, min(up_to, highest)) for above, up_to in told["covered"])
        return found

    @property
    def is_complete(self) -> bool:
        """Whether there is no sign that something was missed: an empty list only counts if GitLab says so too."""
        if self.unnamed or self.is_contradicted:
            return False
        return bool(self.seen) if self.counted is None else len(self.seen) >= self.counted

    def note_page(self, page: Page[Project]) -> None:
        """Record a page of projects that is stored."""
        self.note_defects("projects", page.defects)
        self.seen.update(page.ids)
        self.unnamed += page.unnamed

    def note_defects(self, endpoint: str, found: Iterable[Defect]) -> None:
        """Record what is wrong with rows of a list; of many with the same fault, a few are named."""
        for defect in found:
            # A page that came out of order is requested again; positions on one page say nothing about other pages.
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
        """Record a list that could not be read at all."""
        self.defects[endpoint, ""] = {"list": endpoint, "failure": code}


@dataclass(frozen=True)
class Notice:
    """Something about the last read that people should know."""

    title: str
    note: str
    points: tuple[str, ...] = ()
    is_question: bool = False


def notices_of(run: CatalogueRun | None) -> list[Notice]:
    """Return what to report about a run that has ended."""
    if run is None:
        return []
    found = []
    if not run.complete:
        found.append(_notice_of(_incomplete_card(run)))
    if run.doubt == Doubt.ASKED:
        card = _unseen_card(run).at(Surface.REPOSITORIES)
        found.append(Notice(card.sentence, card.remedy, is_question=True))
    if is_large_loss(run):
        found.append(_notice_of(_lost_card(run)))
    if run.defects:
        points = tuple(_defect_sentence(item) for item in run.defects)
        found.append(Notice("GitLab's lists had rows or fields that could not be read", DEFECTS_NOTE, points))
    return found


def _notice_of(card: Card) -> Notice:
    return Notice(card.sentence, card.at(Surface.REPOSITORIES).remedy)


def is_large_loss(run: CatalogueRun) -> bool:
    """Return whether so much is gone at once that someone should check."""
    return run.projects_lost >= MANY_LOST or (
        run.projects_lost >= SOME_LOST and run.projects_lost >= SHARE_LOST * run.projects_known
    )


def is_asked_about(unseen: int, known: int, percent: int) -> bool:
    """Return whether so much is missing from a read that someone has to say whether it is gone."""
    return unseen >= LEAST_ASKED and unseen * 100 >= percent * known


def card_of(run: CatalogueRun) -> Card | None:
    """Return why a run that has ended needs a person; None if it does not."""
    if not run.complete:
        return _incomplete_card(run)
    if run.doubt == Doubt.ASKED:
        return _unseen_card(run)
    return _lost_card(run) if is_large_loss(run) else None


DEFECTS_NOTE = (
    "Everything else was read, and nothing was marked as gone because of it. GitLab's administrator can look at the "
    "projects named here; a proxy may also have changed GitLab's answer."
)


def _incomplete_card(run: CatalogueRun) -> Card:
    params: dict[str, Any] = {}
    if run.projects_counted is not None and run.projects_seen < run.projects_counted:
        params = {"case": "counted", "counted": f"{run.projects_counted:,}", "seen": f"{run.projects_seen:,}"}
    elif not run.projects_seen:
        params = {"case": "empty"}
    return Card("catalogue_incomplete", params)


def _lost_card(run: CatalogueRun) -> Card:
    return Card("repositories_gone", {"lost": f"{run.projects_lost:,}", "known": f"{run.projects_known:,}"})


def _unseen_card(run: CatalogueRun) -> Card:
    return Card("repositories_unseen", {"lost": f"{run.projects_unseen:,}", "known": f"{run.projects_known:,}"})


def _defect_sentence(item: dict[str, Any]) -> str:
    address = f"GET /api/v4/{item['list']}"
    if "failure" in item:
        return f"{address} could not be read ({item['failure']}), so names of groups may be missing or old."
    rows = ", ".join(row if row.startswith("row") else f"id {row}" for row in item["rows"])
    more = f" and {item['count'] - len(item['rows']):,} more" if item["count"] > len(item["rows"]) else ""
    if item["field"] == FAILS:
        return f"{address}: GitLab answers 500 as soon as {rows}{more} is in the list, so it was left out."
    what = f"the field {item['field']} of {rows}{more}" if item["field"] else f"{rows}{more}"
    then = "so it was left out" if item["left_out"] else "so its earlier value stays"
    return f"{address}: {what} is missing or not valid, {then}."
