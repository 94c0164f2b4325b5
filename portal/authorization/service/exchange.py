"""From an authorization code to a stored credential: exchange, judge, keep or throw away.

Intent, call, outcome: the attempt is claimed in one transaction, GitLab is called without any, and the outcome is
written in another. A code can be exchanged once, so nothing here is ever retried (gitlab-contract T1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from portal import audit
from portal.accounts.principal import Principal, RightLost
from portal.authorization.models import AttemptState, AuthorizationAttempt
from portal.authorization.person import SENTENCES, Doubt, Person, judge
from portal.authorization.service import attempts
from portal.authorization.service.credentials import ConnectionChanged, keep_credential
from portal.connections.models import Connection
from portal.connections.service.applications import open_client_credentials
from portal.connections.service.instance import open_line
from portal.crash_points import crash_point
from portal.db import utc_now
from portal.errors import Card, CardAction, Layer, Mender
from portal.gitlab import links, oauth
from portal.gitlab.client import GitLabClient
from portal.gitlab.errors import GitLabError, OAuthRefused
from portal.logs import get_logger
from portal.net import Line, OutboundError
from portal.runtime import Runtime
from portal.vault import Secret

log = get_logger(__name__)
DENIED = "access_denied"
# Somebody or a rule said no; every other end is a failure.
REFUSED = frozenset(
    {AttemptState.WRONG_PERSON, AttemptState.DENIED, "scopes_missing", "connection_changed", "right_lost"}
)
REVOKE_TRIES = 3


@dataclass(frozen=True)
class Granted:
    """What GitLab gave and to whom: everything that is judged before anything is stored.

    `sent_at` is our clock when the token request left; expiry counts from it (S44).
    """

    tokens: oauth.TokenAnswer
    person: Person
    sent_at: datetime


def take_refusal(
    runtime: Runtime, principal: Principal, attempt: AuthorizationAttempt, error: str, description: str
) -> None:
    """End an attempt that GitLab answered with an error instead of a code (RFC 6749 §4.1.2.1)."""
    if error == DENIED:
        _end(runtime, principal, attempt, AttemptState.DENIED, _denied_card(attempt))
    else:
        _end(runtime, principal, attempt, AttemptState.FAILED, OAuthRefused(error, description).card())


def take_code(runtime: Runtime, principal: Principal, attempt: AuthorizationAttempt, code: str) -> None:
    """Exchange the code, judge who authorized, and end the attempt one way or the other.

    Never raises for what GitLab does: the outcome is on the attempt, for the page that polls it.
    """
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, attempt.connection_id)
    try:
        with open_line(runtime, connection) as line:
            _exchange_and_judge(runtime, principal, attempt, connection, line, code)
    except (GitLabError, OutboundError) as error:
        log.info("authorization_failed", connection_id=connection.id, error_code=error.code)
        _end(runtime, principal, attempt, AttemptState.FAILED, error.card())


def _exchange_and_judge(
    runtime: Runtime,
    principal: Principal,
    attempt: AuthorizationAttempt,
    connection: Connection,
    line: Line,
    code: str,
) -> None:
    application = open_client_credentials(runtime, connection)
    crash_point("authorize:claimed")
    sent_at = utc_now()
    tokens = oauth.exchange_code(
        line, application, code, attempt.frozen["redirect_uri"], attempts.open_verifier(runtime, attempt)
    )
    crash_point("authorize:exchanged")
    try:
        granted = Granted(tokens, Person.from_user(GitLabClient(line, tokens.access_token).current_user()), sent_at)
    except (GitLabError, OutboundError):
        _revoke(line, application, tokens.access_token)
        raise
    crash_point("authorize:judged")
    doubts = judge(granted.person, attempt.frozen["service_username"])
    missing = sorted(set(attempt.frozen["scopes"]) - set(tokens.scopes))
    if doubts or missing:
        revoked = _revoke(line, application, tokens.access_token)
        _refuse(runtime, principal, attempt, connection, granted, doubts, missing, revoked=revoked)
    else:
        _keep(runtime, principal, attempt, line, application, granted)


def _keep(
    runtime: Runtime,
    principal: Principal,
    attempt: AuthorizationAttempt,
    line: Line,
    application: oauth.ClientCredentials,
    granted: Granted,
) -> None:
    try:
        keep_credential(runtime, principal, attempt, granted.tokens, granted.person, expires_at(granted))
    except ConnectionChanged:
        revoked = _revoke(line, application, granted.tokens.access_token)
        _end(runtime, principal, attempt, AttemptState.FAILED, _changed_card(), revoked=revoked)
    except RightLost:
        revoked = _revoke(line, application, granted.tokens.access_token)
        _end(runtime, principal, attempt, AttemptState.FAILED, attempts.right_lost_card(), revoked=revoked)
        raise attempts.right_lost() from None
    except Exception:
        # Whatever kept it from being stored (a database that is locked or gone): nobody knows the pair but us.
        _revoke(line, application, granted.tokens.access_token)
        raise
    crash_point("authorize:stored")


def expires_at(granted: Granted) -> datetime | None:
    """Return when the access token ends by our clock; None when GitLab names no lifetime (before 15.0)."""
    seconds = granted.tokens.expires_in
    return None if seconds is None else (granted.sent_at + timedelta(seconds=seconds)).astimezone(UTC)


def _end(
    runtime: Runtime,
    principal: Principal,
    attempt: AuthorizationAttempt,
    outcome: AttemptState,
    card: Card,
    **details: Any,
) -> None:
    """End an attempt that stored nothing, for the person who waits and for the audit log."""
    action = "authorization.refused" if outcome in REFUSED or card.code in REFUSED else "authorization.failed"
    told = {name: audit.Foreign(details[name]) for name in ("actual",) if name in details}
    told |= {name: details[name] for name in ("expected", "doubts") if name in details}
    with runtime.database.transaction() as session:
        attempts.finish_attempt(session, attempts.id_of(attempt), outcome, card=card, **details)
        connection = session.get_one(Connection, attempt.connection_id)
        attempts.record_end(session, connection, principal, action, card.code, **told)


def _refuse(
    runtime: Runtime,
    principal: Principal,
    attempt: AuthorizationAttempt,
    connection: Connection,
    granted: Granted,
    doubts: tuple[Doubt, ...],
    missing: list[str],
    *,
    revoked: bool,
) -> None:
    outcome = AttemptState.WRONG_PERSON if doubts else AttemptState.FAILED
    card = _wrong_person_card(doubts) if doubts else _missing_scopes_card(connection, missing)
    _end(
        runtime,
        principal,
        attempt,
        outcome,
        card,
        expected=attempt.frozen["service_username"],
        actual=granted.person.username,
        actual_name=granted.person.name,
        doubts=[str(doubt) for doubt in doubts],
        revoked=revoked,
    )


def _revoke(line: Line, application: oauth.ClientCredentials, token: Secret) -> bool:
    """Revoke a token that must not stay; revoking twice is harmless, so it may be retried."""
    for _ in range(REVOKE_TRIES):
        try:
            oauth.revoke(line, application, token)
        except (GitLabError, OutboundError) as error:
            log.warning("revoke_failed", error_code=error.code)
        else:
            return True
    return False


def _wrong_person_card(doubts: tuple[Doubt, ...]) -> Card:
    return Card(
        code=f"wrong_person_{doubts[0]}",
        layer=Layer.OAUTH,
        sentence=" ".join(SENTENCES[doubt] for doubt in doubts),
        remedy="Sign in to GitLab as the service user, or impersonate it, then authorize again.",
        mender=Mender.YOU,
    )


def _missing_scopes_card(connection: Connection, missing: list[str]) -> Card:
    names = ", ".join(missing)
    return Card(
        code="scopes_missing",
        layer=Layer.SCOPE,
        sentence=f"GitLab granted less than was asked for. Missing: {names}.",
        remedy=f"Tick {names} in the application's scopes in GitLab, save, then authorize again.",
        mender=Mender.GITLAB_ADMIN,
        actions=(
            CardAction("Open the applications in GitLab", links.applications(connection.external_url), external=True),
        ),
    )


def _changed_card() -> Card:
    return Card(
        code="connection_changed",
        layer=Layer.PORTAL,
        sentence="The connection was changed or disconnected while you were in GitLab. Nothing was stored.",
        remedy="Authorize again if it is still wanted.",
        mender=Mender.YOU,
    )


def _denied_card(attempt: AuthorizationAttempt) -> Card:
    return Card(
        code="authorization_denied",
        layer=Layer.OAUTH,
        sentence="The authorization was denied in GitLab.",
        remedy=f"Press Authorize on GitLab's page as @{attempt.frozen['service_username']}. Nothing was stored.",
        mender=Mender.YOU,
    )
