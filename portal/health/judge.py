"""When a failure becomes an incident, when it is over, and when people are told: once for each.

Pure: it knows neither the database nor the clock, so that a table and a property test can check its rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from portal.health.models import Phase

# What may pass by itself is believed once two checks in a row, this far apart, both saw it.
CONFIRM_AFTER = timedelta(seconds=60)
GOOD_CHECKS_TO_CLOSE = 2
# The same cause again within this time is the same incident; no one is told twice. People are told that it ended once
# this time has passed, because until then it may recur.
CONTINUES_WITHIN = timedelta(minutes=30)


class Seen(StrEnum):
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

    phase: Phase
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
        is_new: whether it is another incident than the one that was remembered before.
        alarm: whether people are told now.
    """

    track: Track | None
    is_new: bool = False
    alarm: bool = False


def judge(track: Track | None, seen: Seen, now: datetime, *, passing: bool) -> Judgement:
    """Return what one more check of a cause changes.

    Args:
        track: what is remembered of this cause: its newest incident, also a closed one.
        seen: what the checks said.
        now: when they said it.
        passing: whether the cause may pass by itself (GitLab down); a verdict (a revoked token) is believed at once.
    """
    if seen == Seen.UNKNOWN:
        return Judgement(track)
    if seen == Seen.GOOD:
        return Judgement(_after_good(track, now, passing) if track else None)
    if track is None or _is_settled(track, now):
        return _begin(now, passing)
    return _after_bad(track, now, passing)


def is_over_for_good(track: Track, now: datetime) -> bool:
    """Return whether a closed incident can no longer recur, so that people may be told that it ended."""
    return _is_settled(track, now)


def _is_settled(track: Track, now: datetime) -> bool:
    if track.phase != Phase.CLOSED or track.closed_at is None:
        return False
    return track.row_count == 0 and now - track.closed_at > CONTINUES_WITHIN


def _begin(now: datetime, passing: bool) -> Judgement:
    if passing:
        return Judgement(Track(Phase.SUSPECTED, count=1, row_count=1, row_began_at=now), is_new=True)
    opened = Track(Phase.OPEN, count=1, row_count=0, row_began_at=now, opened_at=now)
    return Judgement(opened, is_new=True, alarm=True)


def _after_bad(track: Track, now: datetime, passing: bool) -> Judgement:
    track = replace(track, count=track.count + 1)
    if track.phase == Phase.OPEN:
        return Judgement(replace(track, row_count=0))
    began = track.row_began_at if track.row_count else now
    row = replace(track, row_count=track.row_count + 1, row_began_at=began)
    if passing and now - began < CONFIRM_AFTER:
        return Judgement(row)
    is_new = track.phase == Phase.SUSPECTED
    opened_at = began if is_new else track.opened_at
    return Judgement(replace(row, phase=Phase.OPEN, row_count=0, opened_at=opened_at, closed_at=None), alarm=is_new)


def _after_good(track: Track, now: datetime, passing: bool) -> Track | None:
    if track.phase == Phase.SUSPECTED:
        return None
    if track.phase == Phase.CLOSED:
        return replace(track, row_count=0)
    row_count = track.row_count + 1
    began = track.row_began_at if track.row_count else now
    if row_count < (GOOD_CHECKS_TO_CLOSE if passing else 1):
        return replace(track, row_count=row_count, row_began_at=began)
    return replace(track, phase=Phase.CLOSED, row_count=0, closed_at=now)
