"""One of the processes that demand a credential at the same time; it is killed and paused from outside."""

from __future__ import annotations

import logging
import time
from multiprocessing.connection import Connection

from portal import build_runtime
from portal.credentials import AccessUnavailable, RefreshTimes, demand_access
from portal.settings import Settings

# No one waits for a lease of 90 s here: the order of things is the same with a short one.
TIMES = RefreshTimes(lease=2.0, commit=0.5, request=1.0, probe=1.0, slow_probe=1.0, patience=20.0)


def work(pipe: Connection, settings: dict[str, object], connection_id: int) -> None:
    """Answer each number n with the milliseconds of n demands, and with the codes of those that were refused."""
    logging.disable(logging.WARNING)
    runtime = build_runtime(Settings(**settings))  # type: ignore[arg-type]
    runtime.database.ping()
    pipe.send("ready")
    while (count := pipe.recv()) is not None:
        pipe.send(_demand(runtime, connection_id, count))


def _demand(runtime: object, connection_id: int, count: int) -> tuple[list[float], list[str]]:
    took, refused = [], []
    for _ in range(count):
        started = time.perf_counter()
        try:
            demand_access(runtime, connection_id, reason="bench", times=TIMES)  # type: ignore[arg-type]
        except AccessUnavailable as error:
            refused.append(error.card.code)
        took.append((time.perf_counter() - started) * 1000)
    return took, refused
