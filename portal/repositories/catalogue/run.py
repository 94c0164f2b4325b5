"""One catalogue run, from the first request to the comparison at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, or_
from sqlmodel import Session, col, select

from portal.actor import SYSTEM, Actor
from portal.connections.models import Connection, ConnectionState, is_failing, need_attention
from portal.connections.store import note_read, note_version, open_host_session
from portal.credentials import AccessSource
from portal.db import utc_now
from portal.gitlab.answers import (
    ForbiddenByRole,
    GitLabError,
    GitLabNotFound,
    GitLabRateLimited,
    GitLabUnavailable,
    InsufficientScope,
    MalformedAnswer,
    NotGitLab,
    UnexpectedStatus,
)
from portal.gitlab.client import GitLabClient
from portal.gitlab.identification import FILTERS_BY_ROLE, FILTERS_BY_UPDATE, Version, VersionTooOld, parse_version
from portal.jobs import Job, enqueue
from portal.net import OutboundError, Purpose
from portal.repositories.availability import REPORTER
from portal.repositories.catalogue.findings import ReadFindings, card_of, is_asked_about
from portal.repositories.catalogue.reader import MAINTAINER, CataloguePage, CatalogueReader, known_role
from portal.repositories.catalogue.rows import (
    compare,
    group_row,
    repository_row,
    write_groups,
    write_repositories,
)
from portal.repositories.models import CatalogueRun, Doubt, GitLabGroup, RunKind, catalogue_key, recount
from portal.repositories.search import complete_index
from portal.runtime import Runtime

READ_CATALOGUE = "repositories.read_catalogue"
READ_UPDATES = "repositories.read_updates"
# What a killed process has read since is read again.
KEPT_EVERY_SECONDS = 2.0
# While one takes its page apart, another asks for the next.
THREADS_PER_REQUEST = 2
# What has been read before that may be out of date.
RESUMED_WITHIN = timedelta(hours=1)
# GitLab stores the time of an update before others can see it.
OVERLAP = timedelta(minutes=2)
Progress = Callable[[int, int | None, str], None]
# Answers that refuse one request, and say nothing about the token or GitLab being unreachable.
REFUSED = (ForbiddenByRole, GitLabNotFound, InsufficientScope, MalformedAnswer, NotGitLab, UnexpectedStatus)


def enqueue_catalogue_read(session: Session, connection: Connection, actor: Actor = SYSTEM) -> Job:
    """Start a read of the catalogue for the actor who asked; if one is running, return that."""
    return enqueue(
        session,
        READ_CATALOGUE,
        {"connection_id": connection.id},
        organization_id=connection.organization_id,
        title=f"Read repositories of {connection.display_name}",
        key=catalogue_key(connection),
        subject=f"connection:{connection.id}",
        lane=f"connection:{connection.id}",
        actor=actor,
    )


def enqueue_updates_read(session: Session, connection: Connection) -> Job:
    """Start a read of what GitLab has updated; if one is running, return that."""
    return enqueue(
        session,
        READ_UPDATES,
        {"connection_id": connection.id},
        organization_id=connection.organization_id,
        title=f"Read updates of {connection.display_name}",
        key=f"updates:{connection.id}",
        subject=f"connection:{connection.id}",
        lane=f"connection:{connection.id}",
    )


def read_catalogue(runtime: Runtime, connection_id: int, job_public_id: str, progress: Progress) -> CatalogueRun:
    """Read everything the service user is a member of, and write it as it arrives.

    `progress` is called with (repositories read, total or None if GitLab does not say, what happens now).

    If a process was killed in the middle of a run within the last hour, that run is continued.

    Returns:
        The run as it ended. If it is not complete, nothing was marked as missing.

    Raises:
        GitLabError, OutboundError: a page failed; what was read is kept, nothing is marked as missing.
    """
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    run_id, found, updated_until = _resume(runtime, connection) or (0, ReadFindings(), None)
    is_new = not run_id
    if is_new:
        run_id = _begin(runtime, connection_id, job_public_id, RunKind.COMPLETE)
    with open_host_session(runtime, connection, is_background=True, purpose=Purpose.CATALOGUE) as http:
        http.limit(runtime.settings.catalogue_lanes)
        client = GitLabClient(http, AccessSource(runtime, connection_id, "catalogue read"))
        version = _read_version(runtime, connection, client)
        if is_new and version is not None and version >= FILTERS_BY_UPDATE:
            # Before anything else: what is updated while this run reads is for the next one.
            try:
                updated_until = client.latest_update()
            except GitLabUnavailable as error:
                if error.status != 500:  # Otherwise one certain project may make GitLab fail.
                    raise
        progress(0, None, "Reading groups and repositories")
        groups, is_over = ReadFindings(), threading.Event()
        with ThreadPoolExecutor(1) as beside:
            reading = beside.submit(_read_groups, runtime, connection_id, client, run_id, groups, is_over)
            try:
                keep = _Keeper(runtime, run_id, connection.row_version, updated_until)
                _read_repositories(runtime, connection, client, version, found, progress, keep)
            except BaseException:
                is_over.set()
                raise
        try:
            reading.result()
        except GitLabRateLimited:
            raise
        except (GitLabError, OutboundError) as error:
            # Groups are only names in a tree: repositories are read without them, if GitLab returns those.
            groups.note_failure("groups", error.code)
    is_indexed = complete_index(runtime.database)
    percent = runtime.settings.catalogue_loss_percent
    compared = compare(
        runtime.database,
        connection_id,
        found.seen,
        is_complete=found.is_complete,
        is_too_many=lambda unseen, known: is_asked_about(unseen, known, percent),
    )
    with runtime.database.transaction() as session:
        before = latest_run(session, connection_id)
        run = session.get_one(CatalogueRun, run_id)
        run.complete, run.finished_at = found.is_complete, utc_now()
        run.projects_seen, run.groups_seen, run.projects_counted = len(found.seen), len(groups.seen), found.counted
        run.projects_lost, run.projects_known, run.projects_unseen = compared.lost, compared.known, compared.unseen
        if compared.unseen:
            # What was decided about the same repositories stays decided.
            run.doubt = Doubt.ASKED if compared.is_asked or before is None else before.doubt
        run.defects = [*groups.defects.values(), *found.defects.values()]
        run.search_indexed, run.updated_until, run.checkpoint = is_indexed, updated_until, None
        if groups.are_groups_whole:
            # Without its group a grant shows a team lead nothing, so an incomplete list removes no group.
            for group in session.exec(select(GitLabGroup).where(GitLabGroup.connection_id == connection_id)):
                if group.gitlab_group_id not in groups.seen:
                    session.delete(group)
        session.flush()
        recount(session, connection_id)
        if run.complete:
            note_read(session, connection_id)
        if card := card_of(run):
            need_attention(session, connection_id, card)
        return run


def read_updates(runtime: Runtime, connection_id: int, job_public_id: str, progress: Progress) -> tuple[int, int]:
    """Read what GitLab has updated since the last run; what is gone, or newly shared, only a complete run sees.

    Returns:
        How many repositories were read, and how many rows changed.

    Raises:
        GitLabError, OutboundError: a page failed; what was read is kept, and the next run reads it again.
    """
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
        before = _latest_ended(session, connection_id, col(CatalogueRun.updated_until).is_not(None))
    if before is None or before.updated_until is None:
        return 0, 0
    since = before.updated_until
    run_id = _begin(runtime, connection_id, job_public_id, RunKind.UPDATES)
    found, changed, until = ReadFindings(), 0, since
    with open_host_session(runtime, connection, is_background=True, purpose=Purpose.CATALOGUE) as http:
        client = GitLabClient(http, AccessSource(runtime, connection_id, "catalogue read"))
        version = _read_version(runtime, connection, client)
        if version is None or version < FILTERS_BY_UPDATE:
            raise UpdatesUnavailable
        held: dict[int, int] = {}
        is_sure = True
        for level in (REPORTER, MAINTAINER) if connection.hooks_wanted else (REPORTER,):
            ids: set[int] = set()
            counted = None
            for page in client.updated_pages(since - OVERLAP, min_access_level=level, simple=True):
                ids.update(page.ids)
                counted = page.total
            is_sure = is_sure and (counted is None or len(ids) >= counted)
            held.update(dict.fromkeys(ids, level))
        for page in client.updated_pages(since - OVERLAP):
            roles = {item.id: max(item.access_level or 0, held.get(item.id, 0)) or None for item in page.items}
            levels = {number: known_role(role, is_sure=is_sure) for number, role in roles.items()}
            changed += _write(runtime, connection_id, [CataloguePage(page, levels)])
            found.note_page(page)
            until = max([until, *(item.updated_at for item in page.items if item.updated_at)])
            progress(len(found.seen), page.total, "Reading updates")
    is_indexed = complete_index(runtime.database)
    with runtime.database.transaction() as session:
        run = session.get_one(CatalogueRun, run_id)
        run.complete, run.finished_at, run.projects_seen = True, utc_now(), len(found.seen)
        run.search_indexed, run.updated_until, run.defects = is_indexed, until, list(found.defects.values())
        of_updates = (col(CatalogueRun.connection_id) == connection_id, col(CatalogueRun.kind) == RunKind.UPDATES)
        session.execute(delete(CatalogueRun).where(*of_updates, col(CatalogueRun.id) < run_id))
    return len(found.seen), changed


class UpdatesUnavailable(Exception):
    """This GitLab cannot say what it has updated."""


def connections_to_read(runtime: Runtime) -> dict[RunKind, list[Connection]]:
    """Return which connections have to be read again by the clock, completely or only what was updated.

    The first read is begun by whoever connects it.
    """
    now, settings = utc_now(), runtime.settings
    # One connection after the other, by the index: most portals have few connections and many runs.
    of_connection = col(CatalogueRun.connection_id) == col(Connection.id)
    is_of_all = col(CatalogueRun.kind) == RunKind.COMPLETE
    last = select(func.max(CatalogueRun.started_at)).where(of_connection).scalar_subquery()
    last_complete = select(func.max(CatalogueRun.started_at)).where(of_connection, is_of_all).scalar_subquery()
    updated_until = select(func.max(CatalogueRun.updated_until)).where(of_connection).scalar_subquery()
    states = col(Connection.state).in_((ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION))
    # Neither is true of a connection without a run.
    is_complete = last_complete <= now - timedelta(hours=settings.catalogue_complete_hours)
    is_old = and_(last <= now - timedelta(minutes=settings.catalogue_updates_minutes), updated_until.is_not(None))
    due: dict[RunKind, list[Connection]] = {kind: [] for kind in RunKind}
    with runtime.database.reading() as session:
        found = select(Connection, is_complete).where(states)
        for connection, wants_all in session.exec(found.where(or_(is_complete, is_old))):
            if not is_failing(connection):
                due[RunKind.COMPLETE if wants_all else RunKind.UPDATES].append(connection)
    return due


def latest_run(session: Session, connection_id: int) -> CatalogueRun | None:
    """Return the newest complete run of a connection that was not aborted."""
    return _latest_ended(session, connection_id, col(CatalogueRun.kind) == RunKind.COMPLETE)


def _latest_ended(session: Session, connection_id: int, *which: Any) -> CatalogueRun | None:
    ended = (CatalogueRun.connection_id == connection_id, col(CatalogueRun.finished_at).is_not(None), *which)
    return session.exec(select(CatalogueRun).where(*ended).order_by(col(CatalogueRun.id).desc()).limit(1)).first()


def _begin(runtime: Runtime, connection_id: int, job_public_id: str, kind: RunKind) -> int:
    with runtime.database.transaction() as session:
        run = CatalogueRun(connection_id=connection_id, job_public_id=job_public_id, kind=kind)
        session.add(run)
        session.flush()
        assert run.id is not None
        return run.id


def _resume(runtime: Runtime, connection: Connection) -> tuple[int, ReadFindings, datetime | None] | None:
    """Return the run that a process did not end, with what it had read; None if there is none, or it is too old."""
    with runtime.database.reading() as session:
        newest = select(CatalogueRun).where(
            CatalogueRun.connection_id == connection.id, col(CatalogueRun.kind) == RunKind.COMPLETE
        )
        run = session.exec(newest.order_by(col(CatalogueRun.id).desc()).limit(1)).first()
    if run is None or run.finished_at or not run.checkpoint or run.started_at < utc_now() - RESUMED_WITHIN:
        return None
    assert run.id is not None
    found = ReadFindings.from_bytes(run.checkpoint, connection.row_version)
    return (run.id, found, run.updated_until) if found else None


class _Keeper:
    """Keeps what a run has read every few seconds, so that another process can continue it."""

    def __init__(self, runtime: Runtime, run_id: int, row_version: int, updated_until: datetime | None) -> None:
        self._runtime, self._run_id, self._row_version = runtime, run_id, row_version
        self._updated_until = updated_until
        self._kept_at = time.monotonic()

    def keep(self, found: ReadFindings) -> None:
        """Store it if the last time is long ago."""
        if time.monotonic() - self._kept_at < KEPT_EVERY_SECONDS:
            return
        with self._runtime.database.transaction() as session:
            run = session.get_one(CatalogueRun, self._run_id)
            run.checkpoint, run.updated_until = found.to_bytes(self._row_version), self._updated_until
        self._kept_at = time.monotonic()


def _read_version(runtime: Runtime, connection: Connection, client: GitLabClient) -> Version | None:
    assert connection.id is not None
    try:
        metadata = client.metadata()
    except REFUSED:
        return parse_version(connection.version_seen)  # This token may not ask.
    note_version(runtime, connection.id, metadata)
    version = parse_version(metadata.version)
    if version is not None and not version.is_supported:
        raise VersionTooOld(metadata.version)
    return version


def _read_groups(
    runtime: Runtime,
    connection_id: int,
    client: GitLabClient,
    run_id: int,
    found: ReadFindings,
    is_over: threading.Event,
) -> None:
    for page in client.group_pages():
        if is_over.is_set():
            return
        write_groups(runtime.database, [group_row(connection_id, group, run_id) for group in page.items])
        found.note_defects("groups", page.defects)
        found.seen.update(page.ids)
        found.unnamed, found.counted = found.unnamed + page.unnamed, page.total
    left_out = any(item["left_out"] for item in found.defects.values())
    found.are_groups_whole = found.is_complete and not left_out


def _read_repositories(
    runtime: Runtime,
    connection: Connection,
    client: GitLabClient,
    version: Version | None,
    found: ReadFindings,
    progress: Progress,
    keep: _Keeper,
) -> None:
    try:
        highest, found.counted = client.newest_project()
    except GitLabUnavailable as error:
        if error.status != 500:
            raise
        highest = 0  # It may be the newest project that makes GitLab fail; then the reader finds it.
    reader = CatalogueReader(
        client,
        lanes=runtime.settings.catalogue_lanes * THREADS_PER_REQUEST,
        wants_maintainer=connection.hooks_wanted,
        ranges=found.covered.left(highest),
        filters_by_role=version is None or version >= FILTERS_BY_ROLE,
        counts_all=found.counted is not None,
    )
    assert connection.id is not None
    for pages in reader:
        _write(runtime, connection.id, pages)
        found.is_contradicted = found.is_contradicted or reader.is_contradicted
        for read in pages:
            found.note_page(read.page)
            if read.covered:
                found.covered.add(*read.covered)
                keep.keep(found)
            progress(len(found.seen), found.counted, "Reading repositories")
    found.is_contradicted = found.is_contradicted or reader.is_contradicted
    if found.counted is not None and len(found.seen) < found.counted:
        # Some may have been deleted by now.
        _, now = client.newest_project()
        found.counted = found.counted if now is None else min(found.counted, now)


def _write(runtime: Runtime, connection_id: int, pages: list[CataloguePage]) -> int:
    """Store what some pages say; return how many rows changed."""
    rows = []
    for read in pages:
        wrong: dict[str, set[str]] = {}
        for defect in read.page.defects:
            wrong.setdefault(defect.row, set()).add(defect.field.partition(".")[0])
        rows += [
            repository_row(connection_id, project, read.access_levels[project.id], wrong.get(str(project.id), set()))
            for project in read.page.items
        ]
    return write_repositories(runtime.database, rows)
