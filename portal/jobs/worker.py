"""The worker process: `gatehouse worker`, and beside the web server when the portal runs on one machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType

from portal.jobs.engine import Engine
from portal.jobs.engine_settings import Pace
from portal.logs import get_logger
from portal.runtime import Runtime

EXIT_BROKEN = 1
CHECK_SECONDS = 0.5

log = get_logger(__name__)


def run_worker(runtime: Runtime, pace: Pace | None = None) -> int:
    """Run jobs until SIGTERM or SIGINT; return the exit code.

    At the signal nothing more is claimed and no token request is started; a running one is finished. Running jobs
    end, or go back to the queue at their next `raise_if_stopped`, or are taken away when the grace period is over.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        runtime.shutdown.begin()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    engine = Engine(runtime, pace)
    if not engine.start(stop):
        return 0
    while not stop.wait(CHECK_SECONDS) and not engine.broken.is_set():
        pass
    code = EXIT_BROKEN if engine.broken.is_set() else 0
    if not engine.stop():
        # A job still holds a thread, and the interpreter would wait for it forever. It has been handed back.
        logging.shutdown()
        os._exit(code)
    return code
