"""What a report should say, calculated from the sandbox's histories alone, without the portal's way of counting."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from portal.reports.query import PERIODS, REVIEW_WEEKS, Report
from portal.sandbox.histories import History, MergeRequest
from portal.sandbox.testing import RunningSandbox
from tests.ingestion.ingested import known_first_commits

COUNTS = ("commits", "opened", "merged", "issues_opened", "issues_closed", "deployments")


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
    first_commits = known_first_commits(history, begin)
    for row in history.merge_requests.values():
        found.opened += low <= row.created < high
        first = min((note.at for note in row.reviews), default=None)
        if row.state == "opened" and not row.draft:
            found.open += 1
            found.waiting += first is None
        if row.merged is not None and low <= row.merged < high:
            found.merged += 1
            parts = _parts(row, first_commits.get(row.iid), first)
            found.cycles.append(sum(parts))
            found.shares = [one + part for one, part in zip(found.shares, parts, strict=True)]
        for person in {note.author_id for note in row.reviews}:
            at = min(note.at for note in row.reviews if note.author_id == person)
            user = sandbox.world.user(person)
            if low <= at < high and at >= begin and row.updated >= begin and user is not None:
                found.answers.setdefault(user.name, []).append(at - row.created)


def _parts(row: MergeRequest, first_commit: int | None, first: int | None) -> tuple[int, int, int, int]:
    assert row.merged is not None
    writing = row.created - first_commit if first_commit is not None else 0
    if first is None or first > row.merged:
        return writing, 0, 0, row.merged - row.created
    return writing, first - row.created, row.merged - first, 0


def monday(weeks_ago: int, now: datetime) -> date:
    """Return the Monday of this week, or of an earlier one."""
    return now.date() - timedelta(days=now.weekday() + 7 * weeks_ago)


def draw_scopes(number: int, groups: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return groups and periods in weeks by chance, the same ones each time."""
    draw = random.Random(13)
    return [(draw.choice(groups), draw.choice(sorted(PERIODS))) for _ in range(number)]


def differences(sandbox: RunningSandbox, report: Report, ids: list[int], now: datetime, begin: int) -> list[str]:
    """Return which figures of a report about some projects are not what their histories say."""
    weeks = report.scope.weeks
    truth = truth_of(sandbox, ids, monday(weeks, now), monday(0, now), begin_of_all=begin)
    span, before = report.span, report.before
    pairs: list[tuple[str, object, object]] = [(name, span.total(name), getattr(truth, name)) for name in COUNTS]
    if before.is_known:
        earlier = truth_of(sandbox, ids, monday(2 * weeks, now), monday(weeks, now), begin_of_all=begin)
        pairs += [(f"{name} before", before.total(name), getattr(earlier, name)) for name in COUNTS]
        pairs.append(("median before", before.cycles.median, earlier.median))
    parts = [span.total(name) for name in ("writing", "waiting", "reviewing", "unreviewed")]
    pairs += [
        ("median", span.cycles.median, truth.median),
        ("p90", span.cycles.slowest, truth.slowest),
        ("shares", parts, truth.shares),
        ("percent", sum(span.shares.values()) in {0, 100}, True),
        ("open", len(report.open.ages), truth.open),
        ("ages", sum(number for _, number in report.open.by_age), truth.open),
        ("waiting", len(report.open.waiting), truth.waiting),
    ]
    if weeks <= REVIEW_WEEKS and report.other_reviewers is None:
        done = {one.name: (one.done, one.first_answer) for one in report.reviewers if one.done}
        answers = {name: (len(some), nearest_rank(some, 50)) for name, some in truth.answers.items()}
        pairs.append(("reviews", done, answers))
    return [f"{name} is {found}, not {wanted}" for name, found, wanted in pairs if found != wanted]
