from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.health.judge import CONFIRM_AFTER, CONTINUES_WITHIN, Sighting, Track, is_over_for_good, judge
from portal.health.models import IncidentPhase

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LETTERS = {"x": Sighting.BAD, ".": Sighting.GOOD, "?": Sighting.UNKNOWN}


def run(history: str, *, passing: bool = True, seconds: float = 60) -> tuple[list[Track | None], int]:
    """Judge one check per letter; return what was remembered after each, and how many alarms there were."""
    track, tracks, alarms = None, [], 0
    for number, letter in enumerate(history):
        judgement = judge(track, LETTERS[letter], START + timedelta(seconds=seconds * number), passing=passing)
        track = judgement.track
        tracks.append(track)
        alarms += judgement.alarm
    return tracks, alarms


@pytest.mark.parametrize(
    ("history", "passing", "seconds", "phase", "alarms"),
    [
        ("x", True, 60, IncidentPhase.SUSPECTED, 0),
        ("x.", True, 60, None, 0),
        ("x.x.x.x.", True, 60, None, 0),
        ("xx", True, 60, IncidentPhase.OPEN, 1),
        ("xx", True, 30, IncidentPhase.SUSPECTED, 0),
        ("xxx", True, 30, IncidentPhase.OPEN, 1),
        ("x?x", True, 60, IncidentPhase.OPEN, 1),
        ("xxxxxxxxxx", True, 60, IncidentPhase.OPEN, 1),
        ("xx.", True, 60, IncidentPhase.OPEN, 1),
        ("xx.x.x.x", True, 60, IncidentPhase.OPEN, 1),
        ("xx..", True, 60, IncidentPhase.CLOSED, 1),
        ("xx.?.", True, 60, IncidentPhase.CLOSED, 1),
        ("xx..x", True, 60, IncidentPhase.CLOSED, 1),
        ("xx..xx", True, 60, IncidentPhase.OPEN, 1),
        ("xx..xx..xx..", True, 60, IncidentPhase.CLOSED, 1),
        ("xx" + "." * 40 + "xx", True, 60, IncidentPhase.OPEN, 2),
        ("x", False, 60, IncidentPhase.OPEN, 1),
        ("x.", False, 60, IncidentPhase.CLOSED, 1),
        ("x?", False, 60, IncidentPhase.OPEN, 1),
        ("x.x.x", False, 60, IncidentPhase.OPEN, 1),
        ("x" + "." * 40 + "x", False, 60, IncidentPhase.OPEN, 2),
        ("....", True, 60, None, 0),
        ("????", False, 60, None, 0),
    ],
)
def test_histories(history: str, passing: bool, seconds: float, phase: IncidentPhase | None, alarms: int) -> None:
    tracks, counted = run(history, passing=passing, seconds=seconds)

    assert (tracks[-1].phase if tracks[-1] else None, counted) == (phase, alarms)


def test_incident_began_with_the_first_failed_check_and_counts_all_of_them() -> None:
    tracks, _ = run("..xxxx")

    assert tracks[-1] is not None
    assert tracks[-1].opened_at == START + timedelta(seconds=120)
    assert tracks[-1].count == 4


def test_end_is_told_when_it_cannot_go_on_any_more() -> None:
    tracks, _ = run("xx..")
    closed = tracks[-1]
    assert closed is not None
    assert closed.closed_at is not None

    assert not is_over_for_good(closed, closed.closed_at + CONTINUES_WITHIN)
    assert is_over_for_good(closed, closed.closed_at + CONTINUES_WITHIN + timedelta(seconds=1))


looks = st.lists(
    st.tuples(st.sampled_from(Sighting), st.integers(min_value=1, max_value=2400)), min_size=1, max_size=60
)


@given(looks=looks, passing=st.booleans())
def test_there_are_as_many_alarms_as_incidents_whatever_happens(
    looks: list[tuple[Sighting, int]], passing: bool
) -> None:
    track, now, alarms = None, START, 0
    incidents: set[datetime] = set()
    bad: list[datetime] = []
    closed: datetime | None = None
    for seen, seconds in looks:
        now += timedelta(seconds=seconds)
        bad = [*bad, now] if seen == Sighting.BAD else bad if seen == Sighting.UNKNOWN else []
        judgement = judge(track, seen, now, passing=passing)
        if judgement.alarm:
            alarms += 1
            assert bad
            assert not passing or now - bad[0] >= CONFIRM_AFTER
            # No one is told twice about one incident.
            assert closed is None or bad[0] - closed > CONTINUES_WITHIN
        if judgement.track and judgement.track.phase != IncidentPhase.SUSPECTED:
            assert judgement.track.opened_at is not None
            incidents.add(judgement.track.opened_at)
            closed = judgement.track.closed_at or closed
        track = judgement.track

    assert alarms == len(incidents)


@given(looks=looks, passing=st.booleans())
def test_two_good_checks_end_every_incident(looks: list[tuple[Sighting, int]], passing: bool) -> None:
    track, now = None, START
    for seen, seconds in [*looks, (Sighting.GOOD, 60), (Sighting.GOOD, 60)]:
        now += timedelta(seconds=seconds)
        track = judge(track, seen, now, passing=passing).track

    assert track is None or track.phase == IncidentPhase.CLOSED
