"""The transactions of a refresh: each short, each compared with the generation that was read or spent.

They apply the state machine to the row; only the state machine decides what follows from an answer.
"""

from __future__ import annotations

import random
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from enum import StrEnum
from typing import Any

from sqlmodel import Session

from portal import audit
from portal.actor import SYSTEM
from portal.connections.attention import end_attention, need_attention
from portal.connections.models import Application, Connection, ConnectionState
from portal.connections.store import application_of
from portal.credentials import lease
from portal.credentials.cards import APPLICATION_GONE, HEALED_BY_REFRESH, RESTORED, VERDICTS
from portal.credentials.machine import (
    Abandoned,
    AccessRefused,
    Asking,
    Event,
    SecretEntered,
    State,
    Step,
    advance,
    plan,
)
from portal.credentials.models import Credential, CredentialState
from portal.credentials.rows import (
    PROCESS,
    digest,
    forget_doubts,
    lock_credential,
    open_token,
    put_state,
    record_event,
    seal_pair,
    stamp_of,
    state_of,
)
from portal.credentials.spool import Spooled
from portal.credentials.times import RefreshTimes
from portal.db import utc_now
from portal.errors import Card, UpstreamFailed
from portal.gitlab import oauth
from portal.installation import is_restored
from portal.net import origin_of
from portal.runtime import Runtime
from portal.vault import Secret, SecretUnreadable

# Pauses are longer by up to this share, so that many credentials do not ask at once.
SPREAD = 0.05


class AccessUnavailable(UpstreamFailed):
    """A credential gives no access now; the card says why and who can fix it.

    Attributes:
        is_passing: the credential itself is good as far as is known, so asking again later makes sense.
        after_seconds: how much later, if that is known.
    """

    status = 503

    def __init__(self, card: Card, *, is_passing: bool = False, after_seconds: float | None = None) -> None:
        super().__init__(card)
        self.is_passing = is_passing
        self.after_seconds = after_seconds


@dataclass(frozen=True)
class Claim:
    """The right to act for one pair, until `ends_at` on the monotonic clock.

    Attributes:
        step: what to do with it next.
        intent_id: names the request that is made, or the one whose outcome is open.
        connection, application: as they were when it was taken.
        failure_code: of the last failure; empty if there was none.
        refusals: of the pair so far.
    """

    credential_id: int
    connection_id: int
    generation: int
    owner: str
    intent_id: str
    ends_at: float
    step: Step
    reason: str
    access_token: Secret
    refresh_token: Secret
    origin: str
    client_id: str
    gitlab_user_id: int
    connection: Connection
    application: Application | None
    failure_code: str = ""
    refusals: int = 0

    def left(self) -> float:
        """Return the seconds in which a request may still be made."""
        return max(self.ends_at - time.monotonic(), 0.0)


def present_state(credential: Credential, application: Application | None) -> State:
    """Return a row as the state machine sees it, including a Secret entered since GitLab refused the previous one."""
    state = state_of(credential)
    has_another = bool(credential.refused_application) and credential.refused_application != stamp_of(application)
    if has_another and application is not None and application.client_secret_sealed is not None:
        state, _ = advance(state, SecretEntered(), utc_now())
    return state


def take_claim(runtime: Runtime, connection_id: int, reason: str, times: RefreshTimes) -> Claim | None:
    """Take the lease and, before a refresh, write the intent; None if there is nothing to do, or another process is at
    it.

    Raises:
        AccessUnavailable: this portal is a copy that no one has confirmed.
        SecretUnreadable: the pair cannot be opened, or was given for another address; nothing was changed.
    """
    ends_at = time.monotonic() + times.lease - times.commit
    with runtime.database.transaction() as session:
        credential = lock_credential(session, connection_id)
        if credential is None:
            return None
        connection = session.get_one(Connection, connection_id)
        application = application_of(session, connection.id)
        clock = runtime.database.clock(session)
        if connection.state == ConnectionState.DISCONNECTED or not lease.is_free(credential, clock, times):
            return None
        if is_restored(session):
            raise AccessUnavailable(RESTORED, is_passing=True)
        now = utc_now()
        state = present_state(credential, application)
        if state.asked_at is not None and (state.is_stateless or not state.may_be_spent):
            state, step = advance(state, Abandoned(), now)
        else:
            step = plan(state, now)
        if (state.client_refusals, state.verdict) != (credential.client_refusals, credential.state):
            credential.refused_application = ""  # Of the Secret before.
        if step == Step.NOTHING:
            put_state(credential, state, credential.intent_id)
            return None
        intent_id = credential.intent_id
        if step == Step.REFRESH:
            state, _ = advance(state, Asking(), now)
            intent_id = secrets.token_hex(16)
        claim = _make_claim(runtime, credential, connection, application, step, intent_id, reason, ends_at)
        put_state(credential, state, intent_id)
        lease.take(credential, claim.owner, clock, times)
        return claim


def settle(
    runtime: Runtime,
    claim: Claim,
    event: Event,
    card: Card | None = None,
    *,
    refused: str = "",
    is_client_refused: bool = False,
) -> Claim | None:
    """Apply the outcome of a claim's step; return the claim for the next step, or None if there is none now.

    Args:
        runtime: whose database.
        claim: counts only while its lease is held: whoever took it since asked for the same pair, and may be about to
            store GitLab's answer.
        event: what happened.
        card: why it failed.
        refused: the stamp of the application whose Secret GitLab refused: when another is stored by now, this is about
            nothing any more.
        is_client_refused: GitLab refuses Application ID and Secret, too.
    """
    now, spread = utc_now(), 1 + SPREAD * random.random()  # noqa: S311 - spreads, does not protect
    with runtime.database.transaction() as session:
        credential = lock_credential(session, claim.connection_id)
        if credential is None or not _holds(credential, claim):
            return None
        connection = session.get_one(Connection, claim.connection_id)
        before = state_of(credential)
        if refused and refused != stamp_of(application_of(session, connection.id)):
            after, step = replace(before, asked_at=None), Step.NOTHING
        else:
            after, step = advance(before, event, now, spread)
            credential.refused_application = refused or credential.refused_application
            _tell(session, connection, credential, claim, event, before, after, card, is_client_refused)
        if step == Step.REFRESH:
            after, _ = advance(after, Asking(), now)
            claim = replace(claim, intent_id=secrets.token_hex(16))
        put_state(credential, after, claim.intent_id)
        if step == Step.NOTHING:
            lease.give_back(credential)
            return None
    return replace(claim, step=step, failure_code=card.code if card else "")


def release(runtime: Runtime, claim: Claim) -> None:
    """Give a lease back without an outcome: the request stays open."""
    with runtime.database.transaction() as session:
        credential = lock_credential(session, claim.connection_id)
        if credential is not None and _holds(credential, claim):
            lease.give_back(credential)


def note_refused_access(runtime: Runtime, connection_id: int, generation: int, *, is_certain: bool) -> None:
    """Refresh the stored pair now: GitLab refused its access token in one of our calls."""
    with runtime.database.transaction() as session:
        credential = lock_credential(session, connection_id)
        if credential is None or credential.generation != generation or credential.refresh_token_sealed is None:
            return
        state, _ = advance(state_of(credential), AccessRefused(is_certain), utc_now())
        put_state(credential, state, credential.intent_id)
        record_event(session, credential, "refused", "GitLab answered 401")


class Stored(StrEnum):
    """The outcome for a pair that GitLab issued."""

    STORED = "stored"
    # Another pair is stored, or none: this one must be revoked.
    SUPERSEDED = "superseded"
    # The stored pair cannot be opened now, so the answer has to be kept until it can be compared.
    UNCLEAR = "unclear"


def store(runtime: Runtime, entry: Spooled, connection_id: int, reason: str, times: RefreshTimes) -> Stored:
    """Store a pair where the one it was given for is still the stored one (S37).

    Neither lease nor state matters: a pair that GitLab issued for this one is the truth, however late it arrives.
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
        lease.give_back(credential)
        end_attention(connection, HEALED_BY_REFRESH)
        record_event(session, credential, "refreshed", reason, spent_generation=entry.generation)
        audit.record(
            session, SYSTEM, "credential.refreshed", connection.target, generation=credential.generation, reason=reason
        )
        return Stored.STORED


def _tell(
    session: Session,
    connection: Connection,
    credential: Credential,
    claim: Claim,
    event: Event,
    before: State,
    after: State,
    card: Card | None,
    is_client_refused: bool,
) -> None:
    """Record what happened for people to read: on the row, in the recorder, and for a verdict on the connection."""
    about: dict[str, Any] = {"code": card.code, "request_id": card.request_id} if card else {}
    if after.verdict in {before.verdict, CredentialState.ALIVE}:
        if card is not None and after.verdict == CredentialState.ALIVE:
            credential.failure, credential.failed_at = card.to_json(), utc_now()
        elif card is None and not (after.asked_at or after.refusals or after.client_refusals or after.failures):
            credential.failure = credential.failed_at = None
        kind = "settled" if before.asked_at and not after.asked_at and card is None else "put_off"
        if card is not None or kind == "settled":
            about |= {"event": type(event).__name__, "may_be_spent": after.may_be_spent}
            record_event(session, credential, kind, claim.reason, **about)
        return
    # A verdict by the access token follows a refusal that had GitLab's words.
    heard = card or (Card.from_json(credential.failure) if credential.failure and before.refusals else None)
    is_gone = is_client_refused and after.verdict == CredentialState.REVOKED
    told = APPLICATION_GONE if is_gone else VERDICTS[after.verdict]
    if heard is not None:
        told = replace(told, words=heard.words, request_id=heard.request_id)
    credential.failure, credential.failed_at = told.to_json(), utc_now()
    record_event(session, credential, after.verdict, claim.reason, code=told.code, request_id=told.request_id)
    need_attention(session, claim.connection_id, told)
    details = {"generation": credential.generation, "code": told.code}
    audit.record(session, SYSTEM, f"credential.{after.verdict}", connection.target, result="failed", **details)


def _make_claim(
    runtime: Runtime,
    credential: Credential,
    connection: Connection,
    application: Application | None,
    step: Step,
    intent_id: str,
    reason: str,
    ends_at: float,
) -> Claim:
    if credential.origin != origin_of(connection.api_url):
        raise SecretUnreadable("the pair was given for another address")
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
        intent_id=intent_id,
        ends_at=ends_at,
        step=step,
        reason=reason,
        access_token=access_token,
        refresh_token=refresh_token,
        origin=credential.origin,
        client_id=credential.client_id,
        gitlab_user_id=credential.gitlab_user_id,
        connection=connection,
        application=application,
        failure_code=(credential.failure or {}).get("code", ""),
        refusals=credential.refusals,
    )


def _holds(credential: Credential, claim: Claim) -> bool:
    return credential.generation == claim.generation and credential.lease_owner == claim.owner


def _was_spent(runtime: Runtime, credential: Credential, entry: Spooled) -> bool:
    # A restored database can have the same generation of another line of pairs.
    stored = open_token(runtime, credential, "refresh_token_sealed", credential.origin)
    return stored is not None and digest(stored) == entry.spent


def _write_pair(runtime: Runtime, credential: Credential, entry: Spooled, times: RefreshTimes) -> None:
    """Store a pair; what the answer left out stays as it was (RFC 6749 §5.1, §6)."""
    tokens = entry.tokens
    seconds: float | None = tokens.expires_in
    if seconds is None and credential.expires_at is not None:
        before = (credential.expires_at - credential.obtained_at).total_seconds()
        seconds = before if before > 0 else oauth.LIFETIME_SECONDS
    expires_at = None if seconds is None else (entry.sent_at + timedelta(seconds=seconds)).astimezone(UTC)
    access_token, refresh_token = (
        open_token(runtime, credential, column, credential.origin)
        for column in ("access_token_sealed", "refresh_token_sealed")
    )
    assert access_token is not None
    credential.generation = entry.generation + 1
    credential.expires_at = expires_at
    credential.refresh_at = times.plan(expires_at, entry.sent_at)
    credential.refreshed_at = credential.obtained_at = utc_now()
    credential.scopes = credential.scopes if tokens.scopes is None else list(tokens.scopes)
    forget_doubts(credential)
    if tokens.access_token is None:
        # The other half is good for the next pair.
        credential.expires_at = credential.refresh_at = utc_now()
        credential.is_access_refused = True
    seal_pair(runtime, credential, tokens.access_token or access_token, tokens.refresh_token or refresh_token)
