"""Check one connection: the route to its GitLab, then what GitLab says about its credential. Changes no rows itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from portal.connections import checklist
from portal.connections.checklist import wanted_scopes
from portal.connections.checks import Check, CheckState, failed, passed, skipped, warned
from portal.connections.models import Connection, Method
from portal.connections.store import open_host_session
from portal.credentials import AccessSource, AccessUnavailable
from portal.credentials.methods import ROTATION_REFUSED, ROTATION_UNKNOWN, method_of
from portal.credentials.models import Credential, CredentialState
from portal.credentials.refresh import DOUBTS
from portal.credentials.store import get_credential
from portal.db import utc_now
from portal.errors import Card
from portal.foreign import WebAddress
from portal.gitlab.answers import GitLabError, InsufficientPermission, Metadata, User
from portal.gitlab.client import GitLabClient
from portal.gitlab.identification import edition_of, missing_scopes
from portal.health.judge import COVERED, classify
from portal.health.models import TITLES
from portal.net import OutboundError, is_same_address
from portal.runtime import Runtime
from portal.web.times import moment
from portal.webhooks.status import hooks_check

REASON = "health check"
EXPIRES = "access_token_expires"
# Of a pair that cannot be renewed.
WARN_DAYS = 14
# Before an access token ends: people are told at each of these.
WARNING_DAYS = (30, 14, 7, 1)
# What the note about a certificate that ends soon means.
CERTIFICATE_ENDS = {"valid_not_long": "certificate_expires", "authority_not_long": "authority_expires"}
STEPS = 4
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Looked:
    """Everything one check found.

    Attributes:
        is_answering: whether GitLab's API answered as it should.
        addresses: what GitLab reported about itself: `issuer`, `git`.
        metadata: None if GitLab did not say.
        announces_issuer: whether its callbacks name their issuer; None if it was not reported.
        issuer: what it calls itself.
    """

    checks: list[Check]
    is_answering: bool
    addresses: dict[str, str] = field(default_factory=dict)
    metadata: Metadata | None = None
    announces_issuer: bool | None = None
    issuer: str = ""


def look(runtime: Runtime, connection: Connection, progress: Progress, *, is_background: bool = False) -> Looked:
    """Make every check; `progress` is called in between with (done, total, what comes next)."""
    progress(0, STEPS, "The way to GitLab")
    found = checklist.look_at(runtime, connection, is_background=is_background)
    checks = {check.key: check for check in found.checks}
    certificate = checks["certificate"]
    if certificate.state == CheckState.WARN and (code := CERTIFICATE_ENDS.get(certificate.note)):
        at = f"{datetime.fromisoformat(certificate.params['until']):%d %B %Y}"
        card = Card(code, {"at": at, "days": certificate.params["days"]})
        checks["certificate"] = replace(certificate, card=card.to_json())
    addresses = {"issuer": found.issuer} if found.issuer else {}
    metadata = None
    is_answering = checks["gitlab"].state == CheckState.PASS
    if not is_answering:
        more = [*_stored_checks(load_credential(runtime, connection), connection), skipped("git", "not_reached")]
    else:
        progress(1, STEPS, "The credential")
        access, more = _demand(runtime, connection)
        if access is not None:
            with open_host_session(runtime, connection, is_background=is_background) as http:
                # One attempt each: the next run is soon, and a GitLab in trouble should not get more requests.
                client = GitLabClient(http, access, tries=1)
                progress(2, STEPS, "Who it acts as")
                more += _ask_user(runtime, connection, client)
                if any(check.key == "token" and check.state == CheckState.PASS for check in more):
                    progress(3, STEPS, "Version and repositories")
                    # If not: the other checks show what is wrong, and the version stays as it was.
                    with suppress(GitLabError, OutboundError):
                        metadata = client.metadata()
                    git, base = _git_check(connection, client)
                    more.append(git)
                    addresses |= {"git": base} if base else {}
    checks |= {check.key: check for check in [*more, _work_check(connection), hooks_check(runtime, connection)]}
    if metadata:
        seen = {"version_seen": metadata.version, "edition_seen": edition_of(metadata)}
        checks["version"] = checklist.version_check(Connection(**{**connection.model_dump(), **seen}))
    rows = [checks.get(key) or skipped(key) for key in TITLES]
    if connection.method != Method.OAUTH:
        rows = [replace(row, card=row.failure.of(connection.method).to_json()) if row.failure else row for row in rows]
    return Looked(rows, is_answering, addresses, metadata, found.announces_issuer, found.issuer)


def load_credential(runtime: Runtime, connection: Connection) -> Credential | None:
    """Read the credential as it is stored now."""
    with runtime.database.reading() as session:
        return get_credential(session, connection.id or 0)


def _stored_checks(stored: Credential | None, connection: Connection) -> list[Check]:
    """Return what is known about the credential without asking GitLab."""
    if stored is None:
        return []
    verdict = _stored_verdict(stored)
    kept = _ending(stored) if method_of(stored).is_once else passed("credential", "kept")
    first = failed("credential", verdict) if verdict else kept
    return [first, skipped("token", "not_reached"), _scopes(stored, connection)]


def _demand(runtime: Runtime, connection: Connection) -> tuple[AccessSource | None, list[Check]]:
    """Get a token that is good now, which renews one that is due; None, with what is known, when there is none."""
    stored = load_credential(runtime, connection)
    if stored is None:
        return None, [skipped("credential", "not_authorized")]
    assert connection.id is not None
    access = AccessSource(runtime, connection.id, REASON)
    try:
        access.token()
    except AccessUnavailable as error:
        return None, [_unavailable(error), _scopes(stored, connection)]
    stored = load_credential(runtime, connection) or stored  # It may have been renewed just now.
    return access, [_served(stored), _scopes(stored, connection)]


def _ask_user(runtime: Runtime, connection: Connection, client: GitLabClient) -> list[Check]:
    """Ask GitLab who the token acts as."""
    try:
        user = client.current_user()
    except AccessUnavailable as error:
        # A 401 led to a refresh, which did not work.
        return [_unavailable(error)]
    except (GitLabError, OutboundError) as error:
        # A fine-grained token need not be able to read its user; only one that works is told so.
        if isinstance(error, InsufficientPermission) and connection.method == Method.ACCESS_TOKEN:
            return [passed("token"), skipped("user", "user_unreadable")]
        return [failed("token", error.card())]
    stored = load_credential(runtime, connection)
    return [passed("token"), _user_check(connection, stored, user)] if stored else []


def _stored_verdict(stored: Credential) -> Card | None:
    if stored.state == CredentialState.ALIVE:
        return None
    method = method_of(stored)
    verdict = method.remedy(stored, stored.state)
    failure = Card.from_json(stored.failure) if stored.failure else verdict
    # The same with GitLab's own words and request id, if it was GitLab that said so.
    verdicts = {verdict.code, method.remedy(stored, stored.state, is_key_refused=True).code}
    return failure if failure.code in verdicts else verdict


def _unavailable(error: AccessUnavailable) -> Check:
    # A doubt is shown here and alarms no one: it passes, or a verdict follows within minutes.
    if error.card.code in DOUBTS:
        return warned("credential", "failure", why=error.card.to_json())
    return failed("credential", error.card)


def _served(stored: Credential) -> Check:
    """Return what is known about a credential whose access token is in use."""
    if verdict := _stored_verdict(stored):
        return failed("credential", verdict)
    if method_of(stored).is_once:
        return _ending(stored)
    until = stored.expires_at.isoformat() if stored.expires_at else ""
    if stored.refresh_token_sealed is None and stored.expires_at is not None:
        if stored.expires_at - utc_now() > timedelta(days=WARN_DAYS):
            return passed("credential", "ends", until=until)
        return warned("credential", "ends", Card("credential_expires", {"at": moment(stored.expires_at)}), until=until)
    if stored.failure:
        return warned("credential", "renewal_failed", why=stored.failure, until=until)
    if stored.refresh_at is None:
        return passed("credential", "endless")
    since = stored.refreshed_at.isoformat() if stored.refreshed_at else ""
    return passed("credential", "renewed", since=since, by=stored.refresh_at.isoformat())


def _ending(stored: Credential) -> Check:
    """Return what is known about the end of an access token; no one is warned of one that is rotated before."""
    now, until = utc_now(), stored.expires_at
    if until is None:
        is_known = (stored.token_details or {}).get("is_expiry_known", True)
        return passed("credential", "endless") if is_known else passed("credential", "end_unknown")
    if until <= now:
        return failed("credential", method_of(stored).remedy(stored, CredentialState.REVOKED))
    if stored.refresh_at is not None and stored.refresh_at > now:
        return passed("credential", "rotates", by=stored.refresh_at.isoformat(), until=until.isoformat())
    if warning_due(stored, now) is None:
        return passed("credential", "token_ends", until=until.isoformat())
    return warned("credential", "token_ends", expiry_card(until, now), until=until.isoformat())


def warning_due(stored: Credential | None, now: datetime) -> int | None:
    """Return which of the warnings about the end of an access token is due, in days; None: none is."""
    if stored is None or stored.method != Method.ACCESS_TOKEN or stored.state != CredentialState.ALIVE:
        return None
    if stored.expires_at is None or stored.expires_at <= now or (stored.refresh_at and stored.refresh_at > now):
        return None
    left = stored.expires_at - now
    return min((days for days in WARNING_DAYS if left <= timedelta(days=days)), default=None)


def expiry_card(ends_at: datetime, now: datetime) -> Card:
    """Return what people read about an access token that ends."""
    days = math.ceil((ends_at - now) / timedelta(days=1))
    return Card(EXPIRES, {"at": moment(ends_at), "days": "less than a day" if days <= 1 else f"{days} days"})


def _user_check(connection: Connection, stored: Credential, user: User) -> Check:
    # The owner of a fine-grained token may have been unknown when it was linked.
    is_same = user.id == stored.gitlab_user_id or not stored.gitlab_user_id
    # An access token acts as its owner; who is expected to authorize an application next does not matter to it.
    is_pair = stored.method == Method.OAUTH
    expected = (connection.service_username if is_pair else stored.gitlab_username or user.username).casefold()
    if is_same and expected == user.username.casefold():
        return passed("user", "user", username=user.username)
    if is_same and expected == stored.gitlab_username.casefold():
        return warned("user", "user_renamed", before=stored.gitlab_username, username=user.username)
    card = Card("wrong_user", {"actual": user.username, "expected": expected})
    return failed("user", card)


def _scopes(stored: Credential, connection: Connection) -> Check:
    if not stored.are_scopes_known:
        return skipped("scopes", "scopes_unknown")
    missing = missing_scopes(stored.scopes, wanted_scopes(connection))
    if missing:
        return failed("scopes", Card("missing_scopes", {"scopes": ", ".join(missing)}))
    return passed("scopes", "scopes", scopes=", ".join(stored.scopes))


def _git_check(connection: Connection, client: GitLabClient) -> tuple[Check, str]:
    """Compare where GitLab says its repositories are with where it is; the address is empty if that is not known."""
    try:
        page = client.projects_page(per_page=1, simple=True)
    except (GitLabError, OutboundError) as error:
        card = error.card()
        # The other checks test the route; this one only covers projects.
        is_own = classify("git", card).check_key == "git"
        return failed("git", card) if is_own else skipped("git", "failure", why=card.to_json()), ""
    if not page.items or not page.items[0].http_url_to_repo:
        return skipped("git", "git_unknown"), ""
    project = page.items[0]
    # Only the part that is the same for all: the path would reveal a project to people who may not see it.
    base = WebAddress(project.http_url_to_repo.removesuffix(f"/{project.path_with_namespace}.git"))
    if is_same_address(base, connection.api_url):
        return passed("git", "git", base=base), base
    if is_same_address(base, connection.external_url):
        return passed("git", "git_browser", base=base), base
    return warned("git", "git_elsewhere", base=base), base


def _work_check(connection: Connection) -> Check:
    """Return what jobs reported and no check here repeats; the checks themselves judge the rest."""
    if connection.attention:
        card = Card.from_json(connection.attention)
        if card.code in {ROTATION_UNKNOWN.code, ROTATION_REFUSED.code}:
            return warned("work", "failure", card, why=card.to_json())
        if card.code not in COVERED and classify("work", card).check_key == "work":
            return failed("work", card)
    return passed("work")
