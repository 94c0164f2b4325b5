"""Tokens that must end at GitLab: kept sealed until GitLab has revoked them, then erased (S33; RFC 7009).

Desired state first: the row is written in the transaction that takes the credential away, a job makes GitLab match.
A row may be revoked twice, which GitLab answers as if it were the first time (gitlab-contract §1.6).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, select

from portal import audit
from portal.authorization.models import Credential, CredentialState, RetiredToken
from portal.connections.models import Application, Connection
from portal.crash_points import crash_point
from portal.db import utc_now
from portal.errors import Card, Layer, Mender
from portal.gitlab import oauth
from portal.gitlab.errors import GitLabError
from portal.jobs import enqueue
from portal.net import OutboundError, origin_of, parse_address
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable

TABLE = "retired_token"
REVOKE_RETIRED = "authorization.revoke_retired"
FIRST_WAIT_SECONDS = 5.0
MAX_WAIT_SECONDS = 3600.0
BATCH = 50


def retire_tokens(
    session: Session, runtime: Runtime, connection: Connection, credential: Credential, reason: str
) -> RetiredToken | None:
    """Take a credential's pair away in the caller's transaction, to be revoked at GitLab by a job.

    Args:
        session: the transaction that disconnects, or that stores another pair.
        runtime: its vault seals the tokens for their new row.
        connection: whose application revokes.
        credential: loses both tokens; its state becomes `erased`.
        reason: `disconnected` or `replaced`.

    Returns:
        The row that waits for its revocation; None when there was no token.
    """
    token = _open_pair(runtime, credential)
    had_token = credential.access_token_sealed is not None
    credential.access_token_sealed = credential.refresh_token_sealed = None
    credential.state = CredentialState.ERASED
    credential.refresh_at = credential.expires_at = None
    session.add(credential)
    if not had_token:
        return None
    row = _new_row(session, runtime, connection, credential, reason)
    if token is None:
        row.failure = _unreadable_card().to_json()
    else:
        row.token_sealed = runtime.vault.seal(token, _place(row, "token_sealed"), row.origin)
    _enqueue(session, connection)
    return row


def retire_stray(runtime: Runtime, connection_id: int, tokens: oauth.TokenAnswer) -> None:
    """Have a pair revoked that GitLab gave and that is not stored; nothing happens when it is the stored one."""
    token = tokens.refresh_token or tokens.access_token
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        statement = select(Credential).where(Credential.connection_id == connection_id).with_for_update()
        credential = session.exec(statement).one()
        if _open_pair(runtime, credential) == token:
            return
        row = _new_row(session, runtime, connection, credential, "stray")
        row.token_sealed = runtime.vault.seal(token, _place(row, "token_sealed"), row.origin)
        _enqueue(session, connection)


def pending_revocations(session: Session, connection_id: int) -> list[RetiredToken]:
    """Return the tokens of a connection that GitLab has not revoked yet, oldest first."""
    statement = select(RetiredToken).where(
        RetiredToken.connection_id == connection_id, col(RetiredToken.revoked_at).is_(None)
    )
    return list(session.exec(statement.order_by(col(RetiredToken.id))))


def try_again_now(session: Session, connection: Connection) -> None:
    """Make every pending revocation of a connection due, and start the job."""
    for row in pending_revocations(session, connection.id or 0):
        row.next_try_at = utc_now()
    _enqueue(session, connection)


def due_revocations(runtime: Runtime) -> list[int]:
    """Return the ids of the rows whose time has come."""
    statement = select(RetiredToken.id).where(
        col(RetiredToken.revoked_at).is_(None),
        col(RetiredToken.token_sealed).is_not(None),
        col(RetiredToken.next_try_at) <= utc_now(),
    )
    with runtime.database.reading() as session:
        return [row_id for row_id in session.exec(statement.order_by(col(RetiredToken.id)).limit(BATCH)) if row_id]


def revoke_one(runtime: Runtime, row_id: int) -> bool:
    """Have GitLab revoke one token, then erase it here; return whether it is done."""
    with runtime.database.reading() as session:
        row = session.get(RetiredToken, row_id)
    if row is None or row.revoked_at is not None:
        return True
    crash_point("disconnect:before_revoke")
    card = _revoke_at_gitlab(runtime, row)
    crash_point("disconnect:revoked")
    with runtime.database.transaction() as session:
        row = session.get(RetiredToken, row_id)
        if row is None or row.revoked_at is not None:
            return True
        _note_outcome(session, row, card)
    crash_point("disconnect:erased")
    return card is None


def _revoke_at_gitlab(runtime: Runtime, row: RetiredToken) -> Card | None:
    """Return None once the token is dead, else why it may live."""
    frozen = row.frozen
    try:
        token = runtime.vault.open(row.token_sealed or b"", _place(row, "token_sealed"), row.origin)
        secret = runtime.vault.open(row.client_secret_sealed or b"", _place(row, "client_secret_sealed"), row.origin)
    except SecretUnreadable:
        return _unreadable_card()
    address = parse_address(frozen["api_url"], allow_http=True)
    line = runtime.door.line(address, ca_certificate=frozen["ca_certificate"], proxy=frozen["proxy"])
    try:
        with line:
            oauth.revoke(line, oauth.ClientCredentials(frozen["client_id"], secret), token)
    except (GitLabError, OutboundError) as error:
        return error.card()
    return None


def _note_outcome(session: Session, row: RetiredToken, card: Card | None) -> None:
    row.tries += 1
    if card is None:
        row.token_sealed = row.client_secret_sealed = None
        row.failure, row.revoked_at = None, utc_now()
    else:
        row.failure = card.to_json()
        wait = min(FIRST_WAIT_SECONDS * 2 ** (row.tries - 1), MAX_WAIT_SECONDS)
        row.next_try_at = utc_now() + timedelta(seconds=wait)
    # Every further failure looks like the first; the row itself counts them.
    if card is None or row.tries == 1:
        _record(session, row, "token.revoked" if card is None else "token.revocation_failed", card)


def _new_row(
    session: Session, runtime: Runtime, connection: Connection, credential: Credential, reason: str
) -> RetiredToken:
    application = session.exec(select(Application).where(Application.connection_id == connection.id)).first()
    assert connection.id is not None
    row = RetiredToken(
        organization_id=connection.organization_id,
        connection_id=connection.id,
        connection_name=connection.display_name,
        origin=credential.origin,
        reason=reason,
        frozen=_freeze(connection, application, credential),
    )
    session.add(row)
    session.flush()
    if application and (secret := _open_client_secret(runtime, application)):
        row.client_secret_sealed = runtime.vault.seal(secret, _place(row, "client_secret_sealed"), row.origin)
    return row


def _freeze(connection: Connection, application: Application | None, credential: Credential) -> dict[str, Any]:
    # The connection may have moved since: the token only ever goes to the origin it came from.
    moved = origin_of(connection.api_url) != credential.origin
    return {
        "api_url": credential.origin if moved else connection.api_url,
        "external_url": connection.external_url,
        "ca_certificate": connection.ca_certificate,
        "proxy": connection.proxy,
        "client_id": application.client_id if application else "",
        "gitlab_username": credential.gitlab_username,
    }


def _open_pair(runtime: Runtime, credential: Credential) -> Secret | None:
    """Return one half of the pair, which stands for both when it is revoked; None when neither can be read."""
    for column in ("refresh_token_sealed", "access_token_sealed"):
        sealed = getattr(credential, column)
        if sealed is None or credential.id is None:
            continue
        try:
            return runtime.vault.open(sealed, Place("credential", credential.id, column), credential.origin)
        except SecretUnreadable:
            continue
    return None


def _open_client_secret(runtime: Runtime, application: Application) -> Secret | None:
    if application.client_secret_sealed is None or application.id is None:
        return None
    place = Place("application", application.id, "client_secret_sealed")
    try:
        return runtime.vault.open(application.client_secret_sealed, place, application.origin)
    except SecretUnreadable:
        return None


def _enqueue(session: Session, connection: Connection) -> None:
    enqueue(
        session,
        REVOKE_RETIRED,
        organization_id=connection.organization_id,
        title=f"Revoke the token of {connection.display_name} at GitLab",
        key=f"revoke:{connection.id}",
        subject=f"connection:{connection.id}",
    )


def _place(row: RetiredToken, column: str) -> Place:
    assert row.id is not None
    return Place(TABLE, row.id, column)


def _record(session: Session, row: RetiredToken, action: str, card: Card | None) -> None:
    audit.record(
        session,
        action=action,
        organization_id=row.organization_id,
        actor_user_id=None,
        actor_name="Gatehouse",
        object_type="connection",
        object_id=row.connection_id,
        object_name=row.connection_name,
        result="failed" if card else "ok",
        details={"reason": row.reason, "tries": row.tries, **({"code": card.code} if card else {})},
    )


def _unreadable_card() -> Card:
    return Card(
        code="secret_unreadable",
        layer=Layer.PORTAL,
        sentence="The token or the Secret that revokes it cannot be read here, so GitLab was not asked.",
        remedy="Revoke it in GitLab: sign in as the service user, Applications, Authorized applications, Revoke.",
        mender=Mender.GITLAB_ADMIN,
    )
