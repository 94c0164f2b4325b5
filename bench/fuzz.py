"""`make fuzz`: requests from hell over all routes, in several processes, a share of them as bytes to a real server;
then deliveries from hell to the intake of webhooks, on SQLite, and a share of them on PostgreSQL.

A failure prints the seed that shows it again: `python -m bench.fuzz --seed 1 --block 17`.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import util
from pathlib import Path

from argon2 import PasswordHasher
from rich.table import Table

from bench.figures import console
from bench.portal_setup import authorized_connection, fresh_runtime
from portal import create_app
from portal.accounts import passwords
from portal.db import Database
from portal.operation.start import bring_up_to_date
from portal.vault import KeyRing
from tests.fuzz.deliveries import DeliveryWorld
from tests.fuzz.raw import run_raw_block
from tests.fuzz.world import ACTORS, BLOCK, Found, FuzzWorld
from tests.support.postgresql import running_cluster
from tests.web_server.served import Served, serving

# One in this many blocks goes over a socket.
RAW_EVERY = 50
# One in this many blocks of deliveries is sent on PostgreSQL too.
POSTGRESQL_EVERY = 10
REPORT_EVERY = 100_000
# Of work on one answer.
MAX_SECONDS = 1.0
MEMORY = Path("/dev/shm")


class Process:
    """What one process uses: its own application, and a server once the first block needs it."""

    def __init__(self, folder: Path, seed: int) -> None:
        # Hashing is slow on purpose, and not what is tested here.
        passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self._seed = seed
        self._folder = folder / str(os.getpid())
        self._stack = ExitStack()
        ring = KeyRing.from_file(folder / "keys.json")
        self._world = FuzzWorld(self._folder / "world", folder / "migrated.db", ring, MAX_SECONDS)
        self._stack.callback(self._world.close)
        self._served: Served | None = None

    def run(self, number: int) -> Found:
        """Ask one block."""
        if number % RAW_EVERY:
            return self._world.run_block(self._seed, number)
        if self._served is None:
            (self._folder / "served").mkdir()
            self._served = self._stack.enter_context(serving(self._folder / "served", self._world.beginning))
        email = self._world.cast.auditor.email if number // RAW_EVERY % 2 else ""
        world = self._world
        return run_raw_block(self._served, world.app, world.names, email, self._seed, number, BLOCK)

    def close(self) -> None:
        """End the server and close the database."""
        self._stack.close()


_process: Process


def begin(folder: Path, seed: int) -> None:
    """Prepare this process for its blocks."""
    global _process
    _be_quiet()
    _process = Process(folder, seed)
    util.Finalize(None, _process.close, exitpriority=10)


def run_block(number: int) -> Found:
    """Ask one block; an error while asking is a failure, too."""
    try:
        return _process.run(number)
    except Exception:
        return Found(failures=[f"block {number} ended with {traceback.format_exc()}"])


@contextmanager
def prepared() -> Iterator[Path]:
    """A folder in memory, where there is one, with a migrated database and a key ring."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as name:
        folder = Path(name)
        database = Database(f"sqlite:///{folder / 'migrated.db'}")
        bring_up_to_date(database)
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        KeyRing.create_file(folder / "keys.json")
        yield folder


def run(requests: int, seed: int, processes: int, block: int | None = None) -> int:
    """Send this many requests, or one block; print what was found and return the number of failures."""
    blocks = [block] if block is not None else range(-(-requests // BLOCK))
    context, total, started = multiprocessing.get_context("spawn"), Found(), time.monotonic()
    with (
        prepared() as folder,
        ProcessPoolExecutor(processes, context, initializer=begin, initargs=(folder, seed)) as pool,
    ):
        for done, found in enumerate(pool.map(run_block, blocks), 1):
            total.add(found)
            for failure in found.failures:
                print(failure, flush=True)
            if done * BLOCK % REPORT_EVERY == 0:
                seconds = time.monotonic() - started
                print(f"{total.requests:,} in {seconds:.0f} s, {len(total.failures)} failures", flush=True)
    _show(f"requests as {', '.join(ACTORS)}", total, time.monotonic() - started)
    return len(total.failures)


@contextmanager
def _delivering(url: str = "") -> Iterator[DeliveryWorld]:
    with fresh_runtime("", url) as runtime:
        connection_id = authorized_connection(runtime, "http://127.0.0.1:1", "a-token-of-this-run")
        yield DeliveryWorld(create_app(runtime=runtime), runtime, connection_id, MAX_SECONDS)


def run_deliveries(given: tuple[int, int, int]) -> Found:
    """Send the blocks of deliveries that one process is given: seed, first and last."""
    seed, first, last = given
    with _delivering() as world:
        return sum_of(world.run_block(seed, number) for number in range(first, last))


def sum_of(blocks: Iterable[Found]) -> Found:
    """Return what several blocks have shown, and print their failures."""
    total = Found()
    for found in blocks:
        total.add(found)
        for failure in found.failures:
            print(failure, flush=True)
    return total


def run_intake(deliveries: int, seed: int, processes: int) -> int:
    """Send this many deliveries; print what was found and return the number of failures."""
    started, blocks = time.monotonic(), -(-deliveries // BLOCK)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_be_quiet) as pool:
        edges = [blocks * part // processes for part in range(processes + 1)]
        total = sum_of(pool.map(run_deliveries, [(seed, *pair) for pair in itertools.pairwise(edges)]))
    with running_cluster() as cluster, _delivering(cluster.create_database()) as world:
        total.add(sum_of(world.run_block(seed, number) for number in range(0, blocks, POSTGRESQL_EVERY)))
    _show("deliveries", total, time.monotonic() - started)
    return len(total.failures)


def _be_quiet() -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives


def _show(title: str, total: Found, seconds: float) -> None:
    table = Table(title=f"{total.requests:,} {title}", title_justify="left")
    for heading in ("failures", "5xx", "longest answer, s", "longest work on one, s", "requests/s"):
        table.add_column(heading, justify="right")
    errors = sum(count for status, count in total.statuses.items() if status >= 500)
    longest, work_longest = total.longest
    rate = total.requests / seconds
    table.add_row(str(len(total.failures)), str(errors), f"{longest:.2f}", f"{work_longest:.2f}", f"{rate:,.0f}")
    console.print(table)
    console.print(", ".join(f"{status or 'closed'}: {count:,}" for status, count in sorted(total.statuses.items())))


def main() -> None:
    """Read the command line; the exit code says whether there are failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--deliveries", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--block", type=int, help="ask this one block only")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    failures = run(given.requests, given.seed, given.processes, given.block) if given.requests else 0
    if given.block is None and given.deliveries:
        failures += run_intake(given.deliveries, given.seed, given.processes)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
