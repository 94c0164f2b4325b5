"""Check whether there is a GitLab and this portal can reach it: layer by layer, without any credential."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from portal.connections.checks import TITLES, Check, Checklist, CheckState, failed, passed, warned
from portal.connections.instance import is_sandbox, open_host_session
from portal.connections.models import Connection
from portal.db import utc_now
from portal.errors import Card, Layer
from portal.gitlab.errors import GitLabError, NotGitLab
from portal.gitlab.identification import identify
from portal.gitlab.version import consequences_of, parse_version
from portal.net import (
    AddressRefused,
    CertificateInfo,
    Examination,
    HostSession,
    OutboundError,
    RedirectRefused,
    parse_address,
)
from portal.runtime import Runtime

MAX_SKEW_SECONDS = 60
EXPIRY_WARNING_DAYS = 14
MAX_ROOT_PROBES = 8


@dataclass(frozen=True)
class _Told:
    """What GitLab's own answers said; `announces_issuer` is None if its discovery document was not read."""

    checks: list[Check]
    announces_issuer: bool | None = None
    issuer: str = ""
    scopes_supported: list[str] = field(default_factory=list)


def look_at(runtime: Runtime, connection: Connection) -> Checklist:
    """Run every check; after the first failure the rest are skipped."""
    with open_host_session(runtime, connection) as http:
        examination = http.examine()
        checks = _layer_checks(examination, http.address.scheme, is_sandbox(runtime, connection))
        told = _gitlab_checks(runtime, connection, http) if examination.failure is None else _Told([])
    checks += told.checks
    known = {check.key for check in checks}
    checks += [Check(key, title, CheckState.SKIPPED) for key, title in TITLES.items() if key not in known]
    order = list(TITLES)
    return Checklist(
        checks=sorted(checks, key=lambda check: order.index(check.key)),
        chain=[_certificate_json(item) for item in examination.chain],
        checked_at=utc_now(),
        announces_issuer=told.announces_issuer,
        issuer=told.issuer,
        scopes_supported=told.scopes_supported,
    )


def _layer_checks(examination: Examination, scheme: str, stays_here: bool) -> list[Check]:
    layers = {"name": Layer.DNS, "port": Layer.TCP, "certificate": Layer.TLS}
    checks = []
    for key, layer in layers.items():
        if key == "certificate" and scheme == "http" and stays_here and examination.failure is None:
            checks.append(passed(key, "The sandbox uses plain HTTP and never leaves this machine."))
        elif key == "certificate" and scheme == "http":
            checks.append(warned(key, "Plain HTTP: everything is sent unencrypted. Only for a GitLab on this machine."))
        elif examination.has_passed(layer):
            checks.append(_certificate_check(examination) if key == "certificate" else passed(key))
        elif examination.failure:
            checks.append(failed(key, examination.failure.card()))
            break
    return checks


def _certificate_check(examination: Examination) -> Check:
    if not examination.chain:
        return passed("certificate")
    leaf = examination.chain[0]
    until = f"Valid until {leaf.not_after:%d %B %Y}."
    if leaf.days_left <= EXPIRY_WARNING_DAYS:
        return warned("certificate", f"{until} That is in {leaf.days_left} days.")
    return passed("certificate", until)


def _gitlab_checks(runtime: Runtime, connection: Connection, http: HostSession) -> _Told:
    try:
        found = identify(http, connection.external_url)
    except (GitLabError, OutboundError) as error:
        root = _find_root(runtime, connection) if isinstance(error, (NotGitLab, RedirectRefused)) else ""
        return _Told([failed("gitlab", _not_gitlab_card(error, root), take=root)])
    checks = [
        passed("gitlab", "Its API answers."),
        _clock_check(found.api.headers.get("date", "")),
        version_check(connection),
    ]
    if found.discovery is None:
        silent = warned("external_url", "GitLab does not report its own address, so it cannot be compared.")
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
        return warned("external_url", "GitLab reports an external URL that is not a valid address.")
    if told == entered:
        return passed("external_url", entered.url)
    # GitLab behind a proxy that ends TLS may know itself only by the inner address, where browsers cannot go.
    is_inner = "." not in told.host and ":" not in told.host and "." in entered.host
    if is_inner or (told.scheme == "http" and entered.scheme == "https"):
        return warned(
            "external_url",
            f"GitLab calls itself {told.url}. You can continue. Until GitLab's administrator sets external_url to "
            f"{entered.url}, links in GitLab's e-mails and the addresses for cloning lead to the wrong place.",
        )
    may_be_taken = told.scheme == "https" or runtime.settings.allow_http or runtime.outbound.policy.is_exempt(told)
    return warned(
        "external_url",
        f"GitLab calls itself {told.url}, so browsers should be sent there. Gatehouse itself can keep using "
        f"{connection.api_url}.",
        take=told.url if may_be_taken else "",
    )


def _clock_check(date: str) -> Check:
    skew = _read_skew(date)
    if skew is None:
        return warned("clock", "GitLab does not report its time.")
    if abs(skew) > MAX_SKEW_SECONDS:
        way = "behind" if skew > 0 else "ahead of"
        return warned("clock", f"GitLab's clock is {abs(skew)} seconds {way} this portal's. Tokens may end too early.")
    return passed("clock")


def _read_skew(date: str) -> int | None:
    """Return how many seconds our clock is ahead of a `Date` header; None if it is not a time."""
    try:
        told = parsedate_to_datetime(date)
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        return int((utc_now() - told).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None  # Years and offsets of any size pass the header's grammar.


def version_check(connection: Connection) -> Check:
    """Judge the version that GitLab last reported."""
    version = parse_version(connection.version_seen)
    if version is None:
        return replace(
            passed("version", "GitLab reports its version only after the authorization."), state=CheckState.SKIPPED
        )
    if not version.is_supported:
        return failed("version", Card("version_too_old", {"version": connection.version_seen}))
    told = " ".join(item.sentence for item in consequences_of(version))
    text = f"{connection.version_seen} {connection.edition_seen}".strip()
    return passed("version", f"{text}. {told}".strip())


def _find_root(runtime: Runtime, connection: Connection) -> str:
    """Look for GitLab at the paths above the one entered, from the top down: people copy addresses of pages."""
    parts = connection.api_url.split("/")
    for length in range(3, min(len(parts), 3 + MAX_ROOT_PROBES)):
        base = "/".join(parts[:length])
        probed = Connection(**{**connection.model_dump(exclude={"id"}), "api_url": base})
        try:
            with open_host_session(runtime, probed) as http:
                identify(http, connection.external_url)
        except (GitLabError, OutboundError):
            continue
        return base
    return ""


def _not_gitlab_card(error: GitLabError | OutboundError, root: str) -> Card:
    if root:
        return Card("not_gitlab", {"case": "root_found", "root": root})
    # What the peer says is not shown before it is known to be GitLab (S53), except where it would send us.
    card = error.card()
    return card if isinstance(error, RedirectRefused) else replace(card, words="", request_id="")


def _certificate_json(item: CertificateInfo) -> dict[str, Any]:
    return {
        "subject": item.subject,
        "issuer": item.issuer,
        "sha256": item.sha256,
        "not_after": f"{item.not_after:%d %B %Y}",
        "days_left": item.days_left,
    }
