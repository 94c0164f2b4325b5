"""Erase everything that is stored about a disconnected connection, once GitLab has revoked its tokens.

In batches, each its own transaction that checks again whether the erasure is still wanted: authorizing the connection
again cancels it. What was erased before a crash stays erased; the next attempt continues from there. What there is to
erase is up to the capabilities.
"""

from __future__ import annotations

from sqlalchemy import delete, func
from sqlmodel import Session, col, select

from portal import audit
from portal.actor import SYSTEM
from portal.connections.models import Connection, ConnectionState
from portal.connections.servers import drop_unused_server
from portal.crash_points import crash_point
from portal.credentials import TIMES
from portal.credentials.revocation import pending_revocations
from portal.credentials.store import is_free, lock_credential
from portal.disconnection.models import Choice, Disconnection
from portal.errors import Card
from portal.jobs import Job, JobContext, RetryLater, enqueue
from portal.runtime import Runtime

ERASE = "disconnection.erase"
FOLLOW = "disconnection.follow"
BATCH = 500


class NotWanted(Exception):
    """The connection is gone, or someone has connected it again: there is nothing to erase."""


def enqueue_erasure(session: Session, connection: Connection) -> Job:
    """Start the erasure; if one is running, return that."""
    return enqueue(
        session,
        ERASE,
        {"connection_id": connection.id},
        organization_id=connection.organization_id,
        title=f"Erase {connection.display_name}",
        key=f"erase:{connection.id}",
        subject=f"connection:{connection.id}",
    )


def has_wanted(runtime: Runtime) -> bool:
    """Return whether an erasure that waited for a revocation can now start."""
    with runtime.database.reading() as session:
        return bool(_wanted(session))


def follow(context: JobContext) -> None:
    """Start the erasures whose revocation is done."""
    with context.runtime.database.transaction() as session:
        ready = _wanted(session)
        for connection in ready:
            enqueue_erasure(session, connection)
    context.progress(len(ready), len(ready))


def _wanted(session: Session) -> list[Connection]:
    statement = (
        select(Connection)
        .join(Disconnection, col(Disconnection.connection_id) == col(Connection.id))
        .where(Disconnection.choice == Choice.ERASE, Connection.state == ConnectionState.DISCONNECTED)
    )
    return [item for item in session.exec(statement) if not pending_revocations(session, item.id or 0, with_held=True)]


def erase_connection(context: JobContext, *, connection_id: int) -> None:
    """Delete the rows of a connection, its own row last; the audit log and the list of jobs stay.

    Raises:
        RetryLater: GitLab has not revoked the tokens yet, or a refresh is running.
    """
    capabilities = context.runtime.capabilities.all[::-1]
    large = [table.__table__ for item in capabilities for table in item.erases_in_batches]  # type: ignore[attr-defined]
    done = total = 0
    try:
        with context.transaction() as session:
            _require_wanted(context, session, connection_id)
            for table in large:
                mine = select(func.count()).where(table.c.connection_id == connection_id)
                total += session.execute(mine).scalar_one()
        context.progress(0, total, "Erasing the list of repositories")
        for table in large:
            (key,) = table.primary_key
            some, erased = select(key).where(table.c.connection_id == connection_id).limit(BATCH), BATCH
            while erased == BATCH:
                with context.transaction() as session:
                    _require_wanted(context, session, connection_id)
                    ids = list(session.execute(some).scalars())
                    session.execute(delete(table).where(key.in_(ids)))
                erased = len(ids)
                done += erased
                context.progress(done, total)
                crash_point("disconnect:batch_erased")
                context.raise_if_stopped()
        with context.transaction() as session:
            connection, desired = _require_wanted(context, session, connection_id)
            for item in capabilities:
                if item.erases:
                    item.erases(session, connection_id)
            audit.record(
                session,
                SYSTEM,
                "connection.erased",
                connection.target,
                requested_by=desired.requested_by_user_id,
                slug=connection.slug,
                external_url=connection.external_url,
            )
            session.delete(connection)
            drop_unused_server(session, connection)
    except NotWanted:
        return
    context.progress(done, total, "Everything is erased; the audit log stays")


def _require_wanted(context: JobContext, session: Session, connection_id: int) -> tuple[Connection, Disconnection]:
    """Return the connection and its desired state, both locked, if everything may go now."""
    credential = lock_credential(session, connection_id)
    connection = session.exec(select(Connection).where(Connection.id == connection_id).with_for_update()).first()
    desired = session.exec(select(Disconnection).where(Disconnection.connection_id == connection_id)).first()
    if connection is None or desired is None:
        raise NotWanted
    if connection.state != ConnectionState.DISCONNECTED or desired.choice != Choice.ERASE:
        raise NotWanted
    # A running refresh may still bring a pair, which has to be revoked as well.
    is_refreshing = credential is not None and not is_free(credential, context.runtime.database.clock(session), TIMES)
    pending = pending_revocations(session, connection_id, with_held=True)
    if pending or is_refreshing:
        told = next((row.failure for row in pending if row.failure), None)
        raise RetryLater(Card("revocation_pending", because=Card.from_json(told) if told else None))
    return connection, desired
