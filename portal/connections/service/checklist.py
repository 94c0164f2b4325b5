"""Step 2's live checklist: is there a GitLab, and can this portal reach it? Layer by layer, without any credential."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from sqlmodel import Session

from portal.accounts.principal import Principal
from portal.connections.models import Connection
from portal.connections.service.connections import get_connection_for_admin, mark_step_done
from portal.connections.service.instance import open_line, reached_by
from portal.connections.service.tries import CHECKS, count_try
from portal.connections.steps import Step
from portal.db import utc_now
from portal.errors import Card, Layer, Mender, NotFound
from portal.gitlab.client import GitLabClient
from portal.gitlab.errors import GitLabError
from portal.gitlab.version import consequences_of, parse_version
from portal.net import (
    AddressRefused,
    CertificateInfo,
    Examination,
    Line,
    OutboundError,
    RedirectRefused,
    parse_address,
)
from portal.net.text import plain_text
from portal.runtime import Runtime

MAX_SKEW_SECONDS = 60
EXPIRY_WARNING_DAYS = 14
MAX_ROOT_PROBES = 3


class CheckState(StrEnum):
    """How one check ended; the value is what the checklist component shows."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One line of the checklist; `card` says what is wrong and who mends it."""

    key: str
    title: str
    state: CheckState
    detail: str = ""
    card: dict[str, Any] | None = None

    @property
    def failure(self) -> Card | None:
        """The card as an object."""
        return Card.from_json(self.card) if self.card else None


@dataclass(frozen=True)
class Checklist:
    """All lines, the certificates seen, and when they were looked at."""

    checks: list[Check]
    chain: list[dict[str, Any]]
    checked_at: datetime
    suggested_url: str = ""

    @property
    def is_passed(self) -> bool:
        """Whether nothing stands in the way of going on; warnings do not."""
        return all(check.state != CheckState.FAIL for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return what is stored on the connection."""
        return {
            "checks": [asdict(check) for check in self.checks],
            "chain": self.chain,
            "checked_at": self.checked_at.isoformat(),
            "suggested_url": self.suggested_url,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Checklist:
        """Read what `to_json` wrote."""
        return cls(
            checks=[Check(**{**item, "state": CheckState(item["state"])}) for item in data["checks"]],
            chain=data["chain"],
            checked_at=datetime.fromisoformat(data["checked_at"]),
            suggested_url=data.get("suggested_url", ""),
        )


TITLES = {
    "name": "The name resolves",
    "port": "The port is open",
    "certificate": "The certificate is trusted",
    "gitlab": "It is GitLab",
    "external_url": "GitLab knows itself by this address",
    "clock": "The clocks agree",
    "version": "The version is new enough",
}


def run_checklist(runtime: Runtime, principal: Principal, slug: str) -> Checklist:
    """Look at the instance and keep what was found.

    Raises:
        RateLimited: the organization looked at addresses too often in the last minute.
        NotFound: the draft was discarded meanwhile.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        count_try(session, principal, CHECKS)
    found = look_at(runtime, connection)
    with runtime.database.transaction() as session:
        _keep(session, connection, found)
    return found


def is_known_gitlab(connection: Connection) -> bool:
    """Tell whether the address, as it is now, was found to be a GitLab: before that no Secret is sent to it (S53)."""
    found = stored_checklist(connection)
    return found is not None and found.is_passed


def stored_checklist(connection: Connection) -> Checklist | None:
    """Return what the last run found; None when the address changed since, or nothing ran."""
    data = connection.checks or {}
    return Checklist.from_json(data) if "checks" in data else None


def look_at(runtime: Runtime, connection: Connection) -> Checklist:
    """Run every check; the first failure leaves those after it out."""
    with open_line(runtime, connection) as line:
        examination = line.examine()
        checks = _layer_checks(examination, line.address.scheme)
        suggested = ""
        if examination.failure is None:
            more, suggested = _gitlab_checks(runtime, connection, line)
            checks += more
    known = {check.key for check in checks}
    checks += [Check(key, title, CheckState.SKIPPED) for key, title in TITLES.items() if key not in known]
    order = list(TITLES)
    return Checklist(
        checks=sorted(checks, key=lambda check: order.index(check.key)),
        chain=[_certificate_json(item) for item in examination.chain],
        checked_at=utc_now(),
        suggested_url=suggested,
    )


def _layer_checks(examination: Examination, scheme: str) -> list[Check]:
    layers = {"name": Layer.DNS, "port": Layer.TCP, "certificate": Layer.TLS}
    checks = []
    for key, layer in layers.items():
        if key == "certificate" and scheme == "http":
            checks.append(_warn(key, "Plain http: everything is sent in clear. Only for a GitLab on this machine."))
        elif examination.has_passed(layer):
            checks.append(_certificate_check(examination) if key == "certificate" else _pass(key))
        elif examination.failure:
            checks.append(_fail(key, examination.failure.card()))
            break
    return checks


def _certificate_check(examination: Examination) -> Check:
    if not examination.chain:
        return _pass("certificate")
    leaf = examination.chain[0]
    until = f"Valid until {leaf.not_after:%d %B %Y}."
    if leaf.days_left <= EXPIRY_WARNING_DAYS:
        return _warn("certificate", f"{until} That is in {leaf.days_left} days.")
    return _pass("certificate", until)


def _gitlab_checks(runtime: Runtime, connection: Connection, line: Line) -> tuple[list[Check], str]:
    client = GitLabClient(line, None)
    try:
        answer = client.probe_api()
    except (GitLabError, OutboundError) as error:
        root = _find_root(runtime, connection)
        return [_fail("gitlab", _not_gitlab_card(error, root))], root
    checks = [
        _pass("gitlab", "Its API answers."),
        _clock_check(answer.headers.get("date", "")),
        version_check(connection),
    ]
    external, suggested = _external_url_check(connection, client)
    return [*checks, external], suggested


def _external_url_check(connection: Connection, client: GitLabClient) -> tuple[Check, str]:
    try:
        discovery = client.discover()
    except (GitLabError, OutboundError):
        return _warn("external_url", "GitLab does not tell its own address, so it cannot be compared."), ""
    issuer = plain_text(discovery.issuer, 300).rstrip("/")
    if issuer == connection.external_url:
        return _pass("external_url", issuer), ""
    if not _is_address(discovery.issuer):
        return _warn("external_url", "GitLab tells an address of its own that is none."), ""
    sentence = f"GitLab calls itself {issuer}. Browsers should be sent there; this portal may still use the other one."
    return _warn("external_url", sentence), issuer


def _is_address(text: str) -> bool:
    try:
        parse_address(text, allow_http=True)
    except AddressRefused:
        return False
    return text.startswith(("http://", "https://"))


def _clock_check(date: str) -> Check:
    skew = _read_skew(date)
    if skew is None:
        return _warn("clock", "GitLab does not tell its time.")
    if abs(skew) > MAX_SKEW_SECONDS:
        way = "behind" if skew > 0 else "ahead of"
        return _warn("clock", f"GitLab's clock is {abs(skew)} seconds {way} this portal's. Tokens may end too early.")
    return _pass("clock")


def _read_skew(date: str) -> int | None:
    """Return how many seconds our clock is ahead of a `Date` header; None for one that is no time."""
    try:
        told = parsedate_to_datetime(date)
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        return int((utc_now() - told).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None  # Years and offsets of any size pass the header's grammar.


def version_check(connection: Connection) -> Check:
    """Judge the version that GitLab told last."""
    version = parse_version(connection.version_seen)
    if version is None:
        return replace(
            _pass("version", "GitLab tells its version only after the authorization."), state=CheckState.SKIPPED
        )
    if not version.is_supported:
        return _fail("version", _too_old_card(connection.version_seen))
    told = " ".join(item.sentence for item in consequences_of(version))
    text = f"{connection.version_seen} {connection.edition_seen}".strip()
    return _pass("version", f"{text}. {told}".strip())


def _find_root(runtime: Runtime, connection: Connection) -> str:
    """Look for GitLab at the paths above the one entered; people copy addresses of pages (A8)."""
    base = connection.api_url
    for _ in range(MAX_ROOT_PROBES):
        origin = "/".join(base.split("/")[:3])
        if base == origin:
            return ""
        base = base.rpartition("/")[0]
        probed = Connection(**{**connection.model_dump(exclude={"id"}), "api_url": base})
        try:
            with open_line(runtime, probed) as line:
                GitLabClient(line, None).probe_api()
        except (GitLabError, OutboundError):
            continue
        return base
    return ""


def _not_gitlab_card(error: GitLabError | OutboundError, root: str) -> Card:
    card = error.card()
    if root:
        return replace(card, remedy=f"GitLab answers at {root}. Take that address.")
    if isinstance(error, RedirectRefused):
        return replace(
            card, remedy="If that is your GitLab, enter it as the domain. A sign-in page must let /api/ through."
        )
    # What the peer says is not shown before it is known to be GitLab (S53).
    return replace(card, words="", request_id="")


def _too_old_card(version: str) -> Card:
    return Card(
        code="version_too_old",
        layer=Layer.GITLAB,
        sentence=f"This GitLab is {version}; Gatehouse needs 9.0 or newer.",
        remedy="Upgrade GitLab.",
        mender=Mender.GITLAB_ADMIN,
    )


def _keep(session: Session, looked_at: Connection, found: Checklist) -> None:
    connection = session.get(Connection, looked_at.id)
    if connection is None:
        raise NotFound("The draft was discarded meanwhile.")
    if reached_by(connection) != reached_by(looked_at):
        return  # Edited meanwhile: what was found is about another way.
    connection.checks = found.to_json()
    if found.is_passed:
        mark_step_done(session, connection, Step.INSTANCE)


def _certificate_json(item: CertificateInfo) -> dict[str, Any]:
    return {
        "subject": plain_text(item.subject, 200),
        "issuer": plain_text(item.issuer, 200),
        "sha256": item.sha256,
        "not_after": f"{item.not_after:%d %B %Y}",
        "days_left": item.days_left,
    }


def _pass(key: str, detail: str = "") -> Check:
    return Check(key, TITLES[key], CheckState.PASS, detail)


def _warn(key: str, detail: str) -> Check:
    return Check(key, TITLES[key], CheckState.WARN, detail)


def _fail(key: str, card: Card) -> Check:
    return Check(key, TITLES[key], CheckState.FAIL, card.sentence, card.to_json())
