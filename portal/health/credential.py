"""The checks of a credential: how it is stored, whether GitLab accepts it, whose it is, and what it may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from portal.connections.applications import wanted_scopes
from portal.connections.checklist import Check
from portal.connections.models import Connection
from portal.credentials import AccessSource, AccessUnavailable
from portal.credentials.cards import APPLICATION_GONE, DOUBTS
from portal.credentials.cards import VERDICTS as STORED_VERDICTS
from portal.credentials.models import Credential, CredentialState
from portal.credentials.rows import get_credential
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab.client import GitLabClient
from portal.gitlab.errors import GitLabError
from portal.gitlab.payloads import User
from portal.gitlab.scopes import missing_scopes
from portal.health.directions import failed, passed, skipped, warned
from portal.health.findings import COVERED, classify
from portal.net import OutboundError
from portal.runtime import Runtime

REASON = "health check"
WARN_DAYS = 14
_REST = ("token", "user", "scopes")
KEPT = "GitLab has not answered; the credential is kept as it is."


def stored_checks(runtime: Runtime, connection: Connection) -> list[Check]:
    """Return what is known about the credential without asking GitLab."""
    stored = _load(runtime, connection)
    if stored is None:
        return [skipped(key) for key in ("credential", *_REST)]
    verdict = _stored_verdict(stored)
    first = failed("credential", verdict) if verdict else passed("credential", KEPT)
    return [
        first,
        skipped("token", "Not asked: GitLab cannot be reached."),
        skipped("user"),
        _scopes(stored, connection),
    ]


def demand(runtime: Runtime, connection: Connection) -> tuple[AccessSource | None, list[Check]]:
    """Get a valid token, renewing it if due; None, with every check, if there is none."""
    stored = _load(runtime, connection)
    if stored is None:
        return None, [skipped("credential", "No one has authorized it yet."), *map(skipped, _REST)]
    assert connection.id is not None
    access = AccessSource(runtime, connection.id, REASON)
    try:
        access.token()
    except AccessUnavailable as error:
        return None, [_unavailable(error), skipped("token"), skipped("user"), _scopes(stored, connection)]
    stored = _load(runtime, connection) or stored  # It may have been renewed just now.
    return access, [_served(stored), _scopes(stored, connection)]


def ask_user(runtime: Runtime, connection: Connection, client: GitLabClient) -> list[Check]:
    """Ask GitLab who the token acts as."""
    try:
        user = client.current_user()
    except AccessUnavailable as error:
        # The outcome of the refresh that a 401 led to.
        return [_unavailable(error), skipped("token"), skipped("user")]
    except (GitLabError, OutboundError) as error:
        return [failed("token", error.card()), skipped("user")]
    stored = _load(runtime, connection)
    return [passed("token"), _user_check(connection, stored, user)] if stored else []


def work_check(connection: Connection) -> Check:
    """Return what jobs reported and no check here repeats; the checks themselves judge the rest."""
    if not connection.attention:
        return passed("work")
    card = Card.from_json(connection.attention)
    return (
        passed("work") if card.code in COVERED or classify("work", card).check_key != "work" else failed("work", card)
    )


def _load(runtime: Runtime, connection: Connection) -> Credential | None:
    with runtime.database.reading() as session:
        return get_credential(session, connection.id or 0)


def _stored_verdict(stored: Credential) -> Card | None:
    if stored.state == CredentialState.ALIVE:
        return None
    verdict = STORED_VERDICTS[stored.state]
    failure = Card.from_json(stored.failure) if stored.failure else verdict
    # The same with GitLab's own words and request id, if it was GitLab that said so.
    return failure if failure.code in {verdict.code, APPLICATION_GONE.code} else verdict


def _unavailable(error: AccessUnavailable) -> Check:
    # A doubt is shown here and alarms no one: it passes, or a verdict follows within minutes.
    if error.card.code in DOUBTS:
        return warned("credential", error.card.sentence)
    return failed("credential", error.card)


def _served(stored: Credential) -> Check:
    """Return what is known about a credential whose access token is in use."""
    if verdict := _stored_verdict(stored):
        return failed("credential", verdict)
    if stored.refresh_token_sealed is None and stored.expires_at is not None:
        return _ending(stored.expires_at)
    if stored.failure:
        why = Card.from_json(stored.failure).sentence
        until = f" The token works until {_time(stored.expires_at)}." if stored.expires_at else ""
        return warned("credential", f"The last renewal failed: {why}{until}")
    if stored.refresh_at is None:
        return passed("credential", "It does not expire.")
    since = f"Renewed {_time(stored.refreshed_at)}; " if stored.refreshed_at else ""
    return passed("credential", f"{since}renewed again by {_time(stored.refresh_at)}.")


def _ending(expires_at: datetime) -> Check:
    detail = f"It ends on {_time(expires_at)} and cannot be renewed."
    if expires_at - utc_now() > timedelta(days=WARN_DAYS):
        return passed("credential", detail)
    card = Card("credential_expires", {"at": _time(expires_at)})
    return warned("credential", detail, card)


def _user_check(connection: Connection, stored: Credential, user: User) -> Check:
    is_same = user.id == stored.gitlab_user_id
    expected = connection.service_username.casefold()
    if is_same and expected == user.username.casefold():
        return passed("user", f"@{user.username}")
    if is_same and expected == stored.gitlab_username.casefold():
        return warned("user", f"@{stored.gitlab_username} is now called @{user.username} in GitLab.")
    card = Card("wrong_user", {"actual": user.username, "expected": connection.service_username})
    return failed("user", card)


def _scopes(stored: Credential, connection: Connection) -> Check:
    missing = missing_scopes(stored.scopes, wanted_scopes(connection))
    if not missing:
        return passed("scopes", ", ".join(stored.scopes))
    card = Card("missing_scopes", {"scopes": ", ".join(missing)})
    return failed("scopes", card)


def _time(when: datetime | None) -> str:
    return f"{when.astimezone(UTC):%d %b %Y, %H:%M} UTC" if when else ""
