"""Backups of a portal in use, each restored elsewhere and verified; counts what does not match."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from rich.table import Table

from bench.figures import console
from bench.rotation import Load, filled, work
from portal import build_runtime
from portal.audit.verify import verify_chain
from portal.operation.backup.make import make_backup
from portal.operation.backup.manifest import read_contents
from portal.operation.backup.restore import restore
from portal.operation.backup.sqlite import looking_at
from portal.runtime import Runtime


def run(rounds: int, secrets: int, threads: int) -> None:
    """Measure and print."""
    with filled("SQLite", secrets) as runtime:
        load, over = Load(), threading.Event()
        workers = [threading.Thread(target=work, args=(runtime, load, over, n, threads)) for n in range(threads)]
        for worker in workers:
            worker.start()
        seconds, faults = [], 0
        for _ in range(rounds):
            started = time.perf_counter()
            faults += not _round_trip(runtime)
            seconds.append(time.perf_counter() - started)
        over.set()
        for worker in workers:
            worker.join()
    table = Table(title=f"{rounds} backups of {secrets:,} secrets under load, each restored", title_justify="left")
    for heading in ("median s", "max s", "reads", "writes", "errors of the load", "rounds with a fault"):
        table.add_column(heading, justify="right")
    ordered = sorted(seconds)
    figures = (f"{ordered[len(ordered) // 2]:.2f}", f"{ordered[-1]:.2f}", f"{load.reads:,}", f"{load.writes:,}")
    table.add_row(*figures, str(len(load.errors)), str(faults))
    console.print(table)


def _round_trip(runtime: Runtime) -> bool:
    """Back up, restore elsewhere, and return whether integrity, audit chain and every count are right."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_backup(runtime, Path(folder) / "backup")
        update = {"data_dir": Path(folder) / "there", "key_file": runtime.settings.resolved_key_file}
        there = runtime.settings.model_copy(update=update)
        restore(there, Path(folder) / "backup")
        path = there.data_dir / "gatehouse.db"
        with closing(sqlite3.connect(path)) as connection:
            whole = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with looking_at(path) as connection:
            # The restore itself is an event.
            found = read_contents(connection).rows
        restored = build_runtime(there)
        chained = verify_chain(restored).fault is None
        restored.database.close()
        expected = {**manifest.contents.rows, "audit_event": found["audit_event"]}
        return whole and chained and found == expected
