"""What a report says, from the figures by week; the rights of whoever asks are in every query."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, case, func, select
from sqlmodel import Session, col

from portal.actor import Principal
from portal.connections.models import Connection, ConnectionState
from portal.db import MAX_ID, Database, utc_now
from portal.errors import Card
from portal.ingestion.figures import BLOCK_WEEKS, DAY, LANES, LENGTH_BITS, LONGEST, block_of, week_of
from portal.ingestion.models import FigureBlock, GitLabPerson, Ingestion, OpenWork, Reading, ReviewerBlock
from portal.ingestion.run import begin_of
from portal.repositories.availability import explain
from portal.repositories.models import (
    Enablement,
    Namespace,
    Reason,
    Repository,
    is_blocked,
    visible_namespaces,
    visible_to,
)
from portal.runtime import Runtime

PERIODS = {4: "Last 4 weeks", 12: "Last 12 weeks", 26: "Last 26 weeks", 52: "Last 52 weeks", 104: "Last 104 weeks"}
USUAL_WEEKS = 12
# Review load is about the present: older reviews say little about it.
REVIEW_WEEKS = 12
LONG_WAIT_DAYS = 3
REVIEWERS_SHOWN = 8
# In a list to choose from. A group narrows it.
MOST_CHOICES = 200
PROBLEMS_SHOWN = 20
# How old an open merge request is, in days; the last one has no end.
AGES = ((1, "less than a day"), (3, "1 to 3 days"), (7, "3 to 7 days"), (28, "1 to 4 weeks"), (0, "more than 4 weeks"))
MEDIAN, SLOWEST = 0.5, 0.9
# How many reports one process keeps as it has counted them (a megabyte each at most), and for how long.
KEPT_REPORTS, KEPT_SECONDS = 32, 600
_LANE_BITS = 64
_LANE = {name: number for number, name in enumerate(LANES)}


@dataclass(frozen=True)
class Scope:
    """What a report is about, as its address says: empty texts are everything."""

    connection: str = ""
    group: str = ""
    repository_id: int | None = None
    weeks: int = USUAL_WEEKS

    def parameters(self, **changes: Any) -> dict[str, str]:
        """Return the query of its address, with some parts changed."""
        told = {"connection": self.connection, "group": self.group, "repository": self.repository_id or ""}
        told |= {"weeks": "" if self.weeks == USUAL_WEEKS else self.weeks, **changes}
        return {name: str(value) for name, value in told.items() if value}


@dataclass(frozen=True)
class Lengths:
    """Lengths of time, in order, as pieces of longer lists; nothing is copied.

    Attributes:
        pieces: a list in order, what each of its values is too large by, and where the piece begins and ends.
    """

    pieces: list[tuple[Sequence[int], int, int, int]]

    def __len__(self) -> int:
        return sum(end - begin for _, _, begin, end in self.pieces)

    def quantile(self, share: float) -> int | None:
        """Return the smallest length that is at least as large as this share of all; None without any.

        It is one of them (the nearest rank), so it can be checked by counting.
        """
        rank = -(-len(self) * round(share * 100) // 100)
        if not rank:
            return None
        low, high = 0, LONGEST
        while low < high:
            middle = (low + high) // 2
            below = sum(bisect_right(row, base + middle, begin, end) - begin for row, base, begin, end in self.pieces)
            low, high = (low, middle) if below >= rank else (middle + 1, high)
        return low

    @cached_property
    def median(self) -> int | None:
        """Half of them are no longer."""
        return self.quantile(MEDIAN)

    @cached_property
    def slowest(self) -> int | None:
        """Nine of ten are no longer."""
        return self.quantile(SLOWEST)


@dataclass(frozen=True)
class Week:
    """One week: the counts of `LANES`, and how long each merge request took that was merged in it."""

    number: int
    counts: dict[str, int]
    cycles: Lengths
    is_open: bool = False

    @property
    def begins(self) -> date:
        """Its Monday."""
        return date.fromordinal(self.number * 7 + 1)


@dataclass(frozen=True)
class Span:
    """Weeks in a row, added up. `is_known` is false if they were not read from their beginning."""

    weeks: list[Week]
    deliveries: Lengths
    is_known: bool = True

    def total(self, name: str) -> int:
        """Return the sum of one count."""
        return sum(week.counts[name] for week in self.weeks)

    @cached_property
    def cycles(self) -> Lengths:
        """Of everything that was merged."""
        return Lengths([piece for week in self.weeks for piece in week.cycles.pieces])

    @property
    def shares(self) -> dict[str, int]:
        """Where the time went, in percent of all of it; empty without any."""
        names = ("writing", "waiting", "reviewing", "unreviewed")
        seconds = {name: self.total(name) for name in names}
        whole = sum(seconds.values())
        if not whole:
            return {}
        shares = {name: 100 * value // whole for name, value in seconds.items()}
        # What rounding down has lost goes to those that lost most, so that they add up.
        by_loss = sorted(names, key=lambda name: (-(100 * seconds[name] % whole), names.index(name)))
        for name in by_loss[: 100 - sum(shares.values())]:
            shares[name] += 1
        return shares


@dataclass(frozen=True)
class Reviewer:
    """One person's reviews."""

    name: str
    initials: str
    waiting: int
    waiting_long: int
    done: int
    first_answer: int | None


@dataclass(frozen=True)
class Problem:
    """A repository of which something is missing, and why in a sentence; an empty one means that it is read now."""

    repository_id: int
    path: str
    sentence: str


@dataclass(frozen=True)
class Freshness:
    """How much of what the report is about has been read.

    Attributes:
        until: until when everything that is complete is known; None if nothing is.
        begin: since when everything is known, in seconds.
        repositories: how many are enabled.
        complete: how many of those were read completely, and could be read last time.
    """

    until: datetime | None
    begin: int
    repositories: int
    complete: int
    problems: list[Problem]


@dataclass(frozen=True)
class Open:
    """What is open now: ages in seconds, in order."""

    ages: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    drafts: int = 0
    issues: int = 0

    @property
    def waiting_long(self) -> int:
        """How many have waited for a first review for days."""
        return len(self.waiting) - bisect_left(self.waiting, LONG_WAIT_DAYS * DAY)

    @property
    def by_age(self) -> list[tuple[str, int]]:
        """How many there are of each age."""
        ends = [bisect_left(self.ages, days * DAY) if days else len(self.ages) for days, _ in AGES]
        return [(name, end - begin) for (_, name), end, begin in zip(AGES, ends, [0, *ends], strict=False)]


@dataclass(frozen=True)
class Choices:
    """What can be chosen: connections by slug, groups by path, repositories by our id; empty if they are too many."""

    connections: list[tuple[str, str]]
    groups: list[str]
    repositories: list[tuple[int, str]]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    scope: Scope
    span: Span
    before: Span
    running: Week
    freshness: Freshness
    open: Open
    reviewers: list[Reviewer]
    other_reviewers: Reviewer | None
    choices: Choices
    path: str = ""

    @property
    def shown(self) -> list[Week]:
        """The weeks of the charts: the one that is not over comes last."""
        return [*self.span.weeks, self.running]


def quantile(ordered: Sequence[int], share: float) -> int | None:
    """Return the smallest value that is at least as large as this share of all; None without any.

    It is one of the values (the nearest rank), so it can be checked by counting.
    """
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


@dataclass(frozen=True)
class Counted:
    """What a report says apart from how fresh it is."""

    lanes: list[int]
    cycles: dict[int, array[int]]
    deliveries: dict[int, array[int]]
    open: Open
    reviewers: list[Reviewer]


class _Kept:
    """What this process has counted last, for each database. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: WeakKeyDictionary[Database, OrderedDict[Any, Counted]] = WeakKeyDictionary()

    def get(self, database: Database, key: Any) -> Counted | None:
        """Return what was kept."""
        with self._lock:
            return self._kept.get(database, OrderedDict()).get(key)

    def put(self, database: Database, key: Any, counted: Counted) -> None:
        """Keep it, and drop the oldest if there are many."""
        with self._lock:
            kept = self._kept.setdefault(database, OrderedDict())
            kept[key] = counted
            while len(kept) > KEPT_REPORTS:
                kept.popitem(last=False)


_COUNTED = _Kept()


def load_report(runtime: Runtime, principal: Principal, scope: Scope, now: datetime | None = None) -> Report:
    """Return the report as this person may see it; of what they may not see, nothing is in it."""
    now = now or utc_now()
    running = week_of(int(now.timestamp()))
    first, earlier = running - scope.weeks, running - 2 * scope.weeks
    inside = _inside(principal, scope)
    with runtime.database.reading() as session:
        freshness, path, ids = _freshness(session, inside, scope, now)
        choices = _choices(session, principal, scope)
        state = _state(session, ids)
        # What is counted only changes with a read. The ids are of what this person may see at this moment.
        key = (ids, state, scope.weeks, running, int(now.timestamp()) // KEPT_SECONDS)
        counted = _COUNTED.get(runtime.database, key) if state else None
        if counted is None:
            work, asked = _open_work(session, inside, int(now.timestamp()))
            answers = _answers(session, inside, running - min(scope.weeks, REVIEW_WEEKS), running)
            reviewers = _reviewers(session, work_asked=asked, answers=answers)
            counted = Counted(*_figures(session, inside, earlier, running), work, reviewers)
            _COUNTED.put(runtime.database, key, counted)
    lanes, cycles, deliveries = counted.lanes, counted.cycles, counted.deliveries
    known_since = week_of(freshness.begin) + 1

    def lengths(of: dict[int, array[int]], number: int) -> Lengths:
        row, base = of[block_of(number)], number % BLOCK_WEEKS << LENGTH_BITS
        begin, end = bisect_left(row, base), bisect_right(row, base + LONGEST)
        return Lengths([(row, base, begin, end)] if begin < end else [])

    def week(number: int) -> Week:
        at = (number - block_of(earlier) * BLOCK_WEEKS) * len(LANES)
        counts = {name: lanes[at + lane] for name, lane in _LANE.items()}
        return Week(number, counts, lengths(cycles, number), is_open=number == running)

    def span(begin: int, end: int) -> Span:
        pieces = [piece for number in range(begin, end) for piece in lengths(deliveries, number).pieces]
        return Span([week(number) for number in range(begin, end)], Lengths(pieces), is_known=begin >= known_since)

    return Report(
        scope=scope,
        span=span(first, running),
        before=span(earlier, first),
        running=week(running),
        freshness=freshness,
        open=counted.open,
        reviewers=counted.reviewers[:REVIEWERS_SHOWN],
        other_reviewers=_together(counted.reviewers[REVIEWERS_SHOWN:]),
        choices=choices,
        path=path,
    )


def _inside(principal: Principal, scope: Scope) -> list[ColumnElement[bool]]:
    """Return the conditions on `repository` joined with `connection` and `enablement` for what a report is about."""
    found = [
        visible_to(principal),
        col(Enablement.repository_id) == col(Repository.id),
        col(Connection.id) == col(Repository.connection_id),
        col(Connection.state) != ConnectionState.DISCONNECTED,
    ]
    if scope.connection:
        found.append(col(Connection.slug) == scope.connection)
    if scope.group:
        below = col(Repository.namespace_path)
        # A range of the index, and not LIKE: `org` does not include `organisation`.
        found.append((below == scope.group) | ((below > f"{scope.group}/") & (below < f"{scope.group}0")))
    if scope.repository_id is not None:
        found.append(col(Repository.id) == min(scope.repository_id, MAX_ID))
    return found


def _freshness(
    session: Session, inside: list[ColumnElement[bool]], scope: Scope, now: datetime
) -> tuple[Freshness, str, tuple[int, ...]]:
    """Return how much was read, the path if it is about one repository, and our ids of everything it is about."""
    own = col(Reading.repository_id) == col(Repository.id)
    is_whole = func.min(case((col(Reading.is_complete) & col(Reading.card).is_(None), 1), else_=0))
    # What a read last said about everything that could be read: the oldest of these is the truth about all.
    until = func.min(case((col(Reading.is_complete), col(Reading.read_at))))
    blocked = case((is_blocked(), 1), else_=0).label("blocked")
    columns: tuple[Any, ...] = (
        *(Repository.id, Repository.path_with_namespace, Repository.unavailable_reason, blocked),
        *(is_whole.label("is_whole"), until.label("until"), func.max(col(Reading.begin)).label("begin")),
        func.min(col(Ingestion.months)).label("months"),
    )
    statement = (
        select(*columns).select_from(Repository).join(Connection, col(Connection.id) == col(Repository.connection_id))
    )
    statement = statement.join(Enablement, col(Enablement.repository_id) == col(Repository.id)).outerjoin(Reading, own)
    statement = statement.outerjoin(Ingestion, col(Ingestion.connection_id) == col(Repository.connection_id))
    rows = session.execute(statement.where(*inside).group_by(col(Repository.id))).all()
    whole = [row for row in rows if row.is_whole and not row.blocked]
    missing = sorted((row for row in rows if not row.is_whole or row.blocked), key=lambda row: row.path_with_namespace)
    shown = {row.id: row for row in missing[:PROBLEMS_SHOWN]}
    why: dict[int, str] = {}
    failed = select(col(Reading.repository_id), col(Reading.card)).where(
        col(Reading.repository_id).in_(shown), col(Reading.card).is_not(None)
    )
    for repository_id, card in session.execute(failed.order_by(col(Reading.id))).all():
        why.setdefault(repository_id, Card.from_json(card).sentence)
    for row in shown.values():
        if row.blocked and (reason := explain(row.unavailable_reason or Reason.MISSING)):
            why[row.id] = reason.sentence
    problems = [Problem(row.id, row.path_with_namespace, why.get(row.id, "")) for row in shown.values()]
    times = [row.until for row in whole if row.until is not None]
    begin = max((row.begin for row in rows if row.begin is not None), default=0)
    # What is older than the connection keeps has been deleted.
    begin = max([begin, *(begin_of(row.months, now) for row in rows if row.months is not None)])
    path = rows[0].path_with_namespace if scope.repository_id is not None and rows else ""
    ids = tuple(sorted(row.id for row in rows))
    return Freshness(min(times, default=None), begin, len(rows), len(whole), problems), path, ids


def _state(session: Session, ids: tuple[int, ...]) -> tuple[Any, ...]:
    """Return what changes with every read of what a report is about; empty if a first read has not ended yet."""
    own = select(col(Repository.connection_id)).where(col(Repository.id).in_(ids[:1]))
    if len(ids) > 1:
        # Ids of several connections: few portals have many.
        own = select(col(Ingestion.connection_id))
    columns: tuple[Any, ...] = (Ingestion.connection_id, Ingestion.read_at, Ingestion.row_version)
    found = session.execute(select(*columns).where(col(Ingestion.connection_id).in_(own)).order_by(columns[0])).all()
    return tuple(map(tuple, found)) if all(row.read_at for row in found) else ()


def _figures(
    session: Session, inside: list[ColumnElement[bool]], first: int, last: int
) -> tuple[list[int], dict[int, array[int]], dict[int, array[int]]]:
    """Return the lanes of every week from the first block on, and the cycles and deliveries of each block, in order.

    The lanes of a block are one large number, so that adding two of them adds every count: no lane ever overflows.
    """
    columns: tuple[Any, ...] = (FigureBlock.block, FigureBlock.lanes, FigureBlock.cycles, FigureBlock.deliveries)
    blocks = range(block_of(first), block_of(last) + 1)
    statement = (
        select(*columns)
        .select_from(FigureBlock)
        .join(Repository, col(Repository.id) == col(FigureBlock.repository_id))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(*inside, col(FigureBlock.block).between(blocks[0], blocks[-1]))
    )
    sums = dict.fromkeys(blocks, 0)
    cycles, deliveries = ({block: array("I") for block in blocks} for _ in range(2))
    for block, lanes, own_cycles, own_deliveries in session.connection().execute(statement).all():
        sums[block] += int.from_bytes(lanes, "little")
        cycles[block].frombytes(own_cycles)
        deliveries[block].frombytes(own_deliveries)
    size = BLOCK_WEEKS * len(LANES)
    whole: list[int] = []
    for block in blocks:
        whole += array("Q", sums[block].to_bytes(size * _LANE_BITS // 8, "little"))
    in_order = [{block: array("I", sorted(row)) for block, row in some.items()} for some in (cycles, deliveries)]
    return whole, in_order[0], in_order[1]


def _open_work(
    session: Session, inside: list[ColumnElement[bool]], now: int
) -> tuple[Open, dict[tuple[int, int], list[int]]]:
    """Return what is open, and how long each reviewer's unanswered merge requests have been."""
    columns: tuple[Any, ...] = (
        *(OpenWork.connection_id, OpenWork.opened, OpenWork.waiting, OpenWork.asked),
        *(OpenWork.drafts, OpenWork.issues),
    )
    statement = (
        select(*columns)
        .select_from(OpenWork)
        .join(Repository, col(Repository.id) == col(OpenWork.repository_id))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(*inside)
    )
    opened, waiting = array("Q"), array("Q")
    asked: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    drafts = issues = 0
    found = session.connection().execute(statement).all()
    for connection_id, own_opened, own_waiting, own_asked, own_drafts, own_issues in found:
        opened.frombytes(own_opened)
        waiting.frombytes(own_waiting)
        pairs = array("Q", own_asked)
        for person, since in zip(pairs[::2], pairs[1::2], strict=True):
            asked[connection_id, person].append(max(0, now - since))
        drafts, issues = drafts + own_drafts, issues + own_issues
    ages, waits = (sorted(max(0, now - one) for one in some) for some in (opened, waiting))
    return Open(ages, waits, drafts, issues), asked


def _answers(
    session: Session, inside: list[ColumnElement[bool]], first: int, last: int
) -> dict[tuple[int, int], list[int]]:
    """Return the first answers of each person, in seconds since the merge request was opened."""
    columns: tuple[Any, ...] = (
        *(ReviewerBlock.connection_id, ReviewerBlock.gitlab_user_id, ReviewerBlock.block, ReviewerBlock.answers),
    )
    statement = (
        select(*columns)
        .select_from(ReviewerBlock)
        .join(Repository, col(Repository.id) == col(ReviewerBlock.repository_id))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(*inside, col(ReviewerBlock.block).between(block_of(first), block_of(last)))
    )
    found: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for connection_id, person, block, packed in session.connection().execute(statement).all():
        answers = array("I", packed)
        low, high = (min(max(0, week - block * BLOCK_WEEKS), BLOCK_WEEKS) for week in (first, last))
        begin, end = (bisect_left(answers, week << LENGTH_BITS) for week in (low, high))
        if begin < end:
            found[connection_id, person] += [one & LONGEST for one in answers[begin:end]]
    return found


def _reviewers(
    session: Session,
    *,
    work_asked: dict[tuple[int, int], list[int]],
    answers: dict[tuple[int, int], list[int]],
) -> list[Reviewer]:
    """Return everyone who reviews: who has most waiting comes first."""
    people = {*work_asked, *answers}
    ids = {connection_id for connection_id, _ in people}
    initials = dict(
        session.execute(
            select(col(Ingestion.connection_id), col(Ingestion.has_initials)).where(
                col(Ingestion.connection_id).in_(ids)
            )
        ).all()
    )
    columns: tuple[Any, ...] = (
        *(GitLabPerson.connection_id, GitLabPerson.gitlab_user_id, GitLabPerson.name, GitLabPerson.username),
    )
    # As many as a statement may name; one report rarely has more people.
    numbers = sorted({person for _, person in people})[:5000]
    named = select(*columns).where(
        col(GitLabPerson.connection_id).in_(ids), col(GitLabPerson.gitlab_user_id).in_(numbers)
    )
    names = {(row[0], row[1]): row[2] or row[3] for row in session.execute(named).all()}
    found = []
    for key in people:
        name = names.get(key, "") or "Someone"
        short = initials_of(name)
        ages = work_asked.get(key, [])
        found.append(
            Reviewer(
                name=short if initials.get(key[0]) else name,
                initials=short,
                waiting=len(ages),
                waiting_long=sum(age >= LONG_WAIT_DAYS * DAY for age in ages),
                done=len(answers.get(key, [])),
                first_answer=quantile(sorted(answers.get(key, [])), MEDIAN),
            )
        )
    return sorted(found, key=lambda one: (-one.waiting, -one.waiting_long, -one.done, one.name))


def initials_of(name: str) -> str:
    """Return the first letters of the first and the last word of a name."""
    words = name.split()
    return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper() or "?"


def _together(rest: list[Reviewer]) -> Reviewer | None:
    if not rest:
        return None
    return Reviewer(
        name=f"{len(rest):,} others" if len(rest) > 1 else "1 other",
        initials="",
        waiting=sum(one.waiting for one in rest),
        waiting_long=sum(one.waiting_long for one in rest),
        done=sum(one.done for one in rest),
        first_answer=None,
    )


def _choices(session: Session, principal: Principal, scope: Scope) -> Choices:
    """Return what else the report may be about."""
    own = select(col(Connection.slug), col(Connection.display_name)).where(
        col(Connection.organization_id) == principal.organization_id,
        col(Connection.state) != ConnectionState.DISCONNECTED,
        select(col(Enablement.id)).where(col(Enablement.connection_id) == col(Connection.id)).exists(),
    )
    connections = [(slug, name) for slug, name in session.execute(own.order_by(col(Connection.display_name))).all()]
    places = (
        select(col(Namespace.path))
        .join(Connection, col(Connection.id) == col(Namespace.connection_id))
        .where(*visible_namespaces(principal), col(Namespace.enabled) > 0)
    )
    if scope.connection:
        places = places.where(col(Connection.slug) == scope.connection)
    paths = set(session.execute(places.distinct()).scalars())
    groups = {
        "/".join(parts[: depth + 1]) for parts in (path.split("/") for path in paths) for depth in range(len(parts))
    }
    if len(groups) > MOST_CHOICES:
        groups = {path for path in groups if path.count("/") < 1}
    if scope.group:
        groups.add(scope.group)
    repositories = (
        select(col(Repository.id), col(Repository.path_with_namespace))
        .select_from(Repository)
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(*_inside(principal, Scope(scope.connection, scope.group)))
        .order_by(col(Repository.path_with_namespace))
        .limit(MOST_CHOICES + 1)
    )
    rows = [(number, path) for number, path in session.execute(repositories).all()]
    return Choices(connections, sorted(groups)[: 2 * MOST_CHOICES], rows if len(rows) <= MOST_CHOICES else [])
