"""The life of one authorization attempt in our database: started, claimed once, finished, forgotten.

Bound to the portal's user, the connection, this browser (by its own cookie) and to the endpoints as they were
at the start (RFC 9700 §2.1, §4.4.2, §4.7).
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, CursorResult, update
from sqlmodel import Field, Session, SQLModel, col, select

from portal import audit
from portal.accounts.principal import load_principal, require_right_now
from portal.actor import ANONYMOUS, Actor, ActorKind, Principal, Right, RightLost
from portal.connections.checklist import announced_issuer, announces_issuer, find_hindrance, wanted_scopes
from portal.connections.models import Application, Connection, need_attention
from portal.connections.steps import Step
from portal.connections.store import (
    application_of,
    get_connection_for_admin,
    open_host_session,
    redirect_uri_of,
    require_plan,
)
from portal.credentials.methods import CannotRenew, method_of
from portal.credentials.models import Credential, CredentialState
from portal.credentials.store import get_credential
from portal.db import BigId, UTCDateTime, utc_now
from portal.errors import BadRequest, Card, Conflict, NotFound, PortalError, Surface, UpstreamFailed
from portal.gitlab import oauth
from portal.jobs import JobContext
from portal.net import OutboundError
from portal.runtime import Runtime
from portal.vault import Place, Secret, sealed_field

ATTEMPT_MINUTES = 10
# Exchange and checks take less; a process that claimed an attempt and has not ended it by then is gone.
CLAIM_MINUTES = 3
RANDOM_BYTES = 32
TABLE = "authorization_attempt"
KEEP_ATTEMPTS = timedelta(days=30)


class AttemptState(StrEnum):
    """The state of an attempt; every state but the first two is final."""

    STARTED = "started"
    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    WRONG_PERSON = "wrong_person"
    DENIED = "denied"
    FAILED = "failed"
    ABANDONED = "abandoned"


class AuthorizationAttempt(SQLModel, table=True):
    """One popup: started by one person in one browser for one connection, used once, valid for ten minutes."""

    __tablename__ = "authorization_attempt"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    public_id: str = Field(unique=True, max_length=40)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    user_id: int = Field(foreign_key="user.id", sa_type=BigId)
    state_hash: str = Field(unique=True, max_length=64)
    # SHA-256 of the cookie that binds the attempt to the browser it was started in (RFC 9700 §4.7).
    browser_hash: str = Field(max_length=64)
    # The `state` and the PKCE verifier, sealed: they leave only in the redirect and in the token request.
    state_sealed: bytes | None = sealed_field()
    verifier_sealed: bytes | None = sealed_field()
    # Endpoints, client id, redirect URI and scopes as they were at the start (RFC 9700 §4.4.2).
    snapshot: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    row_version: int
    outcome: str = Field(default=AttemptState.STARTED, max_length=20)
    # What the person reads: a Card as JSON for failures, or the two names for the wrong person.
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    claimed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


@dataclass(frozen=True)
class StartedAttempt:
    """A new attempt and the value of the cookie that binds it to this browser."""

    public_id: str
    browser_token: Secret


def start_attempt(
    runtime: Runtime, principal: Principal, slug: str, *, in_popup: bool, return_to: str = ""
) -> StartedAttempt:
    """Create an attempt; this voids earlier ones of the same person for this connection.

    Args:
        runtime: of this portal.
        principal: whose rights it uses.
        slug: of the connection.
        in_popup: whether GitLab opens in a small window.
        return_to: address of the page that shows the result, if it is not that of the walkthrough.

    Raises:
        NotFound: no such connection for this person.
        Conflict: the connection's application has no secret yet.
        UpstreamFailed: the address was changed, and what answers there is not known to be a GitLab. Or GitLab ended
            the authorization before, and the application is gone as well.
    """
    with runtime.database.reading() as session:
        connection = get_connection_for_admin(session, principal, slug)
        require_plan(principal, connection)
        application = _application_of(session, connection)
        before = get_credential(session, id_of(connection))
    # The step is open again whenever the address, or how it is reached, was changed.
    if Step.INSTANCE not in connection.steps_done and (found := find_hindrance(runtime, principal, connection)):
        raise UpstreamFailed(found)
    if before is not None and before.state != CredentialState.ALIVE:
        method, is_gone = method_of(before), False
        with suppress(CannotRenew, OutboundError):
            key = method.open_key(runtime, connection, application, "")
            with open_host_session(runtime, connection) as http:
                is_gone = method.is_key_refused(runtime, connection, http, key)
        if is_gone:
            # Otherwise GitLab would say so on its own page, to someone who can do nothing about it there.
            told = method.remedy(before, CredentialState.REVOKED, is_key_refused=True)
            with runtime.database.transaction() as session:
                need_attention(session, id_of(connection), told)
            raise UpstreamFailed(told)
    state, browser = (Secret(secrets.token_urlsafe(RANDOM_BYTES)) for _ in range(2))
    verifier = oauth.new_verifier()
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        application = _application_of(session, connection)
        session.execute(
            update(AuthorizationAttempt)
            .where(
                col(AuthorizationAttempt.connection_id) == connection.id,
                col(AuthorizationAttempt.user_id) == principal.user_id,
                col(AuthorizationAttempt.outcome) == AttemptState.STARTED,
            )
            .values(outcome=AttemptState.ABANDONED, finished_at=utc_now(), state_sealed=None, verifier_sealed=None)
        )
        _end_interrupted(session, principal, connection)
        by = principal.acted_by
        acted_by = {"kind": by.kind.value, "id": by.id, "name": by.name} if by else None
        attempt = AuthorizationAttempt(
            public_id=secrets.token_urlsafe(16),
            connection_id=id_of(connection),
            user_id=principal.user_id,
            state_hash=_digest(state.reveal()),
            browser_hash=_digest(browser.reveal()),
            snapshot=take_snapshot(runtime, connection, application),
            row_version=connection.row_version,
            details={"in_popup": in_popup, "return_to": return_to, "acted_by": acted_by},
            expires_at=utc_now() + timedelta(minutes=ATTEMPT_MINUTES),
        )
        session.add(attempt)
        session.flush()
        attempt.state_sealed = runtime.vault.seal(state, _place(attempt, "state_sealed"))
        attempt.verifier_sealed = runtime.vault.seal(verifier, _place(attempt, "verifier_sealed"))
        audit.record(session, principal.actor, "authorization.started", connection.target, in_popup=in_popup)
        return StartedAttempt(attempt.public_id, browser)


def authorize_address(runtime: Runtime, principal: Principal, public_id: str, browser_token: str) -> str:
    """Return GitLab's authorize address for an attempt that has not been used yet.

    Raises:
        NotFound: the attempt is another person's, another browser's, used or over.
    """
    with runtime.database.reading() as session:
        attempt = get_own_attempt(session, principal, public_id)
    if attempt.outcome != AttemptState.STARTED or is_over(attempt) or not _same_browser(attempt, browser_token):
        raise NotFound("This authorization has expired. Start it again from the connection's page.")
    snapshot = attempt.snapshot
    verifier = open_verifier(runtime, attempt)
    return oauth.authorize_url(
        browser_url=snapshot["browser_url"],
        client_id=snapshot["client_id"],
        redirect_uri=snapshot["redirect_uri"],
        scopes=snapshot["scopes"],
        state=runtime.vault.open(attempt.state_sealed or b"", _place(attempt, "state_sealed")).reveal(),
        code_challenge=oauth.challenge_of(verifier),
    )


def take_snapshot(runtime: Runtime, connection: Connection, application: Application) -> dict[str, Any]:
    """Return what the attempt is checked against, whatever happens to the connection; `names_issuer`: RFC 9207 §3."""
    return {
        "browser_url": connection.external_url,
        "api_url": connection.api_url,
        "client_id": application.client_id,
        "redirect_uri": redirect_uri_of(runtime, connection),
        "scopes": wanted_scopes(connection),
        "service_username": connection.service_username,
        "names_issuer": announces_issuer(connection),
        "issuer": announced_issuer(connection),
    }


def refusal_of_issuer(snapshot: dict[str, Any], issuer: str | None) -> Card | None:
    """Judge the `iss` of a callback, character by character (RFC 9207 §2.4).

    Args:
        snapshot: what `take_snapshot` returned.
        issuer: as it came, None if none did.

    Returns:
        What a person reads when the answer must not be used; None if it may.
    """
    if issuer is None:
        # Few GitLabs name themselves; for the others, the connection's own redirect URI takes that role.
        return Card("issuer_missing") if snapshot.get("names_issuer") else None
    # What GitLab announced counts, however it spells its address: `http` behind a proxy that ends TLS, or with a port.
    expected = snapshot.get("issuer") or snapshot["browser_url"]
    return None if issuer == expected else Card("issuer_wrong")


def find_by_state(session: Session, state: str) -> AuthorizationAttempt | None:
    """Return the attempt a callback belongs to; None for a state we never issued."""
    return session.exec(select(AuthorizationAttempt).where(AuthorizationAttempt.state_hash == _digest(state))).first()


def claim_attempt(
    runtime: Runtime, principal: Principal, slug: str, state: str, browser_token: str, issuer: str | None
) -> AuthorizationAttempt | None:
    """Claim the attempt a callback belongs to, so that its code is exchanged once in the whole cluster.

    Returns:
        The attempt, now claimed; None if it was claimed before, by a double click or a reload.

    Raises:
        BadRequest: unknown, another browser's, another person's or expired; nothing is spent. Or from another issuer,
            or from none although GitLab announces that it names itself: the attempt has failed.
        Conflict: the connection was edited since the start; the attempt is void.
        RightLost: the person may no longer manage connections; the attempt has failed.
    """
    with runtime.database.transaction() as session:
        attempt = find_by_state(session, state)
        connection = session.get(Connection, attempt.connection_id) if attempt else None
        if attempt is None or connection is None or connection.slug != slug:
            raise BadRequest("This authorization is not known here. Start it again from the connection's page.")
        # A finished attempt's cookie is gone; who reloads the callback only sees how their own attempt ended.
        if attempt.finished_at and attempt.user_id == principal.user_id:
            return None
        refusal: PortalError | None = None
        if not _same_browser(attempt, browser_token):
            sentence = "This authorization was started in another browser. Start it again in this one."
            refusal = BadRequest(sentence, code="other_browser")
        elif attempt.user_id != principal.user_id:
            sentence = "This authorization was started by someone else. Start it again yourself."
            refusal = BadRequest(sentence, code="other_person")
        elif attempt.outcome == AttemptState.STARTED and is_over(attempt):
            sentence = f"This authorization is older than {ATTEMPT_MINUTES} minutes. Start it again."
            refusal = BadRequest(sentence, code="attempt_too_old")
        else:
            is_unclaimed = (
                col(AuthorizationAttempt.id) == attempt.id,
                col(AuthorizationAttempt.claimed_at).is_(None),
                col(AuthorizationAttempt.outcome) == AttemptState.STARTED,
            )
            claim = update(AuthorizationAttempt).where(*is_unclaimed)
            result = session.execute(claim.values(claimed_at=utc_now(), outcome=AttemptState.CLAIMED))
            assert isinstance(result, CursorResult)
            session.refresh(attempt)
            if result.rowcount != 1:
                return None
            refusal = _end_when_refused(session, principal, attempt, connection, issuer)
        if refusal is not None:
            # A hand-over link is used by the person who has its cookies; without them this may be anyone.
            is_anyone = principal.acted_by and refusal.code == "other_browser"
            record_end(session, connection, None if is_anyone else principal, "authorization.refused", refusal.code)
    if refusal is not None:
        raise refusal
    return attempt


def finish_attempt(
    session: Session, attempt_id: int, outcome: AttemptState, *, card: Card | None = None, **details: Any
) -> AuthorizationAttempt:
    """Write how an attempt ended; its verifier and state are erased."""
    attempt = session.get_one(AuthorizationAttempt, attempt_id)
    attempt.card = card.to_json() if card else None
    attempt.details = {**attempt.details, **details}
    _finish_row(attempt, outcome)
    return attempt


def record_end(
    session: Session,
    connection: Connection,
    principal: Principal | None,
    action: str,
    code: str,
    **details: Any,
) -> None:
    """Record that an authorization did not succeed: `authorization.refused` by a rule or by a person, else
    `authorization.failed`.

    `principal` is whoever came back from GitLab; None if no one is signed in. A person from another organization is
    not named to this one.
    """
    is_known = principal is not None and principal.organization_id == connection.organization_id
    result = "refused" if action == "authorization.refused" else "failed"
    actor = principal.actor if principal and is_known else ANONYMOUS
    audit.record(session, actor, action, connection.target, result=result, code=code, **details)


def abandon_by_state(runtime: Runtime, state: str, browser_tokens: dict[str, str]) -> None:
    """End an attempt whose person is no longer signed in, if this is the browser it was started in."""
    with runtime.database.transaction() as session:
        attempt = find_by_state(session, state)
        if attempt is None or attempt.outcome != AttemptState.STARTED:
            return
        is_same = _same_browser(attempt, browser_tokens.get(attempt.public_id, ""))
        if is_same:
            _finish_row(attempt, AttemptState.ABANDONED)
        connection = session.get_one(Connection, attempt.connection_id)
        code = "session_ended" if is_same else "other_browser"
        record_end(session, connection, None, "authorization.refused", code)


def latest_attempt(session: Session, principal: Principal, connection_id: int) -> AuthorizationAttempt | None:
    """Return this person's newest attempt for a connection; someone who acts for them only has their own."""
    statement = select(AuthorizationAttempt).where(
        AuthorizationAttempt.connection_id == connection_id, AuthorizationAttempt.user_id == principal.user_id
    )
    if principal.acted_by:
        acted_by = col(AuthorizationAttempt.details)["acted_by"]["id"].as_string()
        statement = statement.where(acted_by == principal.acted_by.id)
    return session.exec(statement.order_by(col(AuthorizationAttempt.id).desc()).limit(1)).first()


def find_stand_in(session: Session, attempt: AuthorizationAttempt) -> Principal | None:
    """Return the rights with which someone without an account started an attempt; None if a member started it."""
    kept = attempt.details.get("acted_by")
    if not kept:
        return None
    connection = session.get_one(Connection, attempt.connection_id)
    principal = load_principal(session, attempt.user_id, connection.organization_id)
    actor = Actor(ActorKind(kept["kind"]), kept["id"], kept["name"])
    return replace(principal, acted_by=actor) if principal else None


def get_own_attempt(session: Session, principal: Principal, public_id: str) -> AuthorizationAttempt:
    """Return one of this person's attempts.

    Raises:
        NotFound: it does not exist or is another person's.
    """
    attempt = session.exec(
        select(AuthorizationAttempt).where(
            AuthorizationAttempt.public_id == public_id, AuthorizationAttempt.user_id == principal.user_id
        )
    ).first()
    if attempt is None:
        raise NotFound
    return attempt


def may_authorize(session: Session, principal: Principal, connection: Connection) -> bool:
    """Read again whether the person coming back from GitLab may still authorize this connection."""
    try:
        now = require_right_now(session, principal, Right.MANAGE_CONNECTIONS)
    except RightLost:
        return False
    return now.organization_id == connection.organization_id


def open_verifier(runtime: Runtime, attempt: AuthorizationAttempt) -> Secret:
    """Return the PKCE verifier of an attempt (RFC 7636 §4.1)."""
    return runtime.vault.open(attempt.verifier_sealed or b"", _place(attempt, "verifier_sealed"))


def is_over(attempt: AuthorizationAttempt, now: datetime | None = None) -> bool:
    """Return whether the ten minutes are over."""
    return attempt.expires_at <= (now or utc_now())


def is_interrupted(attempt: AuthorizationAttempt) -> bool:
    """Return whether the process that exchanged the code is gone: GitLab may have given it a pair."""
    end = utc_now() - timedelta(minutes=CLAIM_MINUTES)
    return attempt.outcome == AttemptState.CLAIMED and attempt.claimed_at is not None and attempt.claimed_at < end


def interruption_card(attempt: AuthorizationAttempt) -> Card:
    """Return what such an attempt says: whether the pair that GitLab may have issued is on record here."""
    is_known = attempt.details.get("retired_token_id") is not None
    return Card("authorization_interrupted") if is_known else lost_card()


def lost_card(told: Card | None = None) -> Card:
    """Return the card of an exchange of which GitLab may have given a pair that never arrived here.

    `told` is what came instead; None if the process that asked is gone.
    """
    if told is None:
        return Card("exchange_lost", {"case": "interrupted"})
    return Card("exchange_lost", words=told.words, request_id=told.request_id, because=told)


def right_lost() -> RightLost:
    """Return what such a person reads themselves."""
    sentence = (
        "You no longer have the right to authorize this connection. Nothing was stored; "
        "an owner or administrator of your organization can do it."
    )
    return RightLost(Right.MANAGE_CONNECTIONS, sentence)


def id_of(row: AuthorizationAttempt | Connection | Credential) -> int:
    """Return the id of a stored row."""
    assert row.id is not None  # Set by the database once the row is flushed.
    return row.id


def forget_attempts(context: JobContext) -> None:
    """Delete attempts that began more than 30 days ago."""
    old = select(AuthorizationAttempt.id).where(col(AuthorizationAttempt.created_at) < utc_now() - KEEP_ATTEMPTS)
    context.progress(context.runtime.database.delete_in_batches(AuthorizationAttempt, old, context.raise_if_stopped))


def _end_when_refused(
    session: Session, principal: Principal, attempt: AuthorizationAttempt, connection: Connection, issuer: str | None
) -> PortalError | None:
    """End a claimed attempt whose answer must not be used, and return the error that says so."""
    if not may_authorize(session, principal, connection):
        finish_attempt(session, id_of(attempt), AttemptState.FAILED, card=Card("right_lost"))
        return right_lost()
    if attempt.row_version != connection.row_version:
        _finish_row(attempt, AttemptState.ABANDONED)
        sentence = "The connection was changed while you were in GitLab. Nothing was stored; authorize again."
        return Conflict(sentence, code="connection_changed")
    if card := refusal_of_issuer(attempt.snapshot, issuer):
        finish_attempt(session, id_of(attempt), AttemptState.FAILED, card=card)
        told = card.at(Surface.AUTHORIZE)
        return BadRequest(f"{told.sentence} {told.remedy}", code=card.code)
    return None


def _finish_row(attempt: AuthorizationAttempt, outcome: AttemptState) -> None:
    attempt.outcome = outcome
    attempt.finished_at = utc_now()
    attempt.state_sealed = attempt.verifier_sealed = None


def _end_interrupted(session: Session, principal: Principal, connection: Connection) -> None:
    claimed = select(AuthorizationAttempt).where(
        AuthorizationAttempt.connection_id == connection.id,
        AuthorizationAttempt.user_id == principal.user_id,
        AuthorizationAttempt.outcome == AttemptState.CLAIMED,
    )
    for attempt in session.exec(claimed):
        if is_interrupted(attempt):
            card = interruption_card(attempt)
            finish_attempt(session, id_of(attempt), AttemptState.FAILED, card=card)
            record_end(session, connection, principal, "authorization.failed", card.code)


def _application_of(session: Session, connection: Connection) -> Application:
    application = application_of(session, connection.id)
    if application is None or application.client_secret_sealed is None:
        raise Conflict("Enter the Application ID and Secret first, then authorize.")
    return application


def _same_browser(attempt: AuthorizationAttempt, browser_token: str) -> bool:
    return secrets.compare_digest(attempt.browser_hash, _digest(browser_token))


def _place(attempt: AuthorizationAttempt, column: str) -> Place:
    return Place(TABLE, id_of(attempt), column)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
