"""Act for one credential under its lease: probe, renew, and store GitLab's answer in the database.

The transactions are short, and each is compared with the generation that was read or spent. What follows from an
answer is decided in `machine.py` and nowhere else.
"""

from __future__ import annotations

import random
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from portal import audit
from portal.actor import SYSTEM
from portal.connections.models import Application, Connection, ConnectionState, need_attention
from portal.connections.store import application_of, open_host_session
from portal.crash_points import crash_point
from portal.credentials.machine import (
    VERDICT_REFUSALS,
    Abandoned,
    AccessRefused,
    Asking,
    Event,
    NotProcessed,
    Probed,
    RefusedClient,
    RefusedGrant,
    SecretEntered,
    Seen,
    State,
    Step,
    advance,
    plan,
)
from portal.credentials.methods import (
    CLIENT_REFUSED,
    REFUSED,
    ROTATION_UNKNOWN,
    CannotRenew,
    CredentialMethod,
    method_of,
)
from portal.credentials.models import Credential, CredentialState
from portal.credentials.revocation import revoker_for
from portal.credentials.store import (
    PROCESS,
    RefreshTimes,
    Spool,
    Spooled,
    Stored,
    digest,
    forget_lease,
    give_back_lease,
    is_free,
    lock_credential,
    open_token,
    record_event,
    recover,
    store_pair,
    take_lease,
)
from portal.db import utc_now
from portal.errors import Card, UpstreamFailed
from portal.gitlab.answers import GitLabError, GitLabRateLimited
from portal.installation import is_restored
from portal.logs import get_logger
from portal.net import HostSession, OutboundError, origin_of
from portal.runtime import Runtime
from portal.shutdown import ShuttingDown
from portal.vault import Secret, SecretUnreadable

log = get_logger(__name__)
RESTORED = Card("portal_restored")
NO_ROOM = Card("spool_unwritable")
BUSY = Card("refresh_under_way")
UNVOUCHED = Card("token_not_accepted")
STOPPING = Card("portal_stopping")
# No one has to act on these: they pass, or a verdict follows.
DOUBTS = frozenset({REFUSED.code, CLIENT_REFUSED.code, BUSY.code, STOPPING.code})
STORE_PAUSE_SECONDS = 0.5
# GitLab's limit for access tokens (16.0).
MAX_LIFETIME_DAYS = 365
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
        key_id: of the key it was issued to.
        connection, application: as they were when it was taken.
        until: how long the next credential should live, if GitLab lets the portal say.
        failure_code: of the last failure; empty if there was none.
        refusals: of the pair so far.
    """

    credential_id: int
    connection_id: int
    method: CredentialMethod
    generation: int
    owner: str
    intent_id: str
    ends_at: float
    step: Step
    reason: str
    access_token: Secret
    refresh_token: Secret
    origin: str
    key_id: str
    gitlab_user_id: int
    connection: Connection
    application: Application | None
    until: datetime
    failure_code: str = ""
    refusals: int = 0

    def left(self) -> float:
        """Return the seconds in which a request may still be made."""
        return max(self.ends_at - time.monotonic(), 0.0)


def refresh_once(runtime: Runtime, connection_id: int, reason: str, times: RefreshTimes) -> bool:
    """Do what a due credential needs; return whether this process did anything.

    Raises:
        AccessUnavailable: this process is ending, the portal is an unconfirmed copy, or the spool cannot be written.
        SecretUnreadable: the pair cannot be opened here.
    """
    try:
        with runtime.shutdown.finishing():
            if recover(runtime, connection_id, times):
                return True
            crash_point("refresh:before_intent")
            claim = take_claim(runtime, connection_id, reason, times)
            if claim is None:
                return False
            crash_point("refresh:intent_written")
            work: Claim | None = claim
            try:
                with open_host_session(runtime, claim.connection) as http:
                    while work is not None:
                        act = _probe if work.step == Step.PROBE else _renew
                        work = act(runtime, http, work, times)
            except BaseException:
                # The request stays open; the next process finds out, and need not wait for the lease.
                with suppress(SQLAlchemyError):
                    release(runtime, claim)
                raise
            finally:
                forget_lease(claim.owner)
            return True
    except ShuttingDown:
        raise AccessUnavailable(STOPPING, is_passing=True) from None


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
        if connection.state == ConnectionState.DISCONNECTED or not is_free(credential, clock, times):
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
        if credential.origin != origin_of(connection.api_url):
            raise SecretUnreadable("the pair was issued for another address")
        access_token = open_token(runtime, credential, "access_token_sealed", credential.origin)
        refresh_token = open_token(runtime, credential, "refresh_token_sealed", credential.origin)
        if method_of(credential).is_once:
            refresh_token = access_token
        if access_token is None or refresh_token is None:
            raise SecretUnreadable("the pair is not complete")
        assert credential.id is not None
        claim = Claim(
            credential_id=credential.id,
            connection_id=connection_id,
            method=method_of(credential),
            generation=credential.generation,
            owner=f"{PROCESS}:{secrets.token_hex(8)}",
            intent_id=intent_id,
            ends_at=ends_at,
            step=step,
            reason=reason,
            access_token=access_token,
            refresh_token=refresh_token,
            origin=credential.origin,
            key_id=credential.client_id,
            gitlab_user_id=credential.gitlab_user_id,
            connection=connection,
            application=application,
            until=now + timedelta(days=(credential.token_details or {}).get("lifetime_days") or MAX_LIFETIME_DAYS),
            failure_code=(credential.failure or {}).get("code", ""),
            refusals=credential.refusals,
        )
        put_state(credential, state, intent_id)
        take_lease(credential, claim.owner, clock, times)
        return claim


def _probe(runtime: Runtime, http: HostSession, claim: Claim, times: RefreshTimes) -> Claim | None:
    """Try the access token: it shows whether GitLab is there, and usually whether the pair is spent (S41)."""
    seconds = times.slow_probe if claim.failure_code == "deadline_passed" else times.probe
    event, card = Probed(Seen.SILENT), None
    try:
        with http.deadline(claim.left()):
            verdict = claim.method.probe(http, claim.access_token, claim.gitlab_user_id, seconds)
        event = Probed(Seen(verdict.value))
        # After a refusal its words stay: this look only tells what that was worth.
        if event.seen == Seen.UNCLEAR and claim.failure_code not in {REFUSED.code, CLIENT_REFUSED.code}:
            card = UNVOUCHED
    except (GitLabError, OutboundError) as error:
        wait = error.retry_after_seconds if isinstance(error, GitLabRateLimited) else None
        event, card = Probed(Seen.SILENT, wait), error.card()
    return settle(runtime, claim, event, card)


def _renew(runtime: Runtime, http: HostSession, claim: Claim, times: RefreshTimes) -> Claim | None:
    """Spend the refresh token, and store the answer in the row by way of the spool."""
    spool, connection = Spool(runtime), claim.connection
    try:
        key = claim.method.open_key(runtime, connection, claim.application, claim.key_id)
    except CannotRenew as reason:
        return settle(runtime, claim, reason.event, reason.card)
    try:
        spool.reserve(claim.credential_id, claim.intent_id)
    except OSError as error:
        log.error("spool_unwritable", error=str(error))
        spool.forget(claim.credential_id, claim.intent_id)
        settle(runtime, claim, NotProcessed(is_outage=True), NO_ROOM)
        raise AccessUnavailable(NO_ROOM, is_passing=True) from None
    revoker = revoker_for(connection, claim.origin, connection.service_username, key, claim.method.name)
    crash_point("refresh:before_request")
    sent_at = utc_now()
    try:
        # The outbound client checks it before each step: a process that was paused past its lease sends nothing.
        with http.deadline(min(times.request, claim.left())):
            tokens = claim.method.renew(runtime, connection, http, key, claim.refresh_token, claim.until)
    except (GitLabError, OutboundError) as error:
        crash_point("refresh:verdict_received")
        spool.forget(claim.credential_id, claim.intent_id)
        event, card = claim.method.meaning_of(error)
        refused = stamp_of(claim.application) if isinstance(event, RefusedClient) else ""
        # Before people are told: a deleted application takes its tokens with it, and GitLab checks those first.
        is_last = isinstance(event, RefusedGrant) and claim.refusals + 1 >= VERDICT_REFUSALS
        is_key_refused = is_last and claim.method.is_key_refused(runtime, connection, http, key)
        return settle(runtime, claim, event, card, refused=refused, is_key_refused=is_key_refused)
    spent = digest(claim.refresh_token)
    entry = Spooled(claim.credential_id, claim.generation, claim.intent_id, spent, tokens, sent_at, revoker)
    crash_point("refresh:answer_received")
    try:
        spool.keep(entry)
    except OSError as error:
        # The database may still take it; there is nothing better to do with an answer than to store it.
        log.error("spool_unwritable", error=str(error))
    crash_point("refresh:answer_spooled")
    if tokens.scopes is None and tokens.access_token is not None:
        # At a refresh, GitLab means that none is left. Until that is known, the previous pair's scopes are assumed.
        with suppress(GitLabError, OutboundError), http.deadline(min(times.probe, claim.left())):
            info = claim.method.describe(http, tokens.access_token)
            if info.resource_owner_id == claim.gitlab_user_id:
                entry = replace(entry, tokens=replace(tokens, scopes=tuple(info.scope)))
    if _store_patiently(runtime, entry, claim, times) == Stored.UNCLEAR:
        release(runtime, claim)  # The spool keeps it for whoever can open the stored pair.
        return None
    crash_point("refresh:stored")
    spool.forget(claim.credential_id, claim.intent_id)
    return None


def _store_patiently(runtime: Runtime, entry: Spooled, claim: Claim, times: RefreshTimes) -> Stored:
    """Store a pair; while the database fails, try again for as long as a caller waits. The spool has it anyhow."""
    end = time.monotonic() + times.patience
    while True:
        try:
            return store_pair(runtime, entry, claim.connection_id, claim.reason, times)
        except Exception as error:  # Whatever the error, the answer must not be lost.
            log.error("refresh_not_stored", credential_id=claim.credential_id, error=type(error).__name__)
            if time.monotonic() > end:
                raise
            time.sleep(STORE_PAUSE_SECONDS)


def settle(
    runtime: Runtime,
    claim: Claim,
    event: Event,
    card: Card | None = None,
    *,
    refused: str = "",
    is_key_refused: bool = False,
) -> Claim | None:
    """Apply the outcome of a claim's step; return the claim for the next step, or None if there is none now.

    Args:
        runtime: whose database.
        claim: only counts while its lease is held, because another holder asks for the same pair, and may be about to
            store GitLab's answer.
        event: what happened.
        card: why it failed.
        refused: the stamp of the application whose Secret GitLab refused: when another is stored by now, this is about
            nothing any more.
        is_key_refused: GitLab refuses the key the pair was issued to, too.
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
            if after.verdict in {before.verdict, CredentialState.ALIVE}:
                if card is not None and after.verdict == CredentialState.ALIVE:
                    credential.failure, credential.failed_at = card.to_json(), utc_now()
                elif card is None and not (after.asked_at or after.refusals or after.client_refusals or after.failures):
                    credential.failure = credential.failed_at = None
                kind = "settled" if before.asked_at and not after.asked_at and card is None else "deferred"
                if card is not None or kind == "settled":
                    about: dict[str, Any] = {"code": card.code, "request_id": card.request_id} if card else {}
                    about |= {"event": type(event).__name__, "may_be_spent": after.may_be_spent}
                    record_event(session, credential, kind, claim.reason, **about)
            else:
                reason = claim.reason
                _note_verdict(session, connection, credential, reason, before, after, card, is_key_refused)
            if after.is_once and after.verdict == CredentialState.ALIVE and before.planned_at and not after.planned_at:
                _note_rotation_given_up(session, connection, credential, claim.reason, after, card)
        if step == Step.REFRESH:
            after, _ = advance(after, Asking(), now)
            claim = replace(claim, intent_id=secrets.token_hex(16))
        put_state(credential, after, claim.intent_id)
        if step == Step.NOTHING:
            give_back_lease(credential)
            return None
    return replace(claim, step=step, failure_code=card.code if card else "")


def _note_rotation_given_up(
    session: Session,
    connection: Connection,
    credential: Credential,
    reason: str,
    after: State,
    card: Card | None,
) -> None:
    """Say once that a person has to replace an access token before it ends: it is not rotated again (S34)."""
    told = ROTATION_UNKNOWN if after.may_be_spent or card is None else card
    credential.failure, credential.failed_at = told.to_json(), utc_now()
    credential.is_rotated = False
    record_event(session, credential, "rotation_given_up", reason, code=told.code, request_id=told.request_id)
    assert connection.id is not None
    need_attention(session, connection.id, told)
    details = {"generation": credential.generation, "code": told.code}
    audit.record(session, SYSTEM, "credential.rotation_given_up", connection.target, result="failed", **details)


def _note_verdict(
    session: Session,
    connection: Connection,
    credential: Credential,
    reason: str,
    before: State,
    after: State,
    card: Card | None,
    is_key_refused: bool = False,
) -> None:
    """Record that the credential no longer gives access, also on the connection, where people see it."""
    # A verdict by the access token follows a refusal that had GitLab's words.
    heard = card or (Card.from_json(credential.failure) if credential.failure and before.refusals else None)
    told = method_of(credential).remedy(credential, after.verdict, is_key_refused=is_key_refused)
    if heard is not None:
        told = replace(told, words=heard.words, request_id=heard.request_id)
    credential.failure, credential.failed_at = told.to_json(), utc_now()
    record_event(session, credential, after.verdict, reason, code=told.code, request_id=told.request_id)
    assert connection.id is not None
    need_attention(session, connection.id, told)
    details = {"generation": credential.generation, "code": told.code}
    audit.record(session, SYSTEM, f"credential.{after.verdict}", connection.target, result="failed", **details)


def release(runtime: Runtime, claim: Claim) -> None:
    """Give a lease back without an outcome: the request stays open."""
    with runtime.database.transaction() as session:
        credential = lock_credential(session, claim.connection_id)
        if credential is not None and _holds(credential, claim):
            give_back_lease(credential)


def note_refused_access(runtime: Runtime, connection_id: int, generation: int, *, is_certain: bool) -> None:
    """Refresh the stored pair now: GitLab refused its access token in one of our calls. What cannot be renewed ends."""
    with runtime.database.transaction() as session:
        credential = lock_credential(session, connection_id)
        if credential is None or credential.generation != generation or credential.access_token_sealed is None:
            return
        if credential.refresh_token_sealed is None and not method_of(credential).is_once:
            return
        before = state_of(credential)
        state, _ = advance(before, AccessRefused(is_certain), utc_now())
        put_state(credential, state, credential.intent_id)
        record_event(session, credential, "refused", "GitLab answered 401")
        if state.verdict not in {before.verdict, CredentialState.ALIVE}:
            connection = session.get_one(Connection, connection_id)
            _note_verdict(session, connection, credential, "GitLab answered 401", before, state, None)


# A row as the state machine sees it.


def present_state(credential: Credential, application: Application | None) -> State:
    """Return the state of a row, including a Secret entered since GitLab refused the previous one."""
    state = state_of(credential)
    has_another = bool(credential.refused_application) and credential.refused_application != stamp_of(application)
    if has_another and application is not None and application.client_secret_sealed is not None:
        state, _ = advance(state, SecretEntered(), utc_now())
    return state


def is_renewable(credential: Credential) -> bool:
    """Return whether there is anything to renew a credential with; an access token only if someone wants that."""
    if method_of(credential).is_once:
        return credential.refresh_at is not None or credential.intent_id != ""
    return credential.refresh_token_sealed is not None


def state_of(credential: Credential) -> State:
    """Return the state that a row holds."""
    return State(
        verdict=CredentialState(credential.state),
        planned_at=credential.refresh_at,
        ends_at=credential.expires_at,
        is_renewable=is_renewable(credential),
        is_once=method_of(credential).is_once,
        is_stateless=credential.is_stateless,
        asked_at=(credential.intent_at or credential.obtained_at) if credential.intent_id else None,
        may_be_spent=credential.may_be_spent,
        is_access_refused=credential.is_access_refused,
        refusals=credential.refusals,
        refused_at=credential.refused_at,
        client_refusals=credential.client_refusals,
        client_refused_at=credential.client_refused_at,
        failures=credential.failures,
        rest_until=credential.cooldown_until,
    )


def put_state(credential: Credential, state: State, intent_id: str) -> None:
    """Write what the state machine decided; `intent_id` names the request whose outcome is open, if one is."""
    credential.state = state.verdict
    credential.refresh_at = state.planned_at
    credential.intent_id = intent_id if state.asked_at else ""
    credential.intent_at = state.asked_at
    credential.may_be_spent = state.may_be_spent
    credential.is_access_refused = state.is_access_refused
    credential.refusals, credential.refused_at = state.refusals, state.refused_at
    credential.client_refusals, credential.client_refused_at = state.client_refusals, state.client_refused_at
    credential.failures, credential.cooldown_until = state.failures, state.rest_until


def stamp_of(application: Application | None) -> str:
    """Return what distinguishes one stored Secret of a connection from the next."""
    return application.updated_at.isoformat() if application else ""


def _holds(credential: Credential, claim: Claim) -> bool:
    return credential.generation == claim.generation and credential.lease_owner == claim.owner
