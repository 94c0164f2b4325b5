"""What starts a sync: a change here, a push that a webhook reports, and a look at GitLab's branch now and then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, String, cast, exists, literal
from sqlmodel import Session, col, select

from portal.connections.models import Connection
from portal.connections.store import open_host_session
from portal.credentials import AccessSource, AccessUnavailable
from portal.db import utc_now
from portal.gitlab.answers import GitLabError
from portal.gitlab.merge_requests import BranchClient
from portal.jobs import Job, JobContext
from portal.logs import get_logger
from portal.net import OutboundError, Purpose
from portal.runtime import Runtime
from portal.sync.models import Site, SiteState
from portal.sync.store import HERE, mark_due, repository_of
from portal.sync.syncing import WITHOUT_HOOK, enqueue_sync

log = get_logger(__name__)
# Of one look; the others are due at the next.
AT_ONCE = 200
# GitLab could not be asked: all sites of the connection wait.
AFTER_FAILURE = timedelta(minutes=2)


def on_push(session: Session, connection_id: int, events: Sequence[Any]) -> None:
    """Have the sites synced whose branch was pushed to, as reported by webhooks."""
    moved: dict[int, set[str]] = defaultdict(set)
    for event in events:
        ref, after = event.body.get("ref"), event.body.get("after")
        if event.project_id and isinstance(ref, str) and ref.startswith("refs/heads/") and isinstance(after, str):
            moved[event.project_id].add(ref.removeprefix("refs/heads/"))
    if not moved:
        return
    mine = (col(Site.connection_id) == connection_id, col(Site.gitlab_project_id).in_(moved))
    for site in session.exec(select(Site).where(*mine).order_by(col(Site.id))):
        if site.branch in moved[site.gitlab_project_id or 0]:
            mark_due(site)
            enqueue_sync(session, site)


def _due() -> list[ColumnElement[bool]]:
    key = literal("sync:").concat(cast(col(Site.id), String))
    return [
        col(Site.due_at) <= utc_now(),
        col(Site.state) != SiteState.LOCAL,
        ~exists().where(col(Job.key) == key, col(Job.finished_at).is_(None)),
    ]


def has_due(runtime: Runtime) -> bool:
    """Return whether a site must be synced now and no job does it."""
    with runtime.database.reading() as session:
        return session.exec(select(Site.id).where(*_due()).limit(1)).first() is not None


def start_due(context: JobContext) -> None:
    """Start the syncs that are due."""
    with context.runtime.database.reading() as session:
        ids = session.exec(select(Site.id).where(*_due()).order_by(col(Site.due_at)).limit(AT_ONCE)).all()
    for site_id in ids:
        with context.transaction() as session:
            site = session.get(Site, site_id)
            if site is not None and site.is_connected:
                enqueue_sync(session, site)


def _to_check() -> list[ColumnElement[bool]]:
    return [col(Site.check_at) <= utc_now(), col(Site.state) != SiteState.LOCAL, col(Site.due_at).is_(None)]


def has_branch_to_check(runtime: Runtime) -> bool:
    """Return whether GitLab must be asked about a branch now."""
    with runtime.database.reading() as session:
        return session.exec(select(Site.id).where(*_to_check()).limit(1)).first() is not None


def check_branches(context: JobContext) -> None:
    """Ask GitLab about the branches that are due, one request each, and have those synced that have moved.

    Whatever was changed here and not noted, because a process was killed in between, is noticed too.
    """
    runtime = context.runtime
    with runtime.database.reading() as session:
        statement = (
            select(Site, Connection)
            .join(Connection, col(Connection.id) == col(Site.connection_id))
            .where(*_to_check())
            .order_by(col(Site.check_at))
            .limit(AT_ONCE)
        )
        found = session.exec(statement).all()
    by_connection: dict[int, list[Site]] = defaultdict(list)
    connections = {}
    for site, connection in found:
        by_connection[connection.id or 0].append(site)
        connections[connection.id or 0] = connection
    for connection_id, sites in by_connection.items():
        context.raise_if_stopped()
        try:
            with open_host_session(
                runtime, connections[connection_id], is_background=True, purpose=Purpose.SYNC
            ) as http:
                client = BranchClient(http, AccessSource(runtime, connection_id, "source sync"))
                for site in sites:
                    context.raise_if_stopped()
                    head = client.branch_head(site.gitlab_project_id or 0, site.branch)
                    here = repository_of(runtime, site).head(HERE)
                    has_moved = head != site.gitlab_head or here != site.head or site.state == SiteState.PROPOSED
                    _note_checked(context, site, has_moved=has_moved)
        except (GitLabError, OutboundError, AccessUnavailable) as error:
            log.info("branches_not_checked", connection=connection_id, error_code=getattr(error, "code", ""))
            for site in sites:
                _note_checked(context, site, has_moved=False, after=AFTER_FAILURE)


def _note_checked(context: JobContext, seen: Site, *, has_moved: bool, after: timedelta = WITHOUT_HOOK) -> None:
    with context.transaction() as session:
        site = session.get(Site, seen.id)
        if site is None or not site.is_connected or site.check_at != seen.check_at:
            return
        site.check_at = utc_now() + after
        if has_moved:
            mark_due(site)
            enqueue_sync(session, site)
