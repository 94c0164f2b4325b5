"""Erase everything that is stored about a disconnected connection, once GitLab has revoked its tokens.

In batches, each its own transaction that checks again whether the erasure is still wanted: authorizing the connection
again cancels it. What was erased before a crash stays erased; the next attempt continues from there.
"""

from __future__ import annotations

from sqlalchemy import delete, func
from sqlmodel import Session, SQLModel, col, select

from portal import audit
from portal.accounts.models import GroupGrant, InvitedGroup
from portal.actor import SYSTEM
from portal.authorization.models import AuthorizationAttempt
from portal.connections.models import Application, Connection, ConnectionState
from portal.crash_points import crash_point
from portal.credentials import TIMES
from portal.credentials.models import Credential, CredentialEvent, RetiredToken
from portal.credentials.revocation import pending_revocations
from portal.credentials.store import is_free, lock_credential
from portal.disconnection.models import Choice, Disconnection
from portal.errors import Card
from portal.jobs import Job, JobContext, RetryLater, enqueue
from portal.repositories.models import CatalogueRun, Enablement, GitLabGroup, Repository
from portal.runtime import Runtime

ERASE = "disconnection.erase"
BATCH = 500
# Rows that grow with what GitLab holds; the order lets every foreign key find its row until the last.
IN_BATCHES: tuple[type[SQLModel], ...] = (Enablement, Repository, GitLabGroup, CatalogueRun)
# A few rows each. Tables of other capabilities hang on the connection by foreign keys that cascade.
AT_ONCE: tuple[type[SQLModel], ...] = (
    GroupGrant,
    InvitedGroup,
    AuthorizationAttempt,
    Credential,
    Application,
    RetiredToken,
)


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


def enqueue_wanted(runtime: Runtime) -> int:
    """Start every erasure whose revocation is done; return how many were started."""
    with runtime.database.transaction() as session:
        ready = _wanted(session)
        for connection in ready:
            enqueue_erasure(session, connection)
        return len(ready)


def _wanted(session: Session) -> list[Connection]:
    statement = (
        select(Connection)
        .join(Disconnection, col(Disconnection.connection_id) == col(Connection.id))
        .where(Disconnection.choice == Choice.ERASE, Connection.state == ConnectionState.DISCONNECTED)
    )
    return [item for item in session.exec(statement) if not pending_revocations(session, item.id or 0, with_held=True)]


def erase_connection(context: JobContext, connection_id: int) -> int:
    """Delete the rows of a connection, its own row last; the audit log and the list of jobs stay.

    Returns:
        How many rows of the catalogue were deleted by this attempt; 0 if the erasure is no longer wanted.

    Raises:
        RetryLater: GitLab has not revoked the tokens yet, or a refresh is running.
    """
    done = 0
    try:
        with context.transaction() as session:
            _require_wanted(context, session, connection_id)
            total = sum(_count(session, table, connection_id) for table in IN_BATCHES)
        context.progress(0, total, "Erasing the list of repositories")
        for table in IN_BATCHES:
            while erased := _erase_batch(context, table, connection_id):
                done += erased
                context.progress(done, total)
                crash_point("disconnect:batch_erased")
                context.raise_if_stopped()
        _erase_rest(context, connection_id)
    except NotWanted:
        return done
    context.progress(done, total, "Everything is erased; the audit log stays")
    return done


def _erase_batch(context: JobContext, table: type[SQLModel], connection_id: int) -> int:
    with context.transaction() as session:
        _require_wanted(context, session, connection_id)
        own = table.__table__.c  # type: ignore[attr-defined]
        ids = list(session.execute(select(own.id).where(own.connection_id == connection_id).limit(BATCH)).scalars())
        if ids:
            session.execute(delete(table).where(own.id.in_(ids)))
        return len(ids)


def _erase_rest(context: JobContext, connection_id: int) -> None:
    with context.transaction() as session:
        connection, wish = _require_wanted(context, session, connection_id)
        _delete_flight_recorder(session, connection_id)
        for table in AT_ONCE:
            own = table.__table__.c  # type: ignore[attr-defined]
            session.execute(delete(table).where(own.connection_id == connection_id))
        audit.record(
            session,
            SYSTEM,
            "connection.erased",
            connection.target,
            requested_by=wish.requested_by_user_id,
            slug=connection.slug,
            external_url=connection.external_url,
        )
        session.delete(connection)


def _delete_flight_recorder(session: Session, connection_id: int) -> None:
    own = select(Credential.id).where(Credential.connection_id == connection_id)
    session.execute(delete(CredentialEvent).where(col(CredentialEvent.credential_id).in_(own)))


def _require_wanted(context: JobContext, session: Session, connection_id: int) -> tuple[Connection, Disconnection]:
    """Return connection and wish, locked, when everything may go now."""
    credential = lock_credential(session, connection_id)
    connection = session.exec(select(Connection).where(Connection.id == connection_id).with_for_update()).first()
    wish = session.exec(select(Disconnection).where(Disconnection.connection_id == connection_id)).first()
    if connection is None or wish is None:
        raise NotWanted
    if connection.state != ConnectionState.DISCONNECTED or wish.choice != Choice.ERASE:
        raise NotWanted
    # A running refresh may still bring a pair, which has to be revoked as well.
    is_refreshing = credential is not None and not is_free(credential, context.runtime.database.clock(session), TIMES)
    pending = pending_revocations(session, connection_id, with_held=True)
    if pending or is_refreshing:
        told = next((row.failure for row in pending if row.failure), None)
        raise RetryLater(Card("revocation_pending", because=Card.from_json(told) if told else None))
    return connection, wish


def _count(session: Session, table: type[SQLModel], connection_id: int) -> int:
    own = table.__table__.c  # type: ignore[attr-defined]
    return int(session.execute(select(func.count()).where(own.connection_id == connection_id)).scalar_one())
