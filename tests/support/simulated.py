"""Simulated days: a GitLab that fails at random while the portal's periodic work continues, minute by minute.

The clock of the whole process is moved, the sandbox's included; nothing waits.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine
from sqlmodel import select

from portal.credentials import due_credentials, refresh_credential
from portal.credentials.models import CredentialState
from portal.health.checks import check_connection, due_connections
from portal.health.models import Incident
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.paired import QUICK, Paired

BEGIN = datetime(2027, 3, 1, 6, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HTML = {"status": 503, "html": True}
# How a GitLab behaves while it does not work; each as sandbox faults on every path.
OUTAGES: dict[str, dict[str, Any]] = {
    "gone": {"drop": "before"},
    "maintenance": HTML,
    "bad gateway": {"status": 502, "html": True},
    "limited": {"status": 429, "body": "Retry later\n", "headers": {"Retry-After": "120"}},
    "sign-in page": {"status": 200, "html": True},
}
VERSIONS = ("18.5.1", "18.6.0", "18.7.2", "19.0.0")


@dataclass(frozen=True)
class Episode:
    """Minutes from `begin` to `end` in which GitLab does something; `is_outage` if people must be told."""

    begin: int
    end: int
    kind: str
    is_outage: bool


@dataclass
class Outcome:
    """The state at the end."""

    episodes: list[Episode]
    incidents: list[Incident]
    refreshes: int
    spent_posts: int
    state: str
    worked_at_the_end: bool
    # What was reported about the credential over time: only `alive` is allowed, because an outage is not a verdict.
    states_seen: set[str] = field(default_factory=set)

    @property
    def outages(self) -> list[Episode]:
        """The episodes long enough that people must be told about each once."""
        return [episode for episode in self.episodes if episode.is_outage]

    @property
    def alarms(self) -> list[Incident]:
        """The incidents people were told about."""
        return [incident for incident in self.incidents if incident.alarmed_at is not None]


def plan_episodes(hours: int, chance: random.Random) -> list[Episode]:
    """Return trouble every six hours: outages far apart, and in between blips that no one must be told about."""
    episodes = []
    for hour in range(2, hours, 6):
        begin = hour * 60 + chance.randrange(60)
        kind = chance.choice([*OUTAGES, "upgraded", "restarted", "slow"])
        is_outage = kind in OUTAGES
        minutes = chance.randrange(20, 90) if is_outage else 1
        episodes.append(Episode(begin, begin + minutes, kind, is_outage))
        blip = begin + minutes + 120 + chance.randrange(30)
        episodes.append(Episode(blip, blip + 1, "gone", is_outage=False))
    return episodes


@contextmanager
def simulated_clock() -> Iterator[time_machine.Traveller]:
    """Set the clock to the beginning; the block moves it."""
    with time_machine.travel(BEGIN, tick=False) as traveller:
        yield traveller


def live_through(paired: Paired, clock: time_machine.Traveller, hours: int, seed: int) -> Outcome:
    """Do what the worker does every minute, while GitLab goes through its episodes."""
    chance = random.Random(seed)
    episodes = plan_episodes(hours, chance)
    states: set[str] = set()
    for minute in range(hours * 60):
        clock.shift(MINUTE)
        _set_weather(paired.sandbox, [episode for episode in episodes if episode.begin <= minute < episode.end], chance)
        _work(paired.runtime)
        states.add(paired.credential.state)
    paired.sandbox.faults.clear()
    return Outcome(
        episodes=episodes,
        incidents=_incidents(paired.runtime),
        refreshes=len(paired.issued) - 1,
        spent_posts=sum(seen.status == 400 for seen in paired.sandbox.requests.all("/oauth/token")),
        state=paired.credential.state,
        worked_at_the_end=paired.holds_the_last_pair() and bool(paired.demand()),
        states_seen=states,
    )


def expect_a_living_credential(outcome: Outcome) -> None:
    """Check an outcome against the promises: alive, nothing spent twice, one alarm for each outage and no other."""
    assert outcome.state == CredentialState.ALIVE
    assert outcome.states_seen == {CredentialState.ALIVE}
    assert outcome.worked_at_the_end
    assert outcome.spent_posts == 0
    assert len(outcome.alarms) == len(outcome.outages)
    for episode, incident in zip(outcome.outages, sorted(outcome.alarms, key=lambda one: one.id or 0), strict=True):
        begin, end = BEGIN + episode.begin * MINUTE, BEGIN + episode.end * MINUTE
        assert incident.opened_at is not None
        assert incident.closed_at is not None
        assert begin <= incident.opened_at <= end
        assert end <= incident.closed_at


def _set_weather(sandbox: RunningSandbox, now: list[Episode], chance: random.Random) -> None:
    sandbox.faults.clear()
    for episode in now:
        if episode.kind in OUTAGES:
            sandbox.faults.add("*", **OUTAGES[episode.kind])
        elif episode.kind == "restarted":
            sandbox.faults.add("*", drop="before")
        elif episode.kind == "slow":
            sandbox.faults.add("*", delay_seconds=0.05)
        else:
            sandbox.world.settings.version = chance.choice(VERSIONS)


def _work(runtime: Runtime) -> None:
    for connection_id in due_credentials(runtime):
        refresh_credential(runtime, connection_id, QUICK)
    for connection_id in due_connections(runtime):
        check_connection(runtime, connection_id)


def _incidents(runtime: Runtime) -> list[Incident]:
    with runtime.database.reading() as session:
        return list(session.exec(select(Incident).order_by(Incident.id)))  # type: ignore[arg-type]
