"""What a GitLab that refuses, insists or is unreachable means for people: who is asked, and how soon access is back.

On a simulated clock, which no one waits for; a GitLab that accepts connections and stays silent is measured in real
time. While simulated time passes, the planned refresh runs every 30 seconds and someone demands access.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import product

import time_machine

from bench.figures import console
from bench.portal_setup import fresh_runtime, new_organization
from bench.refresh import make_table, on_both_databases
from portal.credentials import (
    TIMES,
    AccessUnavailable,
    RefreshTimes,
    demand_access,
    due_credentials,
    refresh_credential,
)
from portal.credentials.models import CredentialState
from portal.db import utc_now
from portal.sandbox.testing import RunningSandbox
from tests.support.paired import QUICK, Paired, pair
from tests.support.simulated import OUTAGES, simulated_clock

TOKEN = "/oauth/token"
PLANNED_SECONDS = 30
REFUSALS = {"the pair": "refuse_good_refreshes", "the client": "refuse_good_clients"}
# Not "limited": GitLab then says itself how long to wait. "Cut off" begins with a request whose answer does not arrive.
AWAY = {kind: OUTAGES[kind] for kind in ("gone", "maintenance", "sign-in page")} | {"cut off": {}}
OUTAGE = timedelta(minutes=10)
SILENT_SECONDS = 90.0


class Portal:
    """A portal that keeps working while its clock is moved, and one of its connections."""

    def __init__(self, paired: Paired, clock: time_machine.Traveller) -> None:
        self.paired = paired
        self._clock = clock
        self._planned_at = utc_now()

    def pass_time(self, seconds: float) -> bool:
        """Let time pass, then run what is due; return whether someone who wants access has it."""
        self._clock.shift(timedelta(seconds=seconds))
        if utc_now() >= self._planned_at:
            self._planned_at = utc_now() + timedelta(seconds=PLANNED_SECONDS)
            for connection_id in due_credentials(self.paired.runtime):
                refresh_credential(self.paired.runtime, connection_id, QUICK)
        return has_access(self.paired)

    @property
    def has_told(self) -> bool:
        """Whether people are asked for something."""
        return self.paired.connection.attention is not None


def has_access(paired: Paired, times: RefreshTimes = QUICK) -> bool:
    """Demand access once."""
    try:
        demand_access(paired.runtime, paired.connection_id, reason="bench", times=times)
    except AccessUnavailable:
        return False
    return True


def run(runs: int) -> None:
    """Measure everything and print."""
    _refuses_and_accepts(runs)
    _insists(runs)
    _away(runs)
    _silent(connections=20)


@contextmanager
def _simulated(url: str) -> Iterator[Portal]:
    with (
        simulated_clock() as clock,
        RunningSandbox(with_service_user=True) as sandbox,
        fresh_runtime(sandbox.url, url) as runtime,
    ):
        yield Portal(pair(runtime, sandbox, new_organization(runtime)), clock)


def _refuses_and_accepts(runs: int) -> None:
    table = make_table(
        f"GitLab refuses 1 to 5 times and then accepts, {runs} runs on each database, simulated clock",
        ("people asked", "not healed", "seconds without access, longest", "spent tokens posted"),
    )

    def measure(name: str, url: str) -> None:
        with _simulated(url) as portal:
            for what, is_over in product(REFUSALS, (False, True)):
                figures = _refuse_and_accept(portal, REFUSALS[what], runs // 4, is_over=is_over)
                table.add_row(f"{name}: {what}, {'after the end' if is_over else 'token alive'}", *figures)

    on_both_databases(measure)
    console.print(table)


def _refuse_and_accept(portal: Portal, switch: str, runs: int, *, is_over: bool) -> list[str]:
    paired, asked, unhealed, longest, refused = portal.paired, 0, 0, 0.0, 0
    posts = paired.spent_posts
    for number in range(runs):
        paired.authorize_again()
        paired.make_old(-1.0 if is_over else random.uniform(300, 600), due_before=600)
        setattr(paired.sandbox.world.settings, switch, number % 5 + 1)
        refused += number % 5 + 1
        generation, without = paired.credential.generation, 0.0
        for _ in range(200):
            without = 0.0 if portal.pass_time(5.0) else without + 5.0
            longest = max(longest, without)
            if paired.credential.generation > generation:
                break
        unhealed += paired.credential.generation == generation
        asked += portal.has_told
    # A refused pair was posted, but it was not spent.
    spent = paired.spent_posts - posts - (refused if switch == REFUSALS["the pair"] else 0)
    return [str(asked), str(unhealed), f"{longest:.0f}", str(spent)]


def _insists(runs: int) -> None:
    table = make_table(
        f"GitLab refuses permanently, {runs} runs on each database, simulated clock",
        ("not told", "minutes from the token's end to the word, median", "longest", "served to the end"),
    )

    def measure(name: str, url: str) -> None:
        with _simulated(url) as portal:
            for what, switch in REFUSALS.items():
                table.add_row(f"{name}: {what}", *_insist(portal, switch, runs // 2))

    on_both_databases(measure)
    console.print(table)


def _insist(portal: Portal, switch: str, runs: int) -> list[str]:
    paired, minutes, untold, served = portal.paired, [], 0, 0
    for _ in range(runs):
        paired.authorize_again()
        # Due before its end, or long past it: no one asked for a while.
        left = random.choice([random.uniform(1, 600), -random.uniform(0, 7200)])
        paired.make_old(left, due_before=600)
        setattr(paired.sandbox.world.settings, switch, 10_000)
        ends_at = utc_now() + timedelta(seconds=max(left, 0.0))
        is_served = True
        for _ in range(400):
            has_access_now = portal.pass_time(random.uniform(1.0, 9.0))
            is_served = is_served and (has_access_now or utc_now() >= ends_at)
            if portal.has_told and utc_now() >= ends_at:
                break
        untold += not portal.has_told
        served += is_served
        minutes.append((utc_now() - ends_at).total_seconds() / 60)
        setattr(paired.sandbox.world.settings, switch, 0)
    return [str(untold), f"{statistics.median(minutes):.1f}", f"{max(minutes):.1f}", str(served)]


def _away(runs: int) -> None:
    table = make_table(
        f"GitLab is unreachable for ten minutes, {runs} runs on each database, simulated clock, someone asks once a "
        f"second",
        ("access all the time", "others: seconds to access, median", "longest", "lost", "spent tokens posted"),
    )

    def measure(name: str, url: str) -> None:
        with _simulated(url) as portal:
            for kind, faults in AWAY.items():
                table.add_row(f"{name}: {kind}", *_be_away(portal, kind, faults, runs // len(AWAY)))

    on_both_databases(measure)
    console.print(table)


def _be_away(portal: Portal, kind: str, faults: dict[str, object], runs: int) -> list[str]:
    paired, seconds, lost, posts = portal.paired, [], 0, portal.paired.spent_posts
    for _ in range(runs):
        paired.authorize_again()
        # The refresh falls into the outage, and so does the token's end for most.
        paired.make_old(random.uniform(-60, 900), due_before=600)
        seconds.append(_live_through_an_outage(portal, kind, faults))
        lost += paired.credential.state != CredentialState.ALIVE
    waited = [value for value in seconds if value]
    middle, longest = (statistics.median(waited), max(waited)) if waited else (0.0, 0.0)
    figures = (len(seconds) - len(waited), f"{middle:.1f}", f"{longest:.1f}", lost, paired.spent_posts - posts)
    return [str(figure) for figure in figures]


def _live_through_an_outage(portal: Portal, kind: str, faults: dict[str, object]) -> float:
    """Return the seconds from GitLab's return until someone has access."""
    sandbox, ends_at = portal.paired.sandbox, utc_now() + OUTAGE
    if kind == "cut off":
        sandbox.faults.add(TOKEN, drop="before", times=1)
        sandbox.faults.add("*", status=503, html=True)
    else:
        sandbox.faults.add("*", **faults)
    has_access_now = False
    while (left := (ends_at - utc_now()).total_seconds()) > 0:
        has_access_now = portal.pass_time(min(left, 30.0 if left > 30 else random.uniform(0.9, 1.1)))
    sandbox.faults.clear()
    if has_access_now:
        return 0.0
    portal.pass_time(random.random())
    while not portal.pass_time(1.0):
        assert utc_now() < ends_at + OUTAGE
    return (utc_now() - ends_at).total_seconds()


def _silent(connections: int) -> None:
    table = make_table(
        f"GitLab accepts connections and stays silent for {SILENT_SECONDS:.0f} s, {connections} connections, real time",
        ("without access at its end", "access after, seconds, median", "longest", "lost"),
    )
    on_both_databases(lambda name, url: table.add_row(name, *_measure_silence(url, connections)))
    console.print(table)


def _measure_silence(url: str, connections: int) -> list[str]:
    with RunningSandbox(with_service_user=True) as sandbox, fresh_runtime(sandbox.url, url) as runtime:
        organization = new_organization(runtime)
        everyone = [pair(runtime, sandbox, organization, slug=f"gitlab-{number}") for number in range(connections)]
        for paired in everyone:
            paired.make_old(random.uniform(-60, 60), due_before=600)
        # It never answers earlier requests, nor does it act on them.
        sandbox.faults.add("*", delay_seconds=600.0, drop="before")
        returned_at: list[float] = []

        def ask(paired: Paired) -> float | None:
            """Ask once a second; return when access was back, None if it was not missing at the end."""
            time.sleep(random.random())
            is_missing = False
            while True:
                started, has = time.monotonic(), has_access(paired, TIMES)
                if returned_at and started > returned_at[0]:
                    if has or paired.credential.state != CredentialState.ALIVE:
                        return time.monotonic() - returned_at[0] if is_missing else None
                else:
                    is_missing = not has
                time.sleep(max(1.0 - (time.monotonic() - started), 0.0))

        with ThreadPoolExecutor(connections) as pool:
            asking = [pool.submit(ask, paired) for paired in everyone]
            time.sleep(SILENT_SECONDS)
            returned_at.append(time.monotonic())
            sandbox.faults.clear()
            found = [seconds for future in asking if (seconds := future.result()) is not None]
        lost = sum(paired.credential.state != CredentialState.ALIVE for paired in everyone)
    return [str(len(found)), f"{statistics.median(found):.1f}", f"{max(found):.1f}", str(lost)]
