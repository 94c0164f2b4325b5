"""One catalogue run, from the first request to the comparison at the end."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import Session, col, select

from portal.actor import SYSTEM, Actor
from portal.connections.models import Connection, need_attention
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
from portal.gitlab.identification import FILTERS_BY_ROLE, Version, VersionTooOld, parse_version
from portal.jobs import Job, enqueue
from portal.net import OutboundError
from portal.repositories.catalogue.findings import ReadFindings, card_of, is_asked_about
from portal.repositories.catalogue.reader import CatalogueReader
from portal.repositories.catalogue.rows import (
    compare,
    group_row,
    repository_row,
    write_groups,
    write_repositories,
)
from portal.repositories.models import CatalogueRun, Doubt, GitLabGroup, catalogue_key, recount
from portal.repositories.search import complete_index
from portal.runtime import Runtime

READ_CATALOGUE = "repositories.read_catalogue"
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


def read_catalogue(runtime: Runtime, connection_id: int, job_public_id: str, progress: Progress) -> CatalogueRun:
    """Read everything the service user is a member of, and write it as it arrives.

    `progress` is called with (repositories read, total or None if GitLab does not say, what happens now).

    Returns:
        The run as it ended. If it is not complete, nothing was marked as missing.

    Raises:
        GitLabError, OutboundError: a page failed; what was read is kept, nothing is marked as missing.
    """
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    with runtime.database.transaction() as session:
        run = CatalogueRun(connection_id=connection_id, job_public_id=job_public_id)
        session.add(run)
        session.flush()
        assert run.id is not None
        run_id = run.id
    found = ReadFindings()
    with open_host_session(runtime, connection, is_background=True) as http:
        client = GitLabClient(http, AccessSource(runtime, connection_id, "catalogue read"))
        try:
            metadata = client.metadata()
        except REFUSED:
            version = parse_version(connection.version_seen)  # This token may not ask.
        else:
            note_version(runtime, connection_id, metadata)
            version = parse_version(metadata.version)
            if version is not None and not version.is_supported:
                raise VersionTooOld(metadata.version)
        progress(0, None, "Reading groups")
        try:
            _read_groups(runtime, connection_id, client, run_id, found)
        except GitLabRateLimited:
            raise
        except (GitLabError, OutboundError) as error:
            # Groups are only names in a tree: repositories are read without them, if GitLab returns those.
            found.note_failure("groups", error.code)
        _read_repositories(runtime, connection, client, version, found, progress)
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
        run.projects_seen, run.groups_seen, run.projects_counted = len(found.seen), found.groups, found.counted
        run.projects_lost, run.projects_known, run.projects_unseen = compared.lost, compared.known, compared.unseen
        if compared.unseen:
            # What was decided about the same repositories stays decided.
            run.doubt = Doubt.ASKED if compared.is_asked or before is None else before.doubt
        run.defects = list(found.defects.values())
        run.search_indexed = is_indexed
        if found.are_groups_whole:
            # Without its group a grant shows a team lead nothing, so an incomplete list removes no group.
            gone = (GitLabGroup.connection_id == connection_id, col(GitLabGroup.seen_in_run_id) != run_id)
            for group in session.exec(select(GitLabGroup).where(*gone)):
                session.delete(group)
        session.flush()
        recount(session, connection_id)
        if run.complete:
            note_read(session, connection_id)
        if card := card_of(run):
            need_attention(session, connection_id, card)
        return run


def latest_run(session: Session, connection_id: int) -> CatalogueRun | None:
    """Return the newest run of a connection that was not aborted."""
    ended = (CatalogueRun.connection_id == connection_id, col(CatalogueRun.finished_at).is_not(None))
    return session.exec(select(CatalogueRun).where(*ended).order_by(col(CatalogueRun.id).desc()).limit(1)).first()


def _read_groups(runtime: Runtime, connection_id: int, client: GitLabClient, run_id: int, found: ReadFindings) -> None:
    ids: set[int] = set()
    unnamed, counted = 0, None
    for page in client.group_pages():
        write_groups(runtime.database, [group_row(connection_id, group, run_id) for group in page.items])
        found.note_defects("groups", page.defects)
        ids.update(page.ids)
        unnamed, counted = unnamed + page.unnamed, page.total
        found.groups = len(ids)
    left_out = any(item["left_out"] for item in found.defects.values())
    found.are_groups_whole = not unnamed and not left_out and (bool(ids) if counted is None else len(ids) >= counted)


def _read_repositories(
    runtime: Runtime,
    connection: Connection,
    client: GitLabClient,
    version: Version | None,
    found: ReadFindings,
    progress: Progress,
) -> None:
    try:
        highest, found.counted = client.newest_project()
    except GitLabUnavailable as error:
        if error.status != 500:
            raise
        highest = 0  # It may be the newest project that makes GitLab fail; then the reader finds it.
    reader = CatalogueReader(
        client,
        lanes=runtime.settings.catalogue_lanes,
        wants_maintainer=connection.hooks_wanted,
        highest_id=highest,
        filters_by_role=version is None or version >= FILTERS_BY_ROLE,
    )
    assert connection.id is not None
    for read in reader:
        wrong: dict[str, set[str]] = {}
        for defect in read.page.defects:
            wrong.setdefault(defect.row, set()).add(defect.field.partition(".")[0])
        rows = [
            repository_row(connection.id, project, read.access_levels[project.id], wrong.get(str(project.id), set()))
            for project in read.page.items
        ]
        write_repositories(runtime.database, rows)
        found.note_defects("projects", read.page.defects)
        found.seen.update(read.page.ids)
        found.unnamed += read.page.unnamed
        progress(len(found.seen), found.counted, "Reading repositories")
    found.is_contradicted = reader.is_contradicted
    if found.counted is not None and len(found.seen) < found.counted:
        # Some may have been deleted by now.
        _, now = client.newest_project()
        found.counted = found.counted if now is None else min(found.counted, now)
