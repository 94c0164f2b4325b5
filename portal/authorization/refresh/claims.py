"""The transactions of a refresh: each short, each compared with the generation that was read or spent."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlmodel import Session, select

from portal.authorization.models import Credential, CredentialState
from portal.authorization.refresh.cards import HEALED_BY_REFRESH, VERDICTS, with_way
from portal.authorization.refresh.rows import PROCESS, digest, lock_credential, note, open_token, seal_pair
from portal.authorization.refresh.spool import Spooled
from portal.authorization.refresh.times import MAX_ASKED_SECONDS, RefreshTimes
from portal.connections.models import Application, Connection, ConnectionState
from portal.connections.service.connections import need_attention, record
from portal.db import utc_now
from portal.errors import Card, UpstreamFailed
from portal.runtime import Runtime
from portal.vault import Secret, SecretUnreadable


class AccessUnavailable(UpstreamFailed):
    """A credential gives no access now; the card says why and who mends it.

    `is_passing` tells that the credential itself is good: asking again later is worth it.
    """

    status = 503

    def __init__(self, card: Card, *, is_passing: bool = False) -> None:
        super().__init__(card)
        self.is_passing = is_passing


@dataclass(frozen=True)
class Claim:
    """The right to spend one pair, until `ends_at` on the monotonic clock.

    Attributes:
        must_probe: an earlier request for this pair ended nobody knows how.
        may_be_spent: that could not be found out, so `invalid_grant` may mean that its answer was lost.
    """

    credential_id: int
    connection_id: int
    generation: int
    owner: str
    intent_id: str
    ends_at: float
    must_probe: bool
    reason: str
    access_token: Secret
    refresh_token: Secret
    origin: str
    client_id: str
    may_be_spent: bool = False

    def left(self) -> float:
        """Return the seconds in which a request may still be made."""
        return self.ends_at - time.monotonic()


def is_alive(credential: Credential, application: Application | None) -> bool:
    """Tell whether a credential may be used, or refreshed; one whose Secret was entered anew may."""
    if credential.state == CredentialState.SECRET_CHANGED and application:
        is_another = credential.refused_application != stamp_of(application)
        return application.client_secret_sealed is not None and is_another
    return credential.state == CredentialState.ALIVE


def stamp_of(application: Application | None) -> str:
    """Return what tells one stored Secret of a connection from the next."""
    return application.updated_at.isoformat() if application else ""


def is_free(credential: Credential, now: datetime, times: RefreshTimes) -> bool:
    """Tell whether nobody has the lease at a time of the database's clock."""
    until = credential.lease_until
    # A lease that ends later than any could is one from before the clock was set back.
    return until is None or until <= now or until > now + timedelta(seconds=times.lease * 2)


def rests_until(credential: Credential, now: datetime) -> datetime | None:
    """Return when GitLab may be asked again after a failure; None when it may be now."""
    until = credential.cooldown_until
    # A pause longer than any is one from before the clock was set back.
    return until if until and now < until <= now + timedelta(seconds=MAX_ASKED_SECONDS) else None


def take_claim(runtime: Runtime, connection_id: int, reason: str, times: RefreshTimes) -> Claim | None:
    """Take the lease and write the intent, unless there is nothing to do or somebody else does it.

    Raises:
        SecretUnreadable: the pair cannot be opened; nothing was changed.
    """
    ends_at = time.monotonic() + times.lease - times.commit
    with runtime.database.transaction() as session:
        credential = lock_credential(session, connection_id)
        if credential is None or not _is_due(runtime, session, credential, times):
            return None
        claim = _make_claim(runtime, credential, reason, ends_at)
        credential.lease_owner = claim.owner
        credential.lease_until = runtime.database.clock(session) + timedelta(seconds=times.lease)
        credential.intent_id, credential.intent_at = claim.intent_id, utc_now()
        return claim


def spend_again(runtime: Runtime, claim: Claim, *, may_be_spent: bool) -> Claim | None:
    """Replace an intent that came to nothing, as far as can be known, by a new one; None when the lease is gone."""
    fresh = replace(claim, intent_id=secrets.token_hex(16), must_probe=False, may_be_spent=may_be_spent)
    with runtime.database.transaction() as session:
        credential = lock_credential(session, claim.connection_id)
        if credential is None or not _holds(credential, claim):
            return None
        credential.intent_id, credential.intent_at = fresh.intent_id, utc_now()
        note(session, credential, "asked_again", claim.reason, may_be_spent=may_be_spent)
    return fresh


class Stored(StrEnum):
    """What became of a pair that GitLab gave."""

    STORED = "stored"
    # Another pair is stored, or none: this one is to be revoked.
    SUPERSEDED = "superseded"
    # The stored pair cannot be opened now: nobody can tell, so the answer has to be kept.
    UNCLEAR = "unclear"


def store(runtime: Runtime, entry: Spooled, connection_id: int, reason: str, times: RefreshTimes) -> Stored:
    """Store a pair where the one it was given for is still the stored one (S37).

    Neither lease nor state is asked: a pair that GitLab gave for this one is the truth, however late it comes.
    """
    with runtime.database.transaction() as session:
        credential = lock_credential(session, connection_id)
        if credential is None or credential.generation != entry.generation:
            return Stored.SUPERSEDED
        try:
            if not _was_spent(runtime, credential, entry):
                return Stored.SUPERSEDED
        except SecretUnreadable:
            return Stored.UNCLEAR
        connection = session.get_one(Connection, connection_id)
        _write_pair(runtime, credential, entry, times)
        _end_attempt(credential)
        credential.state, credential.failures = CredentialState.ALIVE, 0
        credential.cooldown_until = credential.failure = credential.failed_at = None
        _heal(connection)
        note(session, credential, "refreshed", reason, spent_generation=entry.generation)
        record(session, None, connection, "credential.refreshed", generation=credential.generation, reason=reason)
        return Stored.STORED


def give_verdict(
    runtime: Runtime, claim: Claim, state: CredentialState, card: Card | None = None, *, refused: str = ""
) -> bool:
    """End a credential where the pair that was judged is still the stored one; tell whether it was (S38).

    `refused` is the stamp of the application whose Secret GitLab refused: when another is stored by now, the verdict
    is about nothing any more and only the lease is given back.
    """
    with runtime.database.transaction() as session:
        credential = lock_credential(session, claim.connection_id)
        # Whoever took the lease since asked for the same pair, and may be about to store GitLab's answer.
        if credential is None or not _holds(credential, claim):
            return False
        connection = session.get_one(Connection, claim.connection_id)
        if refused and refused != stamp_of(_application_of(session, connection)):
            _end_attempt(credential)
            return False
        credential.refused_application = refused
        card = with_way(card or VERDICTS[state], connection, state)
        _end_attempt(credential)
        credential.state, credential.failure, credential.failed_at = state, card.to_json(), utc_now()
        note(session, credential, str(state), claim.reason, code=card.code, request_id=card.request_id)
        need_attention(session, claim.connection_id, card)
        about = {"generation": credential.generation, "code": card.code}
        record(session, None, connection, f"credential.{state}", result="failed", **about)
        return True


def put_off(
    runtime: Runtime, claim: Claim, card: Card, times: RefreshTimes, *, asked: float | None, unknown: bool
) -> None:
    """Give the lease back after an answer that is no verdict (S39).

    Args:
        runtime: whose database.
        claim: only its own lease is given back.
        card: what happened.
        times: for the cooldown.
        asked: seconds that GitLab asked to wait.
        unknown: GitLab may have exchanged the pair; the intent stays, for the next one to find out.
    """
    with runtime.database.transaction() as session:
        credential = lock_credential(session, claim.connection_id)
        if credential is None or not _holds(credential, claim):
            return
        credential.failures += 1
        pause = times.cooldown(credential.failures, asked)
        credential.cooldown_until = utc_now() + timedelta(seconds=pause)
        credential.failure, credential.failed_at = card.to_json(), utc_now()
        credential.lease_owner, credential.lease_until = "", None
        if not unknown:
            credential.intent_id, credential.intent_at = "", None
        note(session, credential, "put_off", claim.reason, code=card.code, unknown=unknown, pause_seconds=round(pause))


def _is_due(runtime: Runtime, session: Session, credential: Credential, times: RefreshTimes) -> bool:
    now = utc_now()
    connection = session.get_one(Connection, credential.connection_id)
    application = _application_of(session, connection)
    if connection.state == ConnectionState.DISCONNECTED or not is_alive(credential, application):
        return False
    if credential.refresh_token_sealed is None or credential.refresh_at is None or credential.refresh_at > now:
        return False
    # A new Secret is tried at once, whatever the pause after the old one's failure.
    return rests_until(credential, now) is None and is_free(credential, runtime.database.clock(session), times)


def _application_of(session: Session, connection: Connection) -> Application | None:
    return session.exec(select(Application).where(Application.connection_id == connection.id)).first()


def _make_claim(runtime: Runtime, credential: Credential, reason: str, ends_at: float) -> Claim:
    access_token = open_token(runtime, credential, "access_token_sealed", credential.origin)
    refresh_token = open_token(runtime, credential, "refresh_token_sealed", credential.origin)
    assert credential.id is not None
    if access_token is None or refresh_token is None:
        raise SecretUnreadable("the pair is not complete")
    return Claim(
        credential_id=credential.id,
        connection_id=credential.connection_id,
        generation=credential.generation,
        owner=f"{PROCESS}:{secrets.token_hex(8)}",
        intent_id=credential.intent_id or secrets.token_hex(16),
        ends_at=ends_at,
        must_probe=bool(credential.intent_id),
        reason=reason,
        access_token=access_token,
        refresh_token=refresh_token,
        origin=credential.origin,
        client_id=credential.client_id,
    )


def _holds(credential: Credential, claim: Claim) -> bool:
    return credential.generation == claim.generation and credential.lease_owner == claim.owner


def _was_spent(runtime: Runtime, credential: Credential, entry: Spooled) -> bool:
    # A restored database can have the same generation of another line of pairs.
    stored = open_token(runtime, credential, "refresh_token_sealed", credential.origin)
    return stored is not None and digest(stored) == entry.spent


def _write_pair(runtime: Runtime, credential: Credential, entry: Spooled, times: RefreshTimes) -> None:
    tokens = entry.tokens
    seconds = tokens.expires_in
    expires_at = None if seconds is None else (entry.sent_at + timedelta(seconds=seconds)).astimezone(UTC)
    credential.generation = entry.generation + 1
    credential.expires_at = expires_at
    credential.refresh_at = times.plan(expires_at, entry.sent_at)
    credential.refreshed_at = credential.obtained_at = utc_now()
    credential.scopes = credential.scopes if tokens.scopes is None else list(tokens.scopes)
    seal_pair(runtime, credential, tokens.access_token, tokens.refresh_token)


def _end_attempt(credential: Credential) -> None:
    credential.lease_owner, credential.lease_until = "", None
    credential.intent_id, credential.intent_at = "", None


def _heal(connection: Connection) -> None:
    if (connection.attention or {}).get("code") not in HEALED_BY_REFRESH:
        return
    connection.attention = None
    if connection.state == ConnectionState.NEEDS_ATTENTION:
        connection.state = ConnectionState.CONNECTED
