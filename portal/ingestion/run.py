"""One read of what happened in a connection's repositories, from the plan to the figures."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import String, and_, cast, delete, exists, literal, or_, select, update
from sqlmodel import Session, col

from portal.actor import SYSTEM, Actor
from portal.connections.models import Connection, ConnectionState, is_failing
from portal.connections.store import open_host_session
from portal.credentials import AccessSource
from portal.db import insert_into, utc_now
from portal.gitlab.answers import (
    ForbiddenByRole,
    GitLabError,
    GitLabNotFound,
    GitLabUnavailable,
    InsufficientScope,
    MalformedAnswer,
    UnexpectedStatus,
)
from portal.gitlab.client import GitLabClient
from portal.gitlab.history import Changing, IssueRow, MergeRequestRow, changed_page, seconds
from portal.gitlab.identification import Service
from portal.ingestion.figures import block_of, count_weeks, week_of
from portal.ingestion.models import (
    Deployment,
    FigureBlock,
    GitCommit,
    Ingestion,
    Issue,
    Kind,
    MergeRequest,
    Reading,
    Review,
    ReviewerBlock,
)
from portal.ingestion.reader import (
    MAX_PAGES,
    OVERLAP,
    TABLES,
    Source,
    SourceGone,
    Store,
    drop_deleted,
    is_last,
    read_source,
    store_changed,
)
from portal.jobs import Job, enqueue
from portal.jobs.models import JobState
from portal.net import Purpose
from portal.repositories.models import Enablement, Repository, is_blocked
from portal.repositories.services import services_of
from portal.runtime import Runtime

READ = "ingestion.read"
# What each service reads.
KINDS = {
    Service.REPOSITORIES: (Kind.COMMITS, Kind.DEPLOYMENTS),
    Service.MERGE_REQUESTS: (Kind.MERGE_REQUESTS, Kind.REVIEWS),
    Service.ISSUES: (Kind.ISSUES,),
}
# In the order of reading: reviews and first commits belong to merge requests that are there.
ORDER = (Kind.MERGE_REQUESTS, Kind.REVIEWS, Kind.ISSUES, Kind.COMMITS, Kind.DEPLOYMENTS)
# While one takes its page apart, another asks for the next.
THREADS_PER_REQUEST = 2
# How often a repository is compared with GitLab for what was deleted.
COMPARE_EVERY = timedelta(days=7)
# After a read that failed for good.
FAILED_PAUSE = timedelta(minutes=10)
# GitLab's clock may be behind ours.
CLOCK_SLACK = 3_600
# Answers that concern one repository only: the others continue.
ABOUT_ONE = (ForbiddenByRole, GitLabNotFound, InsufficientScope, MalformedAnswer, UnexpectedStatus)
MONTH_DAYS = 30.44
DAY = 86_400
Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True)
class ReadResult:
    """How a read ended: repositories that were read, lists that failed, pages, and rows that GitLab no longer has."""

    repositories: int
    failed: int
    pages: int
    dropped: int


def enqueue_read(session: Session, connection: Connection, actor: Actor = SYSTEM) -> Job:
    """Read what is due of a connection; if that is being done, return the job that does it."""
    return enqueue(
        session,
        READ,
        {"connection_id": connection.id},
        organization_id=connection.organization_id,
        title=f"Read activity of {connection.display_name}",
        key=f"activity:{connection.id}",
        subject=f"connection:{connection.id}",
        lane=f"connection:{connection.id}",
        actor=actor,
    )


def connections_due(runtime: Runtime) -> list[Connection]:
    """Return the connections of which something must be read now."""
    now = utc_now()
    late = now - timedelta(minutes=runtime.settings.activity_minutes)
    key = literal("activity:").concat(cast(col(Connection.id), String))
    is_running = exists().where(col(Job.key) == key, col(Job.finished_at).is_(None))
    failed_just_now = exists().where(
        col(Job.key) == key, col(Job.state) == JobState.FAILED, col(Job.finished_at) > now - FAILED_PAUSE
    )
    has_due = (
        select(col(Reading.id))
        .join(Enablement, col(Enablement.repository_id) == col(Reading.repository_id))
        .join(Repository, col(Repository.id) == col(Reading.repository_id))
        .where(col(Reading.connection_id) == col(Connection.id), col(Reading.due_at) <= now, ~is_blocked())
        .exists()
    )
    statement = (
        select(Connection)
        .outerjoin(Ingestion, col(Ingestion.connection_id) == col(Connection.id))
        .where(
            col(Connection.state).in_((ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION)),
            col(Connection.authorized_at).is_not(None),
            or_(col(Ingestion.read_at).is_(None), col(Ingestion.read_at) <= late, has_due),
            exists().where(col(Enablement.connection_id) == col(Connection.id)),
            ~is_running,
            ~failed_just_now,
        )
    )
    with runtime.database.reading() as session:
        return [item for item in session.execute(statement).scalars() if not is_failing(item)]


def read_activity(
    runtime: Runtime, connection_id: int, progress: Progress, check: Callable[[], object] = lambda: None
) -> ReadResult:
    """Read everything that is due of a connection, and count it by week.

    Args:
        runtime: of this process.
        connection_id: ours.
        progress: called with (repositories done, how many are due, what happens now).
        check: called before each write; raises what ends the read. What is stored by then stays.

    Raises:
        GitLabError, OutboundError: GitLab, or the way to it, failed; the next read continues where this one ended.
    """
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    began = utc_now()
    store = Store(runtime, check)
    store.write(lambda session: plan(session, connection, began))
    failed = dropped = 0
    with open_host_session(runtime, connection, is_background=True, purpose=Purpose.REPORTS) as http:
        http.limit(runtime.settings.catalogue_lanes)
        client = GitLabClient(http, AccessSource(runtime, connection_id, "read of activity"))
        _read_everywhere(store, client, connection_id)
        due = due_sources(runtime, connection_id)
        failed = _read_each(store, client, due, progress, read_source)
        compared = _to_compare(runtime, connection_id, began)
        if compared:
            counts: list[int] = []
            failed += _read_each(
                store,
                client,
                compared,
                lambda done, total, _: progress(done, total, "Comparing with GitLab"),
                lambda store, client, source: counts.append(drop_deleted(store, client, source)),
            )
            dropped = sum(counts)
            store.count(_stale(runtime, connection_id))
            store.write(lambda session: _note(session, connection_id, compared_at=began))
    store.count(_stale(runtime, connection_id))
    forget_old(runtime, connection_id, began, check)
    store.write(lambda session: _note(session, connection_id, read_at=began))
    return ReadResult(len({source.repository_id for source in due}), failed, store.pages, dropped)


def begin_of(months: int, now: datetime) -> int:
    """Return since when a connection is read, in seconds: the beginning of a day, a week before the first whole one."""
    return int((now - timedelta(days=months * MONTH_DAYS + 7)).timestamp()) // DAY * DAY


def plan(session: Session, connection: Connection, now: datetime) -> None:
    """Note which lists are wanted: those of enabled repositories and of the services that are on for them."""
    assert connection.id is not None
    row = session.get(Ingestion, connection.id)
    if row is None:
        row = Ingestion(connection_id=connection.id)
        session.add(row)
        session.flush()
    begin = begin_of(row.months, now)
    enabled = (
        select(col(Repository.id), col(Enablement.services))
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(col(Enablement.connection_id) == connection.id, ~is_blocked())
    )
    wanted: set[tuple[int, str]] = set()
    for repository_id, chosen in session.execute(enabled).all():
        for service in services_of(connection, chosen):
            wanted.update((repository_id, str(kind)) for kind in KINDS[Service(service)])
    mine = select(col(Reading.repository_id), col(Reading.kind)).where(col(Reading.connection_id) == connection.id)
    known: set[tuple[int, str]] = {(row[0], row[1]) for row in session.execute(mine).all()}
    new = [
        {"connection_id": connection.id, "repository_id": number, "kind": kind, "begin": begin, "due_at": now}
        | {"cursor": 0, "is_complete": False, "failures": 0, "is_stale": False, "unreadable": 0}
        for number, kind in sorted(wanted - known)
    ]
    if new:
        session.connection().execute(insert_into(session, Reading).on_conflict_do_nothing(), new)
    # A service that was switched off takes what it had read with it; a repository that is disabled keeps everything,
    # so that enabling it again continues where it was.
    off = known - wanted
    still = {number for number, _ in wanted}
    for repository_id, kind in sorted(off):
        if repository_id in still:
            _forget_kind(session, repository_id, Kind(kind))
    # GitLab moved the last activity since the list was read.
    active = exists().where(
        col(Repository.id) == col(Reading.repository_id), col(Repository.last_activity_at) > col(Reading.read_at)
    )
    of_code = col(Reading.kind).in_((Kind.COMMITS, Kind.DEPLOYMENTS))
    # The lists of everything did not include it: it was disabled at the time.
    is_behind = and_(~of_code, col(Reading.is_complete), col(Reading.read_at) < (row.read_at or col(Reading.read_at)))
    idle = (col(Reading.connection_id) == connection.id, col(Reading.due_at).is_(None))
    due = update(Reading).where(*idle, or_(and_(of_code, active), is_behind)).values(due_at=now)
    session.execute(due.execution_options(synchronize_session=False))


def _forget_kind(session: Session, repository_id: int, kind: Kind) -> None:
    table: Any = TABLES[kind]
    session.execute(delete(table).where(table.repository_id == repository_id))
    session.execute(delete(Reading).where(col(Reading.repository_id) == repository_id, col(Reading.kind) == str(kind)))
    session.flush()
    count_weeks(session, repository_id)


def due_sources(runtime: Runtime, connection_id: int) -> list[Source]:
    """Return the lists that have to be read now, those of one repository next to each other."""
    return _sources(runtime, connection_id, col(Reading.due_at) <= utc_now())


def _sources(runtime: Runtime, connection_id: int, *which: Any) -> list[Source]:
    columns: tuple[Any, ...] = (
        *(col(Reading.id).label("reading_id"), Reading.connection_id, Reading.repository_id, Reading.kind),
        col(Repository.gitlab_project_id).label("project_id"),
        *(Reading.begin, Reading.cursor, Reading.is_complete, Repository.is_empty, Repository.last_activity_at),
    )
    statement = (
        select(*columns)
        .join(Repository, col(Repository.id) == col(Reading.repository_id))
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(col(Reading.connection_id) == connection_id, ~is_blocked(), *which)
    )
    with runtime.database.reading() as session:
        rows = session.execute(statement.order_by(col(Reading.repository_id))).all()
    found = [Source(**{**row._mapping, "kind": Kind(row.kind)}) for row in rows]
    return sorted(found, key=lambda source: (source.repository_id, ORDER.index(source.kind)))


def _read_everywhere(store: Store, client: GitLabClient, connection_id: int) -> None:
    """Read what changed anywhere, one page for a hundred changes, instead of asking about each repository.

    What GitLab does not answer here is asked of each repository.
    """
    with store.runtime.database.reading() as session:
        state = session.get_one(Ingestion, connection_id)
        until = {MergeRequestRow: state.merge_requests_until, IssueRow: state.issues_until}
    for shape, kind in ((MergeRequestRow, Kind.MERGE_REQUESTS), (IssueRow, Kind.ISSUES)):
        complete = _sources(store.runtime, connection_id, col(Reading.kind) == kind, col(Reading.is_complete))
        if not complete:
            # The first reads see everything that is there when they begin.
            _remember(store, connection_id, kind, seconds(utc_now()) - CLOCK_SLACK)
            continue
        places = {source.project_id: source for source in complete}
        since = until[shape]
        try:
            if since is None:
                raise GitLabNotFound
            _read_changed(store, client, connection_id, shape, kind, since, places)
        except ABOUT_ONE:
            own = (col(Reading.connection_id) == connection_id, col(Reading.kind) == kind)
            again = update(Reading).where(*own, col(Reading.due_at).is_(None)).values(due_at=utc_now())
            store.write(lambda session, again=again: session.execute(again))  # type: ignore[misc]
            _remember(store, connection_id, kind, seconds(utc_now()) - CLOCK_SLACK)


def _read_changed(
    store: Store,
    client: GitLabClient,
    connection_id: int,
    shape: type[Changing],
    kind: Kind,
    until: int,
    places: dict[int, Source],
) -> None:
    began, since, number = utc_now(), until - OVERLAP, 1
    repositories = {number: source.repository_id for number, source in places.items()}
    for _ in range(MAX_PAGES):
        page = changed_page(client, shape, None, since, number)
        newest = max((seconds(row.updated_at) for row in page.items), default=since)
        rows = [row for row in page.items if getattr(row, "project_id", 0) in places]
        touched = {places[row.project_id].repository_id for row in rows}  # type: ignore[union-attr]

        def work(session: Session, rows: Any = rows, touched: Any = touched, newest: int = newest) -> None:
            store_changed(session, connection_id, repositories, rows)
            of_them = (col(Reading.connection_id) == connection_id, col(Reading.repository_id).in_(touched))
            stale = update(Reading).where(*of_them, col(Reading.kind) == kind).values(is_stale=True)
            session.execute(stale)
            if kind == Kind.MERGE_REQUESTS:
                # A comment or an approval moves its merge request's time.
                reviews = update(Reading).where(*of_them, col(Reading.kind) == Kind.REVIEWS)
                session.execute(reviews.where(col(Reading.due_at).is_(None)).values(due_at=began))
            _note(session, connection_id, **{f"{kind}_until": max(newest, until)})

        store.write(work)
        if is_last(page, number):
            break
        since, number = (newest, 1) if newest > since else (since, number + 1)
    own = (col(Reading.connection_id) == connection_id, col(Reading.is_complete), col(Reading.card).is_(None))
    followed = (Kind.MERGE_REQUESTS, Kind.REVIEWS) if kind == Kind.MERGE_REQUESTS else (kind,)
    enabled = exists().where(col(Enablement.repository_id) == col(Reading.repository_id))
    fresh = update(Reading).where(*own, col(Reading.kind).in_(followed), col(Reading.due_at).is_(None), enabled)
    is_stored = fresh.values(read_at=began).execution_options(synchronize_session=False)
    store.write(lambda session: session.execute(is_stored))


def _remember(store: Store, connection_id: int, kind: Kind, until: int) -> None:
    store.write(lambda session: _note(session, connection_id, **{f"{kind}_until": until}))


def _note(session: Session, connection_id: int, **changes: Any) -> None:
    session.execute(update(Ingestion).where(col(Ingestion.connection_id) == connection_id).values(**changes))


def _read_each(
    store: Store,
    client: GitLabClient,
    sources: list[Source],
    progress: Progress,
    read: Callable[[Store, GitLabClient, Source], object],
) -> int:
    """Read lists, those of one repository one after the other, several repositories at once; return how many failed.

    A list that GitLab refuses stops alone. If GitLab fails, nothing more is started.
    """
    by_repository: defaultdict[int, list[Source]] = defaultdict(list)
    for source in sources:
        by_repository[source.repository_id].append(source)
    total, started, is_over = len(by_repository), time.monotonic(), threading.Event()
    lock = threading.Lock()
    done = failed = 0

    def one(mine: list[Source]) -> None:
        nonlocal done, failed
        for source in mine:
            if is_over.is_set():
                return
            try:
                read(store, client, source)
            except SourceGone:
                continue
            except GitLabError as error:
                if not _is_about_one(error):
                    raise
                store.fail(source, error.card())
                with lock:
                    failed += 1
        store.count([mine[0].repository_id])
        with lock:
            done += 1
            now = done
        progress(now, total, f"Reading activity{time_left(now, total, time.monotonic() - started)}")

    threads = store.runtime.settings.catalogue_lanes * THREADS_PER_REQUEST
    with ThreadPoolExecutor(threads, thread_name_prefix="activity") as pool:
        futures = [pool.submit(copy_context().run, one, mine) for mine in by_repository.values()]
        try:
            for future in futures:
                future.result()
        finally:
            is_over.set()
            pool.shutdown(cancel_futures=True)
    return failed


def _is_about_one(error: GitLabError) -> bool:
    return isinstance(error, ABOUT_ONE) or (isinstance(error, GitLabUnavailable) and error.status == 500)


def time_left(done: int, total: int, elapsed: float) -> str:
    """Return how long the rest takes, as people read it; empty if that cannot be told yet."""
    if done < 3 or elapsed < 5 or done >= total:
        return ""
    minutes = (total - done) * elapsed / done / 60
    if minutes < 1:
        return ", less than a minute left"
    return f", about {round(minutes)} minutes left" if minutes < 90 else f", about {round(minutes / 60)} hours left"


def _stale(runtime: Runtime, connection_id: int) -> list[int]:
    own = (col(Reading.connection_id) == connection_id, col(Reading.is_stale))
    with runtime.database.reading() as session:
        return sorted(session.execute(select(col(Reading.repository_id)).where(*own).distinct()).scalars())


def _to_compare(runtime: Runtime, connection_id: int, now: datetime) -> list[Source]:
    """Return the lists to look for deleted rows in, once a week."""
    with runtime.database.reading() as session:
        state = session.get_one(Ingestion, connection_id)
    if state.compared_at is None:
        # The first read has just seen what is there.
        if state.read_at is not None and state.read_at <= now - COMPARE_EVERY:
            return _comparable(runtime, connection_id)
        return []
    return _comparable(runtime, connection_id) if state.compared_at <= now - COMPARE_EVERY else []


def _comparable(runtime: Runtime, connection_id: int) -> list[Source]:
    kinds = col(Reading.kind).in_((Kind.MERGE_REQUESTS, Kind.ISSUES))
    return _sources(runtime, connection_id, kinds, col(Reading.is_complete), col(Reading.card).is_(None))


def forget_old(runtime: Runtime, connection_id: int, now: datetime, check: Callable[[], object]) -> None:
    """Delete what is older than the connection keeps, once a day."""
    with runtime.database.reading() as session:
        state = session.get_one(Ingestion, connection_id)
    if state.read_at is not None and state.read_at.date() == now.date():
        return
    begin = begin_of(state.months, now)
    ages = ((MergeRequest, "updated", begin), (Review, "first", begin), (Issue, "updated", begin))
    more = (
        (GitCommit, "committed", begin),
        (Deployment, "updated", begin),
        (FigureBlock, "block", block_of(week_of(begin)) + 1),
    )
    blocks = ((ReviewerBlock, "block", block_of(week_of(begin)) + 1),)
    for table, name, least in (*ages, *more, *blocks):
        own: Any = table.__table__.c  # type: ignore[union-attr]
        old = select(own.id).where(own.connection_id == connection_id, own[name] < least - 1)
        runtime.database.delete_in_batches(table, old, check)
