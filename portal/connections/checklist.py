"""Step 2's live checklist: check the route to GitLab layer by layer, without any credential, and keep the results.

The results also decide whether the address may get a Secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from sqlmodel import Session

from portal.actor import Principal
from portal.connections.checks import TITLES, Check, Checklist, failed, passed, skipped, warned
from portal.connections.limits import CHECKS, count_try
from portal.connections.models import Connection, way_of
from portal.connections.steps import Step
from portal.connections.store import get_connection_for_admin, is_sandbox, mark_step_done, open_host_session
from portal.db import utc_now
from portal.errors import Card, Layer, NotFound
from portal.gitlab.answers import GitLabError, NotGitLab
from portal.gitlab.identification import ScopeReason, identify, parse_version, scopes_for
from portal.net import (
    AddressRefused,
    CertificateInfo,
    Examination,
    HostSession,
    OutboundError,
    RedirectRefused,
    TLSFailed,
    parse_address,
    parse_certificates,
)
from portal.runtime import Runtime

MAX_SKEW_SECONDS = 60
EXPIRY_WARNING_DAYS = 14
# Another authority has to be distributed to many, not only installed at one server.
AUTHORITY_WARNING_DAYS = 30
MAX_ROOT_PROBES = 8
_SIGN_IN = re.compile(r"^(?:https?://[^/]+)?/(?:(.+)/)?users/sign_in$")
# The certificate is fine but for the authority, which a person may trust.
UNTRUSTED = frozenset({"unknown_ca", "self_signed", "other_authority"})


def run_checklist(runtime: Runtime, principal: Principal, slug: str) -> Checklist:
    """Check the instance and store the results.

    Raises:
        RateLimited: the organization checked addresses too often in the last minute.
        NotFound: the draft has been discarded.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        count_try(session, principal, CHECKS)
    found = look_at(runtime, connection)
    with runtime.database.transaction() as session:
        _keep(session, connection, found)
    return found


def find_hindrance(runtime: Runtime, principal: Principal, connection: Connection) -> Card | None:
    """Return why no Secret may be sent to the current address; None once it was found to be a GitLab (S53).

    Raises:
        RateLimited, NotFound: as `run_checklist`, which runs if the address or the way to it changed.
    """
    found = stored_checklist(connection)
    if found is None or not found.is_passed:
        found = run_checklist(runtime, principal, connection.slug)
    return found.failure


def stored_checklist(connection: Connection) -> Checklist | None:
    """Return the results of the last run; None if the address has changed since, or nothing ran."""
    data = connection.checks or {}
    if "checks" not in data:
        return None
    found = Checklist.from_json(data)
    if not connection.version_seen:
        return found
    # GitLab shows its version only to authenticated users, so after the authorization: this line uses what is known
    # now.
    checks = [
        version_check(connection) if check.key == "version" and found.is_answering else check for check in found.checks
    ]
    return replace(found, checks=checks)


def announces_issuer(connection: Connection) -> bool:
    """Return whether GitLab, when it was last asked, said that its callbacks name their issuer (RFC 9207 §3)."""
    return bool((connection.checks or {}).get("announces_issuer"))


def announced_issuer(connection: Connection) -> str:
    """Return the issuer GitLab last named, exactly as written (RFC 9207 §2.4); empty if it never did."""
    return str((connection.checks or {}).get("issuer") or "")


def supported_scopes(connection: Connection) -> list[str]:
    """Return the scopes that GitLab said it has at the last check in step 2; empty if it did not say."""
    return list((connection.checks or {}).get("scopes_supported") or ())


def scope_reasons(
    connection: Connection, services: Collection[str] | None = None, *, hooks_wanted: bool | None = None
) -> list[ScopeReason]:
    """Return the scopes that a connection's services, or others, need in this GitLab, with a reason each."""
    return scopes_for(
        connection.services if services is None else services,
        hooks_wanted=connection.hooks_wanted if hooks_wanted is None else hooks_wanted,
        supported=supported_scopes(connection),
        version=parse_version(connection.version_seen),
    )


def wanted_scopes(connection: Connection) -> list[str]:
    """Return the names of those scopes."""
    return [item.scope for item in scope_reasons(connection)]


def note_announcement(connection: Connection, announces: bool | None, issuer: str) -> None:
    """Store what a later check learned about it; None keeps what is known, so that silence never loosens the check."""
    if connection.checks is not None and announces is not None:
        connection.checks = {**connection.checks, "announces_issuer": announces, "issuer": issuer}


def _keep(session: Session, looked_at: Connection, found: Checklist) -> None:
    connection = session.get(Connection, looked_at.id, with_for_update=True)
    if connection is None:
        raise NotFound("The draft has been discarded.")
    if way_of(connection) != way_of(looked_at):
        return  # Edited since: the results are about another address.
    known = announces_issuer(connection), announced_issuer(connection)
    scopes = found.scopes_supported or supported_scopes(connection)
    connection.checks = replace(found, scopes_supported=scopes).to_json()
    if found.announces_issuer is None:
        note_announcement(connection, *known)
    if found.is_passed:
        mark_step_done(session, connection, Step.INSTANCE)


@dataclass(frozen=True)
class _Told:
    """What GitLab's own answers said; `announces_issuer` is None if its discovery document was not read."""

    checks: list[Check]
    announces_issuer: bool | None = None
    issuer: str = ""
    scopes_supported: list[str] = field(default_factory=list)


def look_at(runtime: Runtime, connection: Connection, *, is_background: bool = False) -> Checklist:
    """Run every check; after the first failure the rest are skipped."""
    with open_host_session(runtime, connection, is_background=is_background) as http:
        examination = _with_both_authorities(connection, http.examine())
        stays_here = is_sandbox(runtime, connection)
        checks = _layer_checks(examination, http.address.scheme, stays_here, connection.ca_certificate)
        told = _gitlab_checks(runtime, connection, http) if examination.failure is None else _Told([])
    checks += told.checks
    known = {check.key for check in checks}
    checks += [skipped(key) for key in TITLES if key not in known]
    order = list(TITLES)
    return Checklist(
        checks=sorted(checks, key=lambda check: order.index(check.key)),
        chain=[_certificate_json(item, examination) for item in examination.chain],
        checked_at=utc_now(),
        announces_issuer=told.announces_issuer,
        issuer=told.issuer,
        scopes_supported=told.scopes_supported,
    )


def _with_both_authorities(connection: Connection, found: Examination) -> Examination:
    """Say of a connection in use whose trusted authority no longer fits what was trusted, and what came instead."""
    failure = found.failure
    is_other = isinstance(failure, TLSFailed) and failure.case in UNTRUSTED | {"incomplete_chain"}
    if not (is_other and connection.authorized_at and connection.ca_certificate and found.chain):
        return found
    known = (connection.checks or {}).get("chain") or []
    if len(found.chain) == 1 < len(known) and known[0]["issuer"] == found.chain[0].issuer:
        return found  # The same authority's, without its own certificate this time.
    expected, seen = parse_certificates(connection.ca_certificate)[0].sha256, found.chain[-1].sha256
    return replace(found, failure=TLSFailed("other_authority", expected=expected, seen=seen))


def _layer_checks(examination: Examination, scheme: str, stays_here: bool, trusted: str) -> list[Check]:
    layers = {"name": Layer.DNS, "port": Layer.TCP, "certificate": Layer.TLS}
    checks = []
    for key, layer in layers.items():
        if key == "certificate" and scheme == "http" and stays_here and examination.failure is None:
            checks.append(passed(key, "sandbox_in_clear"))
        elif key == "certificate" and scheme == "http":
            checks.append(warned(key, "in_clear"))
        elif examination.has_passed(layer):
            checks.append(_certificate_check(examination, trusted) if key == "certificate" else passed(key))
        elif examination.failure:
            checks.append(failed(key, examination.failure.card()))
            break
    return checks


def _certificate_check(examination: Examination, trusted: str) -> Check:
    """Say until when the server's certificate is valid, or that of the authority trusted for it if that ends first."""
    if not examination.chain:
        return passed("certificate")
    leaf = examination.chain[0]
    authority = max(parse_certificates(trusted), key=lambda one: one.not_after) if trusted else leaf
    if authority.not_after < leaf.not_after and authority.days_left <= AUTHORITY_WARNING_DAYS:
        until = authority.not_after.isoformat()
        return warned("certificate", "authority_not_long", until=until, days=authority.days_left)
    until = leaf.not_after.isoformat()
    if leaf.days_left <= EXPIRY_WARNING_DAYS:
        return warned("certificate", "valid_not_long", until=until, days=leaf.days_left)
    return passed("certificate", "valid_until", until=until)


def _gitlab_checks(runtime: Runtime, connection: Connection, http: HostSession) -> _Told:
    try:
        found = identify(http, connection.external_url)
    except (GitLabError, OutboundError) as error:
        root = _find_root(runtime, connection, error) if isinstance(error, (NotGitLab, RedirectRefused)) else ""
        card = Card("not_gitlab", {"case": "root_found", "root": root}) if root else error.card()
        if not isinstance(error, RedirectRefused):
            # What the peer says is not shown before it is known to be GitLab (S53), except where it would send us.
            card = replace(card, words="", request_id="")
        return _Told([failed("gitlab", card, take=root)])
    checks = [
        passed("gitlab", "api_answers"),
        _clock_check(found.api.headers.get("date", "")),
        version_check(connection),
    ]
    if found.discovery is None:
        silent = warned("external_url", "issuer_unknown")
        return _Told([*checks, silent])
    external = _external_url_check(runtime, connection, found.discovery.issuer)
    announces = found.discovery.authorization_response_iss_parameter_supported
    return _Told([*checks, external], announces, found.discovery.issuer, list(found.discovery.scopes_supported))


def _external_url_check(runtime: Runtime, connection: Connection, issuer: str) -> Check:
    """Compare what GitLab calls itself with where browsers are sent, as addresses: spelling alone does not count."""
    entered = parse_address(connection.external_url, allow_http=True)
    try:
        told = parse_address(issuer, allow_http=True)
    except AddressRefused:
        told = None
    if told is None or not told.is_scheme_typed:
        return warned("external_url", "issuer_invalid")
    if told == entered:
        return passed("external_url", "issuer_same", address=entered.url)
    # GitLab behind a proxy that ends TLS may know itself only by the inner address, where browsers cannot go.
    is_inner = "." not in told.host and ":" not in told.host and "." in entered.host
    if is_inner or (told.scheme == "http" and entered.scheme == "https"):
        return warned("external_url", "issuer_inner", told=told.url, entered=entered.url)
    may_be_taken = told.scheme == "https" or runtime.settings.allow_http or runtime.outbound.policy.is_exempt(told)
    take = told.url if may_be_taken else ""
    return warned("external_url", "issuer_other", take=take, told=told.url, api_url=connection.api_url)


def _clock_check(date: str) -> Check:
    try:
        told = parsedate_to_datetime(date)
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        skew = int((utc_now() - told).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return warned("clock", "clock_unknown")  # Years and offsets of any size pass the header's grammar.
    if abs(skew) > MAX_SKEW_SECONDS:
        return warned("clock", "clock_skew", seconds=skew)
    return passed("clock")


def version_check(connection: Connection) -> Check:
    """Judge the version that GitLab last reported."""
    version = parse_version(connection.version_seen)
    if version is None:
        return skipped("version", "version_unknown")
    if not version.is_supported:
        return failed("version", Card("version_too_old", {"version": connection.version_seen}))
    seen, edition = connection.version_seen, connection.edition_seen
    return passed("version", "version", version=seen, edition=edition)


def _find_root(runtime: Runtime, connection: Connection, error: NotGitLab | RedirectRefused) -> str:
    """Look for GitLab at the paths above the one entered: people copy addresses of pages.

    GitLab sends a stranger from any of its pages to `/users/sign_in` below its root, so the answer may already say
    where that is, however deep. Otherwise it is looked for from the top down, where it usually is.
    """
    parts = connection.api_url.split("/")
    above = ["/".join(parts[:length]) for length in range(3, len(parts))]
    found = _SIGN_IN.search(error.target) if isinstance(error, RedirectRefused) else None
    told = [base for base in above if found and base.split("/", 3)[3:] == [path for path in [found[1]] if path]]
    for base in [*told, *(base for base in above[:MAX_ROOT_PROBES] if base not in told)]:
        probed = Connection(**{**connection.model_dump(exclude={"id"}), "api_url": base})
        try:
            with open_host_session(runtime, probed) as http:
                identify(http, connection.external_url)
        except (GitLabError, OutboundError):
            continue
        return base
    return ""


def _certificate_json(item: CertificateInfo, examination: Examination) -> dict[str, Any]:
    failure = examination.failure
    is_unknown = isinstance(failure, TLSFailed) and failure.case in UNTRUSTED
    return {
        "may_be_trusted": is_unknown and item == examination.authority,
        "subject": item.subject,
        "issuer": item.issuer,
        "sha256": item.sha256,
        "not_after": f"{item.not_after:%d %B %Y}",
        "days_left": item.days_left,
    }
