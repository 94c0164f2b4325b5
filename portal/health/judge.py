"""From what the checks found to incidents: which causes there are, when one opens or closes, and when people are told.

Pure: it knows neither the database nor the clock, so that a table and a property test can check its rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from portal.connections.checks import Check, CheckState
from portal.errors import Card, Layer
from portal.health.models import REACH, UNREACHABLE, IncidentPhase, Level

# Believed at once: none of these passes by itself, and none of them looks like an outage.
VERDICTS = frozenset(
    {
        "tls_expired",
        "tls_authority_expired",
        "tls_other_authority",
        "tls_client_certificate_required",
        "tls_client_certificate_refused",
        "tls_not_yet_valid",
        "tls_wrong_name",
        "tls_self_signed",
        "tls_unknown_ca",
        "tls_incomplete_chain",
        "tls_weak",
        "version_too_old",
        "credential_revoked",
        "credential_lost",
        "access_token_revoked",
        "access_token_expired",
        "access_token_lost",
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
_CHECKS_OF = {"version_too_old": {"version"}, "wrong_user": {"user"}, "missing_scopes": {"scopes"}}
# Seen before GitLab itself answered: nothing is known about GitLab then, nor about its credentials.
_ON_THE_WAY = frozenset({Layer.POLICY, Layer.DNS, Layer.TCP, Layer.TLS, Layer.PROXY, Layer.HTTP})
_DOWN = frozenset({"gitlab_unavailable", "gitlab_rate_limited"})

# What may pass by itself is believed once two checks in a row, this far apart, both saw it.
CONFIRM_AFTER = timedelta(seconds=60)
GOOD_CHECKS_TO_CLOSE = 2
# The same cause again within this time is the same incident; no one is told twice. People are told that it ended once
# this time has passed, because until then it may recur.
CONTINUES_WITHIN = timedelta(minutes=30)


@dataclass(frozen=True)
class Cause:
    """Why something does not work, as one run of the checks saw it.

    Attributes:
        name: stable; one incident per cause and connection.
        check_key: the check that shows whether it is over.
        passing: whether it may pass by itself.
    """

    name: str
    check_key: str
    card: Card
    passing: bool
    level: Level = Level.FAILURE


@dataclass(frozen=True)
class Findings:
    """Everything one run says.

    Attributes:
        causes: what it found, by name.
        settled: keys of the checks that came to a result; it says nothing about the others.
    """

    causes: dict[str, Cause]
    settled: frozenset[str]

    def ends(self, card: Card) -> bool:
        """Whether the checks covered what a job once reported, and no longer find it."""
        if card.code in self.causes:
            return False
        if classify("work", card).name == UNREACHABLE:
            return "gitlab" in self.settled and UNREACHABLE not in self.causes
        needed = _CHECKS_OF.get(card.code, {"certificate"} if card.code.startswith("tls_") else {"credential", "token"})
        return card.code in COVERED and needed <= self.settled


def read_findings(checks: Iterable[Check]) -> Findings:
    """Return what a run of the checks means; warnings without a card mean nothing."""
    causes: dict[str, Cause] = {}
    settled = {REACH}
    for check in checks:
        cause, card = None, check.failure
        if card and check.state == CheckState.FAIL:
            cause = classify(check.key, card)
        elif card and check.state == CheckState.WARN:
            cause = Cause(card.code, check.key, card, passing=False, level=Level.WARNING)
        if cause:
            causes.setdefault(cause.name, cause)
        if check.state != CheckState.SKIPPED and (cause is None or cause.check_key == check.key):
            settled.add(check.key)
    return Findings(causes, frozenset(settled))


def classify(check_key: str, card: Card) -> Cause:
    """Return the cause a failure belongs to."""
    if card.code not in VERDICTS and (card.layer in _ON_THE_WAY or card.code in _DOWN):
        return Cause(UNREACHABLE, REACH, card, passing=True)
    return Cause(card.code, check_key, card, passing=card.code not in VERDICTS)


class Sighting(StrEnum):
    """What one run of the checks says about one cause."""

    BAD = "bad"
    GOOD = "good"
    # The run did not get that far: a GitLab that is down says nothing about its certificate.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Track:
    """What is remembered about one cause at one connection.

    Attributes:
        count: failed checks in all.
        row_count: checks in a row that speak against the phase: failed ones while suspected or closed, good ones
            while open.
        row_began_at: when that run of checks began.
    """

    phase: IncidentPhase
    count: int
    row_count: int
    row_began_at: datetime
    opened_at: datetime | None = None
    closed_at: datetime | None = None


@dataclass(frozen=True)
class Judgement:
    """What is remembered from now on.

    Attributes:
        track: None if there is nothing to remember.
        is_new: whether it is a different incident from the one remembered before.
        alarm: whether people are told now.
    """

    track: Track | None
    is_new: bool = False
    alarm: bool = False


def judge(track: Track | None, seen: Sighting, now: datetime, *, passing: bool) -> Judgement:
    """Return what one more check of a cause changes.

    Args:
        track: what is remembered of this cause: its newest incident, also a closed one.
        seen: what the checks said.
        now: when they said it.
        passing: whether the cause may pass by itself (GitLab down); a verdict (a revoked token) is believed at once.
    """
    if seen == Sighting.UNKNOWN:
        return Judgement(track)
    if seen == Sighting.GOOD:
        return Judgement(_after_good(track, now, passing) if track else None)
    if track is not None and not is_over_for_good(track, now):
        return _after_bad(track, now, passing)
    if passing:
        return Judgement(Track(IncidentPhase.SUSPECTED, count=1, row_count=1, row_began_at=now), is_new=True)
    opened = Track(IncidentPhase.OPEN, count=1, row_count=0, row_began_at=now, opened_at=now)
    return Judgement(opened, is_new=True, alarm=True)


def is_over_for_good(track: Track, now: datetime) -> bool:
    """Return whether a closed incident can no longer recur, so that people may be told that it ended."""
    if track.phase != IncidentPhase.CLOSED or track.closed_at is None:
        return False
    return track.row_count == 0 and now - track.closed_at > CONTINUES_WITHIN


def _after_bad(track: Track, now: datetime, passing: bool) -> Judgement:
    track = replace(track, count=track.count + 1)
    if track.phase == IncidentPhase.OPEN:
        return Judgement(replace(track, row_count=0))
    began = track.row_began_at if track.row_count else now
    row = replace(track, row_count=track.row_count + 1, row_began_at=began)
    if passing and now - began < CONFIRM_AFTER:
        return Judgement(row)
    is_new = track.phase == IncidentPhase.SUSPECTED
    opened = replace(
        row,
        phase=IncidentPhase.OPEN,
        row_count=0,
        opened_at=began if is_new else track.opened_at,
        closed_at=None,
    )
    return Judgement(opened, alarm=is_new)


def _after_good(track: Track, now: datetime, passing: bool) -> Track | None:
    if track.phase == IncidentPhase.SUSPECTED:
        return None
    if track.phase == IncidentPhase.CLOSED:
        return replace(track, row_count=0)
    row_count = track.row_count + 1
    began = track.row_began_at if track.row_count else now
    if row_count < (GOOD_CHECKS_TO_CLOSE if passing else 1):
        return replace(track, row_count=row_count, row_began_at=began)
    return replace(track, phase=IncidentPhase.CLOSED, row_count=0, closed_at=now)
