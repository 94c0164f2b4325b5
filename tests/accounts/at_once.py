"""Several people do something at the same moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TypeVar

from sqlalchemy import Connection, text

from portal.db import Database

Answer = TypeVar("Answer")
PATIENCE_SECONDS = 60


def at_once(*actions: Callable[[], Answer]) -> list[Answer]:
    """Run every action in its own thread, all starting together, and return what they return."""
    line = threading.Barrier(len(actions))

    def start(action: Callable[[], Answer]) -> Answer:
        line.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(start, actions))


def crowd(database: Database, table: str, *actions: Callable[[], Answer]) -> list[Answer]:
    """Run every action in its own thread, and let none write to a table before all have got that far.

    All of them have read before the first one changes anything: only a guard in the write itself, or a lock taken
        before the read, can tell them apart. So a missing guard shows every time, not just sometimes. SQLite has one
        writer at a time; there they only start together.
    """
    if database.is_sqlite:
        return at_once(*actions)
    with ExitStack() as stack:
        watcher = stack.enter_context(database.engine.connect())
        pool = stack.enter_context(ThreadPoolExecutor(len(actions)))
        with database.engine.connect() as gate:
            gate.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))  # Readers pass; writers wait.
            running = [pool.submit(action) for action in actions]
            ends = time.monotonic() + PATIENCE_SECONDS
            while sum(future.done() for future in running) + _waiting(watcher) < len(actions):
                assert time.monotonic() < ends, "not all of them got as far as the table"
                wait(running, timeout=0.02)
            gate.rollback()
        return [future.result() for future in running]


def _waiting(watcher: Connection) -> int:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    found = watcher.execute(text(statement)).scalar_one()
    watcher.rollback()
    return int(found)
