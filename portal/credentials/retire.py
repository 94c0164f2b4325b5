"""Pairs that must end at GitLab: kept sealed until they are proved to be dead there, then erased (S33; RFC 7009).

Desired state first: the row is written in the transaction that takes the credential away, or as soon as GitLab has
given a pair that may not be kept; a job makes GitLab match (`revoke.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, select

from portal.connections.models import Application, Connection, way_of
from portal.connections.store import application_of
from portal.credentials.models import Credential, CredentialState, RetiredToken
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab import oauth
from portal.jobs import enqueue
from portal.net import origin_of
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable

TABLE = "retired_token"
TABLE_OF_APPLICATION = "application"
REVOKE_RETIRED = "authorization.revoke_retired"
# If a pair has been held longer than any check takes, its process is gone.
HOLD_SECONDS = 300.0
BY_HAND = "by_hand"


@dataclass(frozen=True)
class Revoker:
    """What revoking one pair needs, whatever happens to the connection: address, application, its Secret."""

    organization_id: int
    connection_id: int
    connection_name: str
    origin: str
    frozen: dict[str, Any]
    client_secret: Secret | None


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
        The row that waits for its revocation; None if there was no token.
    """
    token, access_token = _open_pair(runtime, credential)
    had_token = credential.access_token_sealed is not None
    credential.access_token_sealed = credential.refresh_token_sealed = None
    credential.state = CredentialState.ERASED
    credential.refresh_at = credential.expires_at = None
    session.add(credential)
    if not had_token:
        return None
    revoker = revoker_of(runtime, connection, application_of(session, connection.id), credential)
    credential.client_secret_sealed = None
    row = _new_row(session, runtime, revoker, reason)
    if token is None:
        row.failure = unreadable_card().to_json()
    elif not revoker.frozen["api_url"]:
        row.failure = Card("address_unknown", {"origin": revoker.origin}).to_json()
    else:
        seal_tokens(runtime, row, token, access_token)
    _enqueue(session, revoker)
    return row


def revoker_of(
    runtime: Runtime, connection: Connection, application: Application | None, credential: Credential
) -> Revoker:
    """Return what a revocation of a credential's pair needs, as it is now."""
    assert connection.id is not None
    client_id = credential.client_id or (application.client_id if application else "")
    return Revoker(
        organization_id=connection.organization_id,
        connection_id=connection.id,
        connection_name=connection.display_name,
        origin=credential.origin,
        frozen=freeze(connection, client_id, credential.origin, credential.gitlab_username),
        client_secret=_open_client_secret(runtime, application, credential),
    )


def hold_pair(session: Session, runtime: Runtime, revoker: Revoker, tokens: oauth.TokenAnswer) -> int:
    """Put a pair that GitLab has just issued on record before it is checked; return its row's id.

    Without `take_held` or `let_go` it is revoked a few minutes later.
    """
    row = _new_row(session, runtime, revoker, "stray")
    seal_tokens(runtime, row, tokens.stands_for_both, tokens.access_token)
    row.next_try_at = utc_now() + timedelta(seconds=HOLD_SECONDS)
    assert row.id is not None
    return row.id


def take_held(session: Session, row_id: int) -> bool:
    """Take a held pair off the record, in the transaction that stores it; return whether it may still be stored."""
    row = session.get(RetiredToken, row_id, with_for_update=True)
    if row is None or not is_held(row):
        return False
    session.delete(row)
    return True


def let_go(session: Session, row_id: int, username: str) -> None:
    """Have a held pair revoked, in the transaction that decides against it; `username` is who could do it by hand."""
    row = session.get(RetiredToken, row_id, with_for_update=True)
    if row is None or not is_held(row):
        return
    row.next_try_at = utc_now()
    row.frozen = {**row.frozen, "gitlab_username": username}
    session.add(row)
    _enqueue(session, row)


def is_held(row: RetiredToken) -> bool:
    """Return whether a pair is still being checked."""
    return row.tries == 0 and row.revoked_at is None and row.next_try_at > utc_now()


def retire_stray(runtime: Runtime, revoker: Revoker, tokens: oauth.TokenAnswer) -> None:
    """Have a pair revoked that GitLab issued and no one stored, even if the connection is gone by now.

    Nothing happens if it is the stored one.
    """
    token = tokens.stands_for_both
    with runtime.database.transaction() as session:
        statement = select(Credential).where(Credential.connection_id == revoker.connection_id).with_for_update()
        credential = session.exec(statement).first()
        if credential is not None and _open_pair(runtime, credential)[0] == token:
            return
        row = _new_row(session, runtime, revoker, "stray")
        seal_tokens(runtime, row, token, tokens.access_token)
        _enqueue(session, revoker)


def pending_revocations(session: Session, connection_id: int, *, with_held: bool = False) -> list[RetiredToken]:
    """Return the pairs of a connection that are not known to be dead at GitLab yet, oldest first."""
    statement = select(RetiredToken).where(
        RetiredToken.connection_id == connection_id, col(RetiredToken.revoked_at).is_(None)
    )
    rows = session.exec(statement.order_by(col(RetiredToken.id)))
    return [row for row in rows if with_held or not is_held(row)]


def try_again_now(session: Session, connection: Connection) -> None:
    """Make every pending revocation of a connection due, and start the job."""
    rows = pending_revocations(session, connection.id or 0)
    for row in rows:
        row.next_try_at = utc_now()
    if rows:
        _enqueue(session, rows[0])


def _new_row(session: Session, runtime: Runtime, revoker: Revoker, reason: str) -> RetiredToken:
    row = RetiredToken(
        organization_id=revoker.organization_id,
        connection_id=revoker.connection_id,
        connection_name=revoker.connection_name,
        origin=revoker.origin,
        reason=reason,
        frozen=revoker.frozen,
    )
    session.add(row)
    session.flush()
    if revoker.client_secret is not None:
        place = place_of(row, "client_secret_sealed")
        row.client_secret_sealed = runtime.vault.seal(revoker.client_secret, place, row.origin)
    return row


def freeze(connection: Connection, client_id: str, origin: str, username: str) -> dict[str, Any]:
    """Return how GitLab is reached for a revocation, whatever is edited later; the token only goes to its origin.

    An origin alone is not an address: another application may answer at the root of a server whose GitLab has a path.
        So if the path is unknown, `api_url` is empty, and nothing is sent.
    """
    ways = (way_of(connection), connection.authorized_via or {})
    known = [way for way in ways if way.get("api_url") and origin_of(way["api_url"]) == origin]
    way = known[0] if known else {**way_of(connection), "api_url": ""}
    return {**way, "client_id": client_id, "gitlab_username": username}


def seal_tokens(runtime: Runtime, row: RetiredToken, token: Secret, access_token: Secret | None) -> None:
    """Store in a row what is posted to be revoked, and what shows whether it was."""
    row.token_sealed = runtime.vault.seal(token, place_of(row, "token_sealed"), row.origin)
    row.access_token_sealed = None
    if access_token is not None:
        row.access_token_sealed = runtime.vault.seal(access_token, place_of(row, "access_token_sealed"), row.origin)


def _open_pair(runtime: Runtime, credential: Credential) -> tuple[Secret | None, Secret | None]:
    """Return the half whose revocation covers both, and the access token; None for what cannot be read."""
    halves: list[Secret | None] = []
    for column in ("refresh_token_sealed", "access_token_sealed"):
        sealed = getattr(credential, column)
        try:
            assert credential.id is not None
            place = Place("credential", credential.id, column)
            halves.append(runtime.vault.open(sealed, place, credential.origin) if sealed else None)
        except SecretUnreadable:
            halves.append(None)
    return halves[0] or halves[1], halves[1]


def _open_client_secret(runtime: Runtime, application: Application | None, credential: Credential) -> Secret | None:
    """Return the Secret of the application the pair was issued to: the current one, otherwise the one from then."""
    is_same = application is not None and credential.client_id in {"", application.client_id}
    if application is not None and is_same and application.client_secret_sealed is not None:
        secret = open_secret(
            runtime, TABLE_OF_APPLICATION, application.id, application.client_secret_sealed, application.origin
        )
        if secret is not None:
            return secret
    if credential.client_secret_sealed is None:
        return None
    return open_secret(runtime, "credential", credential.id, credential.client_secret_sealed, credential.origin)


def open_secret(runtime: Runtime, table: str, row_id: int | None, sealed: bytes, origin: str) -> Secret | None:
    """Open a stored Secret; None if it cannot be read."""
    assert row_id is not None
    try:
        return runtime.vault.open(sealed, Place(table, row_id, "client_secret_sealed"), origin)
    except SecretUnreadable:
        return None


def _enqueue(session: Session, about: Revoker | RetiredToken) -> None:
    enqueue(
        session,
        REVOKE_RETIRED,
        organization_id=about.organization_id,
        title=f"Revoke the token of {about.connection_name} at GitLab",
        key=f"revoke:{about.connection_id}",
        subject=f"connection:{about.connection_id}",
    )


def place_of(row: RetiredToken, column: str) -> Place:
    """Return where a sealed column of a row belongs."""
    assert row.id is not None
    return Place(TABLE, row.id, column)


def unreadable_card() -> Card:
    """Return the card of a revocation for which something cannot be read."""
    return Card("secret_unreadable", {"case": "revocation"})
