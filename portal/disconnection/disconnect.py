"""Disconnect: one transaction that takes the tokens out of use; revoking and erasing are jobs that follow it (S33).

Lock order is credential, then connection, as everywhere: a running refresh or authorization waits for this transaction,
or this one for it, and the second sees what the first did.
"""

from __future__ import annotations

import unicodedata

from sqlalchemy import update
from sqlmodel import Session, col, select

from portal import audit
from portal.actor import Principal
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections.models import Connection, ConnectionState, end_attention
from portal.connections.steps import CREDENTIAL_STEP
from portal.connections.store import get_connection, get_connection_for_admin
from portal.crash_points import crash_point
from portal.credentials import TIMES
from portal.credentials.revocation import DISCONNECTED, confirm_by_hand, retire_tokens, try_again_now
from portal.credentials.store import lock_credential, record_event, recover
from portal.db import utc_now
from portal.disconnection.erase import enqueue_erasure
from portal.disconnection.models import Choice, Disconnection
from portal.errors import Conflict, InvalidInput, NotFound
from portal.jobs.models import Job
from portal.jobs.service import request_stop
from portal.runtime import Runtime


def check_choice(connection: Connection, choice: str, confirmation: str) -> Choice:
    """Read what was chosen and typed.

    Raises:
        Conflict: the connection was never authorized: it is a draft, so discard it instead.
        InvalidInput: with a sentence per field; nothing is changed.
    """
    if connection.authorized_at is None:
        raise Conflict("This connection was never authorized. Discard the draft instead of disconnecting it.")
    problems: dict[str, str] = {}
    if choice not in set(Choice):
        problems["choice"] = "Choose what should happen to the data."
    if _plain(confirmation) != _plain(connection.display_name):
        problems["confirmation"] = f"Type the connection's name exactly as it is written: {connection.display_name}"
    if problems:
        raise InvalidInput(field_errors=problems)
    return Choice(choice)


def disconnect(runtime: Runtime, principal: Principal, slug: str, choice: str, confirmation: str) -> Connection:
    """Take a connection's tokens out of use and have them revoked; erase the rest if that was chosen.

    A second call changes nothing, but may add an erasure that was not chosen at first.

    Raises:
        NotFound, Conflict, InvalidInput: as `check_choice` and `get_connection_for_admin` say; nothing is changed.
    """
    # A pair that a crashed refresh left in the spool is the living one: without this, the spent one were revoked.
    recover(runtime, get_connection(runtime, principal, slug).id or 0, TIMES)
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        credential = lock_credential(session, connection.id or 0)
        locked = select(Connection).where(Connection.id == connection.id).with_for_update()
        found = session.exec(locked.execution_options(populate_existing=True)).first()
        if found is None:
            raise NotFound  # Erased while this waited.
        connection, desired = found, check_choice(found, choice, confirmation)
        if connection.state != ConnectionState.DISCONNECTED:
            connection.state = ConnectionState.DISCONNECTED
            end_attention(connection)
            # Anyone at GitLab at this moment comes back to a void attempt.
            connection.row_version += 1
            connection.steps_done = [
                step for step in connection.steps_done if step != CREDENTIAL_STEP[connection.method]
            ]
            connection.updated_at = utc_now()
            session.add(connection)
            if credential:
                record_event(session, credential, "disconnected", f"by {principal.name}"[:200])
                retire_tokens(session, runtime, connection, credential, DISCONNECTED)
            session.execute(
                update(AuthorizationAttempt)
                .where(
                    col(AuthorizationAttempt.connection_id) == connection.id,
                    col(AuthorizationAttempt.outcome) == AttemptState.STARTED,
                )
                .values(outcome=AttemptState.ABANDONED, finished_at=utc_now(), state_sealed=None, verifier_sealed=None)
            )
            # Every job that reads this GitLab; jobs that revoke its tokens continue.
            reading = select(Job.public_id).where(
                col(Job.organization_id) == connection.organization_id,
                col(Job.lane) == f"connection:{connection.id}",
                col(Job.finished_at).is_(None),
            )
            for public_id in session.exec(reading).all():
                request_stop(session, public_id)
            _keep_desired(session, principal, connection, desired)
            username = audit.Foreign(credential.gitlab_username if credential else "")
            about = {"choice": str(desired), "gitlab_username": username}
            audit.record(session, principal.actor, "connection.disconnected", connection.target, **about)
            _erase_if_desired(session, connection)
        elif desired == Choice.ERASE:
            before = get_disconnection(session, connection)
            if before is None or before.choice != Choice.ERASE:
                _keep_desired(session, principal, connection, Choice.ERASE)
                audit.record(session, principal.actor, "connection.erasure_requested", connection.target)
            _erase_if_desired(session, connection)
    crash_point("disconnect:retired")
    return connection


def get_disconnection(session: Session, connection: Connection) -> Disconnection | None:
    """Return the current request to disconnect; None for a connection that is not disconnected."""
    if connection.state != ConnectionState.DISCONNECTED:
        return None
    return session.exec(select(Disconnection).where(Disconnection.connection_id == connection.id)).first()


def try_revoking_now(runtime: Runtime, principal: Principal, slug: str) -> None:
    """Have GitLab asked at once instead of at the next planned attempt."""
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        try_again_now(session, connection)
        audit.record(session, principal.actor, "connection.revocation_tried_again", connection.target)
        _erase_if_desired(session, connection)


def confirm_revoked_by_hand(runtime: Runtime, principal: Principal, slug: str) -> None:
    """Accept a person's confirmation that the tokens were revoked in GitLab, and erase them here.

    For a GitLab that is gone, or a Secret that can no longer be read: no one else could end the wait.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        if count := confirm_by_hand(session, connection):
            audit.record(session, principal.actor, "token.revoked_by_hand", connection.target, tokens=count)
        _erase_if_desired(session, connection)


def _keep_desired(session: Session, principal: Principal, connection: Connection, desired: Choice) -> None:
    statement = select(Disconnection).where(Disconnection.connection_id == connection.id)
    assert connection.id is not None
    row = session.exec(statement).first() or Disconnection(connection_id=connection.id, choice=desired)
    row.choice, row.requested_by_user_id, row.requested_at = desired, principal.user_id, utc_now()
    session.add(row)
    session.flush()


def _erase_if_desired(session: Session, connection: Connection) -> None:
    found = get_disconnection(session, connection)
    if found is not None and found.choice == Choice.ERASE:
        enqueue_erasure(session, connection)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
