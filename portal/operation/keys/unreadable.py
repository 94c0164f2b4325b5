"""Secrets whose key is gone: their connections say what to enter again; no ciphertext is touched (fault row 52)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlmodel import Session, col, select

from portal import audit
from portal.actor import SYSTEM
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections.models import Connection, ConnectionState, Method, attention_code, end_attention, need_attention
from portal.connections.store import application_of
from portal.credentials.models import Credential, CredentialState
from portal.credentials.store import lock_credential, record_event
from portal.db import utc_now
from portal.errors import Card
from portal.runtime import Runtime
from portal.vault import KeyRing
from portal.vault.models import VaultKey
from portal.vault.vault import key_id_of

CODE = "secret_unreadable"


@dataclass(frozen=True)
class Unreadable:
    """What has to be entered again for a connection."""

    connection_name: str
    secret: bool
    authorization: bool

    def __str__(self) -> str:
        parts = [*(["enter the Secret"] if self.secret else []), *(["authorize"] if self.authorization else [])]
        return f"{self.connection_name}: {' and '.join(parts)} again"


def note_unreadable(runtime: Runtime, *, mark: bool) -> list[Unreadable]:
    """Find the connections whose secrets no key of the ring opens, and unmark those that are readable again.

    Args:
        runtime: whose database and key ring.
        mark: ask for what is found to be entered again. Only if the operator says that the key is lost: another machine
            on this database may have it, and work.

    Returns:
        What cannot be read, by connection.
    """
    ring = runtime.vault.ring
    with runtime.database.transaction() as session:
        has_all_keys = set(session.exec(select(VaultKey.key_id))) <= set(ring.key_ids)
        marked = select(Credential.id).where(Credential.state == CredentialState.UNREADABLE)
        shown = session.exec(select(Connection).where(col(Connection.attention).is_not(None)))
        is_any_marked = session.exec(marked).first() is not None or any(attention_code(it) == CODE for it in shown)
        if has_all_keys and not is_any_marked:
            return []
        running = [AttemptState.STARTED, AttemptState.CLAIMED]
        attempts = select(AuthorizationAttempt).where(col(AuthorizationAttempt.outcome).in_(running))
        for attempt in session.exec(attempts) if mark else ():
            # Their verifier cannot be read. Their ciphertexts stay.
            if _is_gone(ring, [attempt.verifier_sealed, attempt.state_sealed]):
                attempt.outcome, attempt.finished_at = AttemptState.ABANDONED, utc_now()
                session.add(attempt)
        still = col(Connection.state) != ConnectionState.DISCONNECTED
        ids = session.exec(select(Connection.id).where(still).order_by(col(Connection.display_name))).all()
    found = [_look_at(runtime, connection_id, mark=mark) for connection_id in ids if connection_id is not None]
    return [item for item in found if item is not None]


def _look_at(runtime: Runtime, connection_id: int, *, mark: bool) -> Unreadable | None:
    # One transaction for each, and its credential first: the lock order of a refresh on another machine.
    with runtime.database.transaction() as session:
        credential = lock_credential(session, connection_id)
        connection = session.get(Connection, connection_id)
        if connection is None:
            return None
        application = application_of(session, connection_id)
        ring = runtime.vault.ring
        # What is left of an application does not matter to a connection that uses an access token.
        used = application if connection.method == Method.OAUTH else None
        secret = _is_gone(ring, [used.client_secret_sealed] if used else [])
        pair = [credential.access_token_sealed, credential.refresh_token_sealed] if credential else []
        tokens = _is_gone(ring, pair)
        if not tokens:
            # A credential is usable again whose key was put back, and its connection if nothing else is unreadable.
            lives_again = credential is not None and credential.state == CredentialState.UNREADABLE
            if credential is not None and lives_again:
                credential.state, credential.failure, credential.failed_at = CredentialState.ALIVE, None, None
                session.add(credential)
                record_event(session, credential, "readable", "its key is in the key ring again")
            is_told = not secret and end_attention(connection, {CODE})
            if lives_again or is_told:
                audit.record(session, SYSTEM, "connection.readable", connection.target)
        if not secret and not tokens:
            return None
        unreadable = Unreadable(connection.display_name, secret, tokens)
        if mark:
            case = "both" if secret and tokens else "secret" if secret else "token"
            _mark(session, connection, credential if tokens else None, Card(CODE, {"case": case}))
        return unreadable


def _is_gone(ring: KeyRing, envelopes: Iterable[bytes | None]) -> bool:
    return any(sealed is not None and ring.get(key_id_of(sealed)) is None for sealed in envelopes)


def _mark(session: Session, connection: Connection, credential: Credential | None, card: Card) -> None:
    assert connection.id is not None
    if connection.attention and Card.from_json(connection.attention) == card:
        return  # At an earlier start.
    need_attention(session, connection.id, card)
    if credential is not None and credential.state in {CredentialState.ALIVE, CredentialState.SECRET_CHANGED}:
        credential.state, credential.failure, credential.failed_at = (
            CredentialState.UNREADABLE,
            card.to_json(),
            utc_now(),
        )
        session.add(credential)
        record_event(session, credential, "unreadable", "the key ring lacks its key", code=card.code)
    audit.record(session, SYSTEM, "connection.unreadable", connection.target)
