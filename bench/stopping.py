"""SIGTERM while GitLab takes its time with token requests: is a pair lost? With the real web server and worker."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
from rich.table import Table

from bench.figures import console
from bench.portal_setup import fresh_runtime, new_organization
from bench.refresh import make_table, on_both_databases
from portal.credentials.models import CredentialState
from portal.operation.serving import web_arguments
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.children import environment_of
from tests.support.paired import Paired, pair
from tests.support.processes import free_port

ROOT = Path(__file__).parent.parent
TOKEN = "/oauth/token"
# As many as the worker refreshes at once.
AT_ONCE = 4
SLOW_SECONDS = (1.0, 5.0)
LONGEST_SECONDS = 60.0


def run(refreshes: int) -> None:
    """Measure and print."""
    table = make_table(
        f"SIGTERM during at least {refreshes} refreshes of {SLOW_SECONDS[0]:.0f} to {SLOW_SECONDS[1]:.0f} s",
        ("processes", "under way at the signal", "pairs lost", "doubts", "exit codes", "seconds to end, longest"),
    )
    on_both_databases(lambda name, url: _measure(table, name, url, refreshes))
    console.print(table)


def _measure(table: Table, name: str, url: str, refreshes: int) -> None:
    with RunningSandbox(with_service_user=True) as sandbox, fresh_runtime(sandbox.url, url) as runtime:
        organization = new_organization(runtime)
        everyone = [pair(runtime, sandbox, organization, slug=f"gitlab-{number}") for number in range(AT_ONCE)]
        for kind in ("web server", "worker"):
            rounds = math.ceil(refreshes / 2 / 2 / AT_ONCE)
            figures = _stop_again_and_again(kind, everyone, rounds)
            table.add_row(f"{name}: {kind}", *figures)


def _stop_again_and_again(kind: str, everyone: list[Paired], rounds: int) -> list[str]:
    under_way, lost, doubts, codes, longest = 0, 0, 0, set(), 0.0
    for _ in range(rounds):
        sandbox, runtime = everyone[0].sandbox, everyone[0].runtime
        sandbox.faults.clear()
        sandbox.requests.clear()
        for _ in everyone:
            sandbox.faults.add(TOKEN, delay_seconds=random.uniform(*SLOW_SECONDS), times=1)
        for paired in everyone:
            paired.make_due()
        with _running(kind, runtime, everyone) as process:
            sandbox.requests.wait_for(TOKEN, len(everyone), LONGEST_SECONDS)
            time.sleep(random.random())
            open_requests = sum(seen.seconds is None for seen in sandbox.requests.all(TOKEN))
            signalled_at = time.monotonic()
            process.terminate()
            codes.add(process.wait(LONGEST_SECONDS))
            longest = max(longest, time.monotonic() - signalled_at)
        under_way += open_requests
        for paired in everyone:
            found = paired.credential
            doubts += bool(found.intent_id or found.may_be_spent)
            if found.state != CredentialState.ALIVE or not paired.holds_the_last_pair():
                lost += 1
                paired.authorize_again()
    told = ", ".join(map(str, sorted(codes)))
    return [str(rounds), str(under_way), str(lost), str(doubts), told, f"{longest:.1f}"]


@contextmanager
def _running(kind: str, runtime: Runtime, everyone: list[Paired]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the web server with someone who demands access by each connection; or the worker, which needs no one."""
    port = free_port()
    if kind == "worker":
        arguments = ["-m", "portal", "worker"]
    else:
        arguments = web_arguments(runtime.settings, f"127.0.0.1:{port}", 1)
        arguments[arguments.index("portal:create_app()")] = "tests.support.demand_page:application()"
    environment = environment_of(runtime, everyone[0].sandbox)
    with (
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        try:
            if kind != "worker":
                for paired in everyone:
                    pool.submit(_demand_by_page, port, paired.connection_id)
            yield process
        finally:
            process.kill()


def _demand_by_page(port: int, connection_id: int) -> None:
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        with suppress(httpx2.ConnectError):
            httpx2.get(f"http://127.0.0.1:{port}/demand/{connection_id}", timeout=LONGEST_SECONDS, trust_env=False)
            return
        time.sleep(0.1)
