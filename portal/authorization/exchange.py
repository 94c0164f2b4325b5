"""From an authorization code to a stored credential: exchange, put on record, check, then keep or revoke.

Intent, call, outcome: the attempt is claimed in one transaction, GitLab is called without any, and the outcome is
written in another. A code can be exchanged once, so nothing here is ever retried; and a pair that GitLab issued is on
record, sealed, before anything about it is checked, so that none stays alive there without a record.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlmodel import select

from portal import audit
from portal.actor import Principal, RightLost
from portal.authorization import attempts
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections.models import Connection
from portal.connections.store import mark_authorized, open_client_credentials, open_host_session
from portal.crash_points import crash_point
from portal.credentials.revocation import hold_pair, let_go, revoke_one, revoker_for, take_held
from portal.credentials.store import TIMES, Granted, Spool, Spooled, lock_credential, recover, replace_pair
from portal.db import utc_now
from portal.errors import Card, Conflict, InvalidInput
from portal.gitlab import oauth
from portal.gitlab.answers import GitLabError, GitLabRateLimited, InsufficientScope, OAuthRefused, Unauthorized, User
from portal.gitlab.client import GitLabClient
from portal.gitlab.identification import missing_scopes
from portal.logs import get_logger
from portal.net import HostSession, OutboundError, origin_of
from portal.runtime import Runtime
from portal.shutdown import ShuttingDown
from portal.vault import Secret

log = get_logger(__name__)
DENIED = "access_denied"
# A person or a rule refused; every other outcome is a failure.
REFUSED = frozenset(
    {AttemptState.WRONG_PERSON, AttemptState.DENIED, "scopes_missing", "connection_changed", "right_lost"}
)
# GitLab may not know a token that it gave a moment ago, where a database replica is asked (gitlab-org/gitlab!257390).
PAUSES_BETWEEN_LOOKS = (1.0, 2.0)
REVOKE_TRIES = 3


class Doubt(StrEnum):
    """Why a GitLab user may not become the connection's service user."""

    OTHER_USER = "other_user"
    ADMINISTRATOR = "administrator"
    BLOCKED = "blocked"
    EXTERNAL = "external"


TITLES = {
    Doubt.OTHER_USER: "That was someone else",
    Doubt.ADMINISTRATOR: "This user is an administrator",
    Doubt.BLOCKED: "This user is not active",
    Doubt.EXTERNAL: "This user is external",
}


@dataclass(eq=False)
class _Refused(Exception):
    """Why a pair is not kept, for the person who waits; the details name who authorized, if GitLab said so."""

    outcome: AttemptState
    card: Card
    details: dict[str, Any] = field(default_factory=dict)


def take_refusal(
    runtime: Runtime, principal: Principal, attempt: AuthorizationAttempt, error: str, description: str
) -> None:
    """End an attempt that GitLab answered with an error instead of a code (RFC 6749 §4.1.2.1)."""
    told = {"username": attempt.snapshot["service_username"]}
    if error == DENIED:
        _end(runtime, principal, attempt, AttemptState.DENIED, Card("authorization_denied", told))
    else:
        _end(runtime, principal, attempt, AttemptState.FAILED, OAuthRefused(error, description).card())


def take_code(runtime: Runtime, principal: Principal, attempt: AuthorizationAttempt, code: str) -> None:
    """Exchange the code, judge who authorized, and end the attempt one way or the other.

    What GitLab does is not an error here: the attempt holds the outcome, for the page that polls it.

    Raises:
        RightLost: the person may not authorize it any more; the attempt has ended, too.
    """
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, attempt.connection_id)
    try:
        application = open_client_credentials(runtime, connection)
        with runtime.shutdown.finishing(), open_host_session(runtime, connection) as http:
            crash_point("authorize:claimed")
            sent_at, verifier = utc_now(), attempts.open_verifier(runtime, attempt)
            tokens = oauth.exchange_code(http, application, code, attempt.snapshot["redirect_uri"], verifier)
            crash_point("authorize:exchanged")
            held = _hold(runtime, connection, attempt, http, application, tokens, sent_at)
            crash_point("authorize:held")
            try:
                granted = _judge(http, attempt, connection, tokens, sent_at)
                crash_point("authorize:judged")
                _keep(runtime, principal, attempt, application, granted, held)
                crash_point("authorize:stored")
            except _Refused as refused:
                _end(runtime, principal, attempt, refused.outcome, refused.card, held=held, **refused.details)
                try:
                    revoke_one(runtime, held)
                except Exception as error:  # The row is there: a job continues with it.
                    log.warning("revocation_deferred", error=type(error).__name__)
                if refused.card.code == "right_lost":
                    raise attempts.right_lost() from None
    except ShuttingDown:
        _end(runtime, principal, attempt, AttemptState.FAILED, Card("portal_stopping"))
    except (Conflict, InvalidInput):
        _end(runtime, principal, attempt, AttemptState.FAILED, Card("secret_unreadable", {"case": "exchange"}))
    except (GitLabError, OutboundError) as error:
        log.info("authorization_failed", connection_id=connection.id, error_code=error.code)
        # GitLab applies its rate limit before it does anything.
        is_lost = oauth.may_have_issued(error) and not isinstance(error, GitLabRateLimited)
        card = attempts.lost_card(error.card()) if is_lost else error.card()
        _end(runtime, principal, attempt, AttemptState.FAILED, card)


def _hold(
    runtime: Runtime,
    connection: Connection,
    attempt: AuthorizationAttempt,
    http: HostSession,
    application: oauth.ClientCredentials,
    tokens: oauth.TokenAnswer,
    sent_at: datetime,
) -> int:
    """Put a new pair on record. If the database cannot store it, revoke it now, or leave it to whoever finds the spool.

    Raises:
        Exception: the database's.
    """
    origin, expected = origin_of(attempt.snapshot["api_url"]), attempt.snapshot["service_username"]
    revoker = revoker_for(connection, origin, expected, application)
    try:
        with runtime.database.transaction() as session:
            held = hold_pair(session, runtime, revoker, tokens)
            stored = session.get_one(AuthorizationAttempt, attempt.id)
            stored.details = {**stored.details, "retired_token_id": held}
            return held
    except Exception as error:
        log.error("pair_not_held", connection_id=connection.id, error=type(error).__name__)
        # With no credential and no generation, so that it is never mistaken for a pair to store.
        entry = Spooled(0, -1, attempt.public_id, "", tokens, sent_at, revoker)
        with suppress(OSError):
            Spool(runtime).reserve(entry.credential_id, entry.intent_id)
            Spool(runtime).keep(entry)
        for _ in range(REVOKE_TRIES):
            with suppress(GitLabError, OutboundError):
                oauth.revoke(http, application, tokens.stands_for_both)
                break
        raise


def _judge(
    http: HostSession,
    attempt: AuthorizationAttempt,
    connection: Connection,
    tokens: oauth.TokenAnswer,
    sent_at: datetime,
) -> Granted:
    """Return what may be kept.

    Raises:
        _Refused: nothing may be kept.
    """
    if tokens.access_token is None:
        raise _Refused(AttemptState.FAILED, Card("no_access_token"))
    if not tokens.is_bearer:
        raise _Refused(AttemptState.FAILED, Card("no_bearer_token"))
    try:
        user = _ask_who(http, tokens.access_token)
    except Unauthorized as error:
        told = Card("fresh_token_refused", words=error.words, request_id=error.request_id)
        raise _Refused(AttemptState.FAILED, told if error.reason == "unknown" else error.card()) from None
    except InsufficientScope as error:
        told = error.card()
        if error.scopes and not set(error.scopes) & set(attempt.snapshot["scopes"]):
            # Ticking a scope in GitLab does not help unless Gatehouse asks for it (before 9.4, `api` only).
            told = replace(told, params={**told.params, "case": "not_asked"})
        raise _Refused(AttemptState.FAILED, told) from None
    except (GitLabError, OutboundError) as error:
        log.info("authorization_failed", connection_id=connection.id, error_code=error.code)
        raise _Refused(AttemptState.FAILED, error.card()) from None
    # RFC 6749 §5.1: scopes that are not named are those that were asked for. GitLab can say it more precisely.
    scopes = tuple(attempt.snapshot["scopes"]) if tokens.scopes is None else tokens.scopes
    seconds = tokens.expires_in
    if tokens.scopes is None or seconds is None:
        with suppress(GitLabError, OutboundError):
            info = oauth.token_info(http, tokens.access_token)
            scopes = tuple(info.scope) if tokens.scopes is None else scopes
            seconds = seconds or info.expires_in
    # GitLab shows no consent page for a trusted application, so an administrator who forgets to switch user is
    # connected as themself without noticing. The most important reason comes first, but all of them are named.
    reasons = {
        Doubt.OTHER_USER: user.username.casefold() != attempt.snapshot["service_username"].casefold(),
        Doubt.ADMINISTRATOR: user.is_admin,
        Doubt.BLOCKED: user.state not in {"", "active"},
        Doubt.EXTERNAL: user.external,
    }
    doubts = [str(doubt) for doubt, holds in reasons.items() if holds]
    expected = attempt.snapshot["service_username"]
    details = {"expected": expected, "actual": user.username, "actual_name": user.name, "doubts": doubts}
    if doubts:
        card = Card(f"wrong_person_{doubts[0]}", {"also": [f"wrong_person_{doubt}" for doubt in doubts[1:]]})
        raise _Refused(AttemptState.WRONG_PERSON, card, details)
    if missing := missing_scopes(scopes, attempt.snapshot["scopes"]):
        raise _Refused(AttemptState.FAILED, Card("scopes_missing", {"scopes": ", ".join(missing)}), details)
    expires_at = None if not seconds else (sent_at + timedelta(seconds=seconds)).astimezone(UTC)
    return Granted(tokens.access_token, tokens.refresh_token, user.id, user.username, user.name, scopes, expires_at)


def _ask_who(http: HostSession, access_token: Secret) -> User:
    """Ask GitLab whose the token is: three times over a few seconds while it refuses it without a reason."""
    for pause in (*PAUSES_BETWEEN_LOOKS, None):
        try:
            return GitLabClient(http, access_token).current_user()
        except Unauthorized as error:
            if error.reason != "unknown" or pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")


def _keep(
    runtime: Runtime,
    principal: Principal,
    attempt: AuthorizationAttempt,
    application: oauth.ClientCredentials,
    granted: Granted,
    held: int,
) -> None:
    """Store the pair, connect the connection, and notify the capabilities that wait for that, all in one transaction.

    `held` is the row under which the pair is on record until then; it goes in the same transaction.

    Raises:
        _Refused: nothing is stored; the pair has to be revoked.
    """
    recover(runtime, attempt.connection_id, TIMES)
    with runtime.database.transaction() as session:
        # In this order, as every refresh and a disconnection do.
        lock_credential(session, attempt.connection_id)
        statement = select(Connection).where(Connection.id == attempt.connection_id).with_for_update()
        connection = session.exec(statement).first()
        if connection is None or connection.row_version != attempt.row_version:
            raise _Refused(AttemptState.FAILED, Card("connection_changed"))  # S21
        if not attempts.may_authorize(session, principal, connection):
            raise _Refused(AttemptState.FAILED, Card("right_lost"))
        if not take_held(session, held):
            # It took so long that the pair is already being revoked.
            raise _Refused(AttemptState.FAILED, Card("connection_changed"))
        credential = replace_pair(session, runtime, principal.actor, connection, granted, application)
        mark_authorized(session, connection)
        attempts.finish_attempt(session, attempts.id_of(attempt), AttemptState.SUCCEEDED, actual=granted.username)
        audit.record(
            session,
            principal.actor,
            "connection.authorized",
            connection.target,
            gitlab_username=audit.Foreign(granted.username),
            gitlab_user_id=granted.gitlab_user_id,
            scopes=credential.scopes,
            generation=credential.generation,
        )
        try:
            for tell in runtime.capabilities.on_connected:
                tell(session, connection, principal.actor)
        except RightLost:
            raise _Refused(AttemptState.FAILED, Card("right_lost")) from None


def _end(
    runtime: Runtime,
    principal: Principal,
    attempt: AuthorizationAttempt,
    outcome: AttemptState,
    card: Card,
    *,
    held: int | None = None,
    **details: Any,
) -> None:
    """End an attempt that stored nothing: for the person who waits, the audit log, and the pair if there is one."""
    action = "authorization.refused" if outcome in REFUSED or card.code in REFUSED else "authorization.failed"
    told: dict[str, Any] = {name: details[name] for name in ("expected", "doubts") if name in details}
    if "actual" in details:
        told["actual"] = audit.Foreign(details["actual"])
    with runtime.database.transaction() as session:
        attempts.finish_attempt(session, attempts.id_of(attempt), outcome, card=card, **details)
        connection = session.get_one(Connection, attempt.connection_id)
        attempts.record_end(session, connection, principal, action, card.code, **told)
        if held is not None:
            let_go(session, held, details.get("actual") or attempt.snapshot["service_username"])
