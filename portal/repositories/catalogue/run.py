"""One catalogue run, from the first request to the comparison at the end."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import col, select

from portal.authorization.refresh import AccessSource
from portal.connections.models import Connection
from portal.connections.service.connections import note_read, note_version
from portal.connections.service.instance import open_line
from portal.db import utc_now
from portal.gitlab.client import GitLabClient
from portal.gitlab.payloads import Group
from portal.repositories.catalogue.reader import CataloguePage, CatalogueReader
from portal.repositories.catalogue.rows import row_of
from portal.repositories.catalogue.writer import mark_missing, write_groups, write_repositories
from portal.repositories.models import CatalogueRun, GitLabGroup
from portal.runtime import Runtime

Progress = Callable[[int, int | None, str], None]


def read_catalogue(runtime: Runtime, connection_id: int, job_public_id: str, progress: Progress) -> int:
    """Read everything the service user is a member of, and write it as it comes.

    `progress` is called with (repositories read, total or None when GitLab does not tell, what happens now).

    Returns:
        How many repositories GitLab told.

    Raises:
        GitLabError, OutboundError: a page failed; what was read is kept, nothing is marked as missing.
    """
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    run_id = _begin_run(runtime, connection_id, job_public_id)
    with open_line(runtime, connection) as line:
        client = GitLabClient(line, AccessSource(runtime, connection_id, "catalogue read"))
        note_version(runtime, connection_id, client.metadata())
        groups = _read_groups(runtime, connection_id, client, run_id, progress)
        seen = _read_repositories(runtime, connection, client, progress)
    mark_missing(runtime.database, connection_id, seen)
    _end_run(runtime, connection_id, run_id, len(seen), groups)
    return len(seen)


def latest_run(runtime: Runtime, connection_id: int) -> CatalogueRun | None:
    """Return the newest run of a connection."""
    with runtime.database.reading() as session:
        return session.exec(
            select(CatalogueRun)
            .where(CatalogueRun.connection_id == connection_id)
            .order_by(col(CatalogueRun.id).desc())
            .limit(1)
        ).first()


def _read_groups(runtime: Runtime, connection_id: int, client: GitLabClient, run_id: int, progress: Progress) -> int:
    progress(0, None, "Reading groups")
    count = 0
    for page in client.group_pages():
        rows = [_group_row(connection_id, group, run_id) for group in page.items]
        write_groups(runtime.database, rows)
        count += len(rows)
    return count


def _read_repositories(runtime: Runtime, connection: Connection, client: GitLabClient, progress: Progress) -> set[int]:
    total = client.count_projects()
    reader = CatalogueReader(client, lanes=runtime.settings.catalogue_lanes, wants_maintainer=connection.hooks_wanted)
    seen: set[int] = set()
    assert connection.id is not None
    for page in reader:
        _write_page(runtime, connection.id, page)
        seen.update(project.id for project in page.projects)
        progress(len(seen), total, "Reading repositories")
    return seen


def _write_page(runtime: Runtime, connection_id: int, page: CataloguePage) -> None:
    rows = [row_of(connection_id, project, page.access_levels[project.id]) for project in page.projects]
    write_repositories(runtime.database, rows)


def _group_row(connection_id: int, group: Group, run_id: int) -> dict[str, object]:
    return {
        "connection_id": connection_id,
        "gitlab_group_id": group.id,
        "parent_gitlab_group_id": group.parent_id,
        "name": group.name,
        "full_path": group.full_path,
        "kind": "group",
        "seen_in_run_id": run_id,
    }


def _begin_run(runtime: Runtime, connection_id: int, job_public_id: str) -> int:
    with runtime.database.transaction() as session:
        run = CatalogueRun(connection_id=connection_id, job_public_id=job_public_id)
        session.add(run)
        session.flush()
        assert run.id is not None
        return run.id


def _end_run(runtime: Runtime, connection_id: int, run_id: int, projects: int, groups: int) -> None:
    with runtime.database.transaction() as session:
        run = session.get_one(CatalogueRun, run_id)
        run.complete, run.projects_seen, run.groups_seen, run.finished_at = True, projects, groups, utc_now()
        # Groups that this run no longer saw are only names in a tree; nothing hangs on them.
        for group in session.exec(
            select(GitLabGroup).where(
                GitLabGroup.connection_id == connection_id, col(GitLabGroup.seen_in_run_id) != run_id
            )
        ):
            session.delete(group)
        note_read(session, connection_id)
