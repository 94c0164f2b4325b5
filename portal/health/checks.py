"""Check a connection because it is due or because someone asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.models import Organization
from portal.actor import Principal
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import get_connection_for_admin, note_version
from portal.db import utc_now
from portal.errors import Conflict, RateLimited
from portal.health.alarms import OPENED, enqueue_mail
from portal.health.models import HealthWatch, Incident, Phase
from portal.health.probe import look
from portal.health.store import close_all, keep
from portal.jobs import Job, enqueue
from portal.runtime import Runtime

CHECK_ONE = "health.check_one"
WATCHED = frozenset({ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION})
CHECKS_PER_MINUTE = 5
MAX_DUE = 500


def is_watched(connection: Connection) -> bool:
    """Return whether a connection is checked: from its first authorization until it is disconnected."""
    return connection.authorized_at is not None and connection.state in WATCHED


def due_connections(runtime: Runtime, now: datetime | None = None) -> list[int]:
    """Return the connections that are due, the longest overdue first."""
    statement = (
        select(Connection.id)
        .outerjoin(HealthWatch, col(HealthWatch.connection_id) == col(Connection.id))
        .where(col(Connection.state).in_(WATCHED), col(Connection.authorized_at).is_not(None))
        .where(col(HealthWatch.due_at).is_(None) | (col(HealthWatch.due_at) <= (now or utc_now())))
        .order_by(col(HealthWatch.due_at), col(Connection.id))
    )
    with runtime.database.reading() as session:
        return [found for found in session.exec(statement.limit(MAX_DUE)) if found is not None]


def check_connection(
    runtime: Runtime,
    connection_id: int,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
    *,
    now: datetime | None = None,
) -> None:
    """Check one connection, store the results, and start the alarms that follow from them.

    Args:
        runtime: of this process.
        connection_id: one that is gone or disconnected by now is skipped.
        progress: told (done, total, what comes next).
        now: for tests; by default the current time at the end of the check.
    """
    with runtime.database.reading() as session:
        connection = session.get(Connection, connection_id)
    if connection is None or not is_watched(connection):
        return
    looked = look(runtime, connection, progress)
    if looked.metadata and looked.metadata.version[:64] != connection.version_seen:
        note_version(runtime, connection_id, looked.metadata)
    with runtime.database.transaction() as session:
        locked = _locked(session, connection_id)
        # Edited since: the results are about another address or another credential.
        if locked and is_watched(locked) and locked.row_version == connection.row_version:
            for incident in keep(session, locked, looked, now or utc_now()):
                enqueue_mail(session, runtime, locked, incident, OPENED)


def end_unwatched(runtime: Runtime, now: datetime | None = None) -> None:
    """End the incidents of connections that are no longer in use; whoever disconnected them knows."""
    for connection_id in unwatched_with_incidents(runtime):
        with runtime.database.transaction() as session:
            locked = _locked(session, connection_id)
            if locked and not is_watched(locked):
                close_all(session, locked, now or utc_now())


def unwatched_with_incidents(runtime: Runtime) -> list[int]:
    """Return the connections that are no longer in use and have incidents that are not closed."""
    statement = (
        select(Connection.id)
        .join(Incident, col(Incident.connection_id) == col(Connection.id))
        .where(col(Connection.state).not_in(WATCHED), col(Incident.phase) != Phase.CLOSED)
        .distinct()
    )
    with runtime.database.reading() as session:
        return [found for found in session.exec(statement) if found is not None]


def request_check(runtime: Runtime, principal: Principal, slug: str) -> Job:
    """Have a connection checked now; if a check is running, return that one.

    Raises:
        NotFound: there is none that this person manages.
        Conflict: it is not in use.
        RateLimited: the organization asked five times in the last minute.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        if not is_watched(connection):
            raise Conflict("Only connections in use are checked. Finish the setup first.")
        _count_try(session, principal)
        audit.record(session, principal.actor, "health.check_requested", connection.target)
        return enqueue(
            session,
            CHECK_ONE,
            {"connection_id": connection.id},
            organization_id=connection.organization_id,
            title=f"Check {connection.display_name}",
            key=check_key(connection),
            subject=f"connection:{connection.id}",
            lane=f"connection:{connection.id}",
            actor=principal.actor,
        )


def check_key(connection: Connection) -> str:
    """Return what keeps two checks of one connection that people asked for from running at once."""
    return f"health:{connection.id}"


def _count_try(session: Session, principal: Principal) -> None:
    # Locked, so that concurrent requests count one another.
    session.exec(select(Organization).where(Organization.id == principal.organization_id).with_for_update()).one()
    asked = select(func.count()).where(
        col(Job.name) == CHECK_ONE,
        col(Job.organization_id) == principal.organization_id,
        col(Job.created_at) > utc_now() - timedelta(minutes=1),
    )
    if session.exec(asked).one() >= CHECKS_PER_MINUTE:
        raise RateLimited("Connections were checked five times in the last minute. Wait a moment.")


def _locked(session: Session, connection_id: int) -> Connection | None:
    return session.exec(select(Connection).where(Connection.id == connection_id).with_for_update()).one_or_none()
