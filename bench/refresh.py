"""Many processes, one credential, single-use refresh tokens: how often is GitLab asked, and with what?

The same demands once undisturbed, and once while processes are killed and paused at random. On SQLite and PostgreSQL.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from rich.table import Table

from bench.figures import console
from bench.portal_setup import fresh_runtime, new_organization
from bench.refresh_worker import TIMES, work
from portal.credentials.models import CredentialState
from portal.sandbox.testing import RunningSandbox
from tests.support.paired import Paired, pair
from tests.support.postgresql import running_cluster

PROCESSES = 8
ANSWER_SECONDS = 60.0
DEMANDS_EACH = 3
SLOW_SECONDS = 0.03
CONTEXT = multiprocessing.get_context("forkserver")


class Crew:
    """The demanding processes; a dead one is replaced."""

    def __init__(self, paired: Paired, count: int) -> None:
        settings = paired.runtime.settings
        self._arguments = (
            {
                "base_url": settings.base_url,
                "data_dir": settings.data_dir,
                "database_url": settings.database_url,
                "sandbox_origin": paired.sandbox.url,
                "allow_http": True,
            },
            paired.connection_id,
        )
        self.members = [self._start() for _ in range(count)]
        for number in range(count):
            self._await_ready(number)

    def ask(self, count: int) -> None:
        """Have each process demand this many times."""
        for number, (_, pipe) in enumerate(self.members):
            try:
                pipe.send(count)
            except BrokenPipeError:  # Killed after its last answer.
                self._replace(number)
                self.members[number][1].send(count)

    def answers(self) -> tuple[list[float], list[str]]:
        """Return the milliseconds and the refusals of all live processes; replace the others."""
        took: list[float] = []
        refused: list[str] = []
        for number, (_, pipe) in enumerate(self.members):
            with suppress(EOFError, ConnectionResetError):
                if not pipe.poll(ANSWER_SECONDS):
                    raise AssertionError("a demand takes longer than a minute")
                more, codes = pipe.recv()
                took += more
                refused += codes
                continue
            self._replace(number)
        return took, refused

    def number_of(self, lease_owner: str) -> int:
        """Return the process that holds a lease half of the time, otherwise any."""
        for number, (process, _) in enumerate(self.members):
            if f":{process.pid}:" in lease_owner and random.random() < 0.5:
                return number
        return random.randrange(len(self.members))

    def disturb(self, number: int) -> None:
        """Kill a process, or pause it for less or more than its lease."""
        process, _ = self.members[number]
        assert process.pid
        if random.random() < 0.5:
            os.kill(process.pid, signal.SIGKILL)
            return
        os.kill(process.pid, signal.SIGSTOP)
        # Most pauses are short; some outlast the lease.
        time.sleep(TIMES.lease + 0.3 if random.random() < 0.05 else random.random() * 0.1)
        os.kill(process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End all."""
        for process, _ in self.members:
            process.kill()
            process.join()

    def _start(self) -> tuple[BaseProcess, Connection]:
        mine, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=work, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        return process, mine

    def _replace(self, number: int) -> None:
        self.members[number] = self._start()
        self._await_ready(number)

    def _await_ready(self, number: int) -> None:
        assert self.members[number][1].recv() == "ready"


@contextmanager
def prepared(database_url: str, processes: int = PROCESSES) -> Iterator[tuple[Paired, Crew]]:
    """A connected portal, its sandbox, and processes that demand its credential."""
    CONTEXT.set_forkserver_preload(["bench.refresh_worker"])
    with RunningSandbox(with_service_user=True) as sandbox, fresh_runtime(sandbox.url, database_url) as runtime:
        paired = pair(runtime, sandbox, new_organization(runtime))
        crew = Crew(paired, processes)
        try:
            yield paired, crew
        finally:
            crew.stop()


def on_both_databases(measure: Callable[[str, str], None]) -> None:
    """Call with a name and a URL: SQLite first, then a private PostgreSQL."""
    measure("SQLite", "")
    with running_cluster() as cluster:
        measure("PostgreSQL", cluster.create_database())


def run(demands: int, expiries: int) -> None:
    """Measure undisturbed and print."""
    table = make_table(
        f"{demands:,} demands by {PROCESSES} processes over {expiries} expiries",
        (
            *("token requests", "spent tokens posted", "refused", "cached p50 ms", "p99 ms"),
            *("wait over round trip p50 ms", "p99 ms"),
        ),
    )
    on_both_databases(lambda name, url: table.add_row(name, *_measure_peace(url, demands, expiries)))
    console.print(table)


def run_with_kills(disturbances: int) -> None:
    """Measure while processes are killed and paused, and print."""
    table = make_table(
        f"{disturbances:,} random kills and pauses of {PROCESSES} processes",
        (
            *("demands", "refreshes", "spent tokens posted", "false verdicts", "answers lost in flight"),
            *("lost and told", "doubts settled", "seconds"),
        ),
    )
    on_both_databases(lambda name, url: table.add_row(name, *_measure_war(url, disturbances)))
    console.print(table)


def _measure_peace(url: str, demands: int, expiries: int) -> list[str]:
    waits: list[float] = []
    refused: list[str] = []
    with prepared(url) as (paired, crew):
        crew.ask(demands // PROCESSES // 2)
        crew.answers()
        for _ in range(expiries):
            paired.sandbox.faults.clear()
            paired.sandbox.faults.add("/oauth/token", delay_seconds=0.2)
            paired.make_due()
            crew.ask(demands // 2 // PROCESSES // expiries)
            took, codes = crew.answers()
            refused += codes
            trip = (paired.sandbox.requests.last("/oauth/token").seconds or 0) * 1000
            waits += [value - trip for value in sorted(took)[-PROCESSES:]]
        alone = _alone(paired)
        figures = (paired.token_requests, paired.spent_posts, len(refused))
        assert paired.holds_the_last_pair()
    times = (statistics.median(alone), _p99(alone), statistics.median(waits), _p99(waits))
    return [*map(str, figures), *(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in times)]


def _alone(paired: Paired) -> list[float]:
    """Return the milliseconds of undisturbed demands: what a cached credential costs."""
    took = []
    for _ in range(2_000):
        started = time.perf_counter()
        paired.demand()
        took.append((time.perf_counter() - started) * 1000)
    return took


def _measure_war(url: str, disturbances: int) -> list[str]:
    started, false, lost, told = time.monotonic(), 0, 0, 0
    with prepared(url) as (paired, crew):
        for _ in range(disturbances):
            _make_gitlab_slow(paired)
            paired.make_due()
            crew.ask(DEMANDS_EACH)
            time.sleep(random.random() * 2 * SLOW_SECONDS)
            crew.disturb(crew.number_of(paired.credential.lease_owner))
            crew.answers()
            _settle(paired)
            if paired.credential.state != CredentialState.ALIVE:
                true = paired.stored_token_is_dead()
                false, lost, told = false + (not true), lost + true, told + bool(paired.connection.attention)
                paired.authorize_again()
            elif not paired.holds_the_last_pair():
                raise AssertionError("the stored pair is not the last one")
        refreshes, spent = len(paired.issued) - 1 - lost - false, paired.spent_posts
        settled = sum(event.kind == "settled" for event in paired.events)
    demands, seconds = disturbances * PROCESSES * DEMANDS_EACH, time.monotonic() - started
    return [f"{demands:,}", *map(str, (refreshes, spent, false, lost, told, settled)), f"{seconds:.0f}"]


def _make_gitlab_slow(paired: Paired) -> None:
    """Let GitLab take a while before or after it acts, so that a disturbance hits a running request."""
    paired.sandbox.faults.clear()
    if random.random() < 0.5:
        paired.sandbox.faults.add("/oauth/token", delay_seconds=random.random() * 2 * SLOW_SECONDS)
    else:
        paired.sandbox.faults.add("/oauth/token", drip=(200, random.random() * SLOW_SECONDS))


def _settle(paired: Paired) -> None:
    """Demand until the credential is fresh or has a verdict: a dead process's lease ends in the meantime.

    GitLab has first handled all requests, including those of dead processes: a pair is posted again a minute after an
        unanswered request, and here that may be due at once.
    """
    paired.sandbox.requests.wait_until_answered("/oauth/token", paired.token_requests)
    end = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < end:
        with suppress(Exception):
            paired.demand(TIMES)
            return
        if paired.credential.state != CredentialState.ALIVE:
            return
        time.sleep(0.05)
    raise AssertionError("the credential does not settle")


def make_table(title: str, headings: tuple[str, ...]) -> Table:
    """Return an empty table; the first column names the row."""
    table = Table(title=title, title_justify="left")
    for heading in ("", *headings):
        table.add_column(heading, justify="right" if heading else "left")
    return table


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
