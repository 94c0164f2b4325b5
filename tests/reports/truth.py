"""What a report should say, calculated from the sandbox's histories alone: no code of the portal has a part in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from portal.sandbox.histories import History, MergeRequest
from portal.sandbox.testing import RunningSandbox

DAY = 86_400


@dataclass
class Truth:
    """The figures of some weeks."""

    commits: int = 0
    opened: int = 0
    merged: int = 0
    issues_opened: int = 0
    issues_closed: int = 0
    deployments: int = 0
    cycles: list[int] = field(default_factory=list)
    shares: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    answers: dict[str, list[int]] = field(default_factory=dict)
    waiting: int = 0
    open: int = 0

    @property
    def median(self) -> int | None:
        """Half of them took no longer."""
        return nearest_rank(self.cycles, 50)

    @property
    def slowest(self) -> int | None:
        """Nine of ten took no longer."""
        return nearest_rank(self.cycles, 90)


def nearest_rank(values: list[int], percent: int) -> int | None:
    """Return the percentile as textbooks define the nearest rank."""
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1] if values else None


def truth_of(sandbox: RunningSandbox, project_ids: list[int], begin: date, end: date, *, begin_of_all: int) -> Truth:
    """Return what happened in projects from one Monday up to another one."""
    low, high = (datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in (begin, end))
    found = Truth()
    for project_id in project_ids:
        history = sandbox.world.histories.of(sandbox.world.project(project_id))
        _add(found, sandbox, history, low, high, begin_of_all)
    return found


def _add(found: Truth, sandbox: RunningSandbox, history: History, low: float, high: float, begin: int) -> None:
    found.commits += sum(low <= one.committed < high for one in [*history.mainline, *history.branches])
    for issue in history.issues.values():
        found.issues_opened += low <= issue.created < high
        found.issues_closed += issue.closed is not None and low <= issue.closed < high
    found.deployments += sum(one.status == "success" and low <= one.at < high for one in history.deployments)
    for row in history.merge_requests.values():
        found.opened += low <= row.created < high
        first = min((note.at for note in row.reviews), default=None)
        if row.state == "opened" and not row.draft:
            found.open += 1
            found.waiting += first is None
        if row.merged is not None and low <= row.merged < high:
            found.merged += 1
            parts = _parts(row, first)
            found.cycles.append(sum(parts))
            found.shares = [one + part for one, part in zip(found.shares, parts, strict=True)]
        for person in {note.author_id for note in row.reviews}:
            at = min(note.at for note in row.reviews if note.author_id == person)
            user = sandbox.world.user(person)
            if low <= at < high and at >= begin and row.updated >= begin and user is not None:
                found.answers.setdefault(user.name, []).append(at - row.created)


def _parts(row: MergeRequest, first: int | None) -> tuple[int, int, int, int]:
    assert row.merged is not None
    writing = row.created - row.first_commit if row.first_commit is not None else 0
    if first is None or first > row.merged:
        return writing, 0, 0, row.merged - row.created
    return writing, first - row.created, row.merged - first, 0


def monday(weeks_ago: int, now: datetime) -> date:
    """Return the Monday of this week, or of an earlier one."""
    return now.date() - timedelta(days=now.weekday() + 7 * weeks_ago)
