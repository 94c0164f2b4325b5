"""What one run of the checks says: which causes it found, and about which others it says anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portal.connections.checklist import Check, CheckState
from portal.errors import Card, Layer
from portal.health.models import Level

# GitLab is down, busy or unreachable: one cause, whatever form the outage takes from check to check.
UNREACHABLE = "unreachable"
REACH = "reach"
EXPIRES = "certificate_expires"

# Believed at once: none of these passes by itself, and none looks like an outage.
VERDICTS = frozenset(
    {
        "tls_expired",
        "tls_not_yet_valid",
        "tls_wrong_name",
        "tls_self_signed",
        "tls_unknown_ca",
        "tls_incomplete_chain",
        "tls_weak",
        "version_too_old",
        "credential_revoked",
        "credential_lost",
        "client_secret_changed",
        "application_gone",
        "secret_unreadable",
        "unauthorized",
        "wrong_user",
        "missing_scopes",
        "insufficient_scope",
        "insufficient_permission",
    }
)
# The checks cover these themselves, so what a job reported about them is over as soon as the checks say so.
COVERED = VERDICTS - {"insufficient_scope", "insufficient_permission"}
_TOLD_BY = {"version_too_old": {"version"}, "wrong_user": {"user"}, "missing_scopes": {"scopes"}}
# Seen before GitLab itself answered: nothing is known about GitLab then, nor about its credentials.
_ON_THE_WAY = frozenset({Layer.POLICY, Layer.DNS, Layer.TCP, Layer.TLS, Layer.PROXY, Layer.HTTP})
_DOWN = frozenset({"gitlab_unavailable", "gitlab_rate_limited"})


@dataclass(frozen=True)
class Finding:
    """One cause that a run of the checks saw.

    Attributes:
        cause: stable; one incident per cause and connection.
        check_key: the check that shows whether it is over.
        passing: whether it may pass by itself.
    """

    cause: str
    check_key: str
    card: Card
    passing: bool
    level: Level = Level.FAILURE


@dataclass(frozen=True)
class Findings:
    """Everything one run says.

    Attributes:
        by_cause: what it found.
        settled: keys of the checks that came to a result; it says nothing about the others.
    """

    by_cause: dict[str, Finding]
    settled: frozenset[str]


def read_findings(checks: Iterable[Check]) -> Findings:
    """Return what a run of the checks means; warnings without a card mean nothing."""
    found: dict[str, Finding] = {}
    settled = {REACH}
    for check in checks:
        finding = _finding_of(check)
        if finding:
            found.setdefault(finding.cause, finding)
        if check.state != CheckState.SKIPPED and (finding is None or finding.check_key == check.key):
            settled.add(check.key)
    return Findings(found, frozenset(settled))


def _finding_of(check: Check) -> Finding | None:
    card = check.failure
    if card is None or check.state not in {CheckState.FAIL, CheckState.WARN}:
        return None
    if check.state == CheckState.WARN:
        return Finding(card.code, check.key, card, passing=False, level=Level.WARNING)
    return classify(check.key, card)


def classify(check_key: str, card: Card) -> Finding:
    """Return the cause a failure belongs to."""
    if card.code in VERDICTS:
        return Finding(card.code, check_key, card, passing=False)
    if card.layer in _ON_THE_WAY or card.code in _DOWN:
        return Finding(UNREACHABLE, REACH, card, passing=True)
    return Finding(card.code, check_key, card, passing=True)


def is_over(card: Card, findings: Findings) -> bool:
    """Return whether the checks covered what a job once reported, and no longer find it."""
    if card.code in findings.by_cause:
        return False
    if classify("work", card).cause == UNREACHABLE:
        return "gitlab" in findings.settled and UNREACHABLE not in findings.by_cause
    return card.code in COVERED and _told_by(card.code) <= findings.settled


def _told_by(code: str) -> set[str]:
    return {"certificate"} if code.startswith("tls_") else _TOLD_BY.get(code, {"credential", "token"})
