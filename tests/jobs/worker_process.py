"""Real worker processes that know the sample jobs, forked from a process that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from portal import build_runtime
from portal.jobs.engine import run_worker
from portal.jobs.engine_settings import Pace
from portal.logs import configure_logs
from portal.settings import Settings
from tests.jobs.sample_jobs import with_samples

END_SECONDS = 60
_forking = multiprocessing.get_context("forkserver")


class WorkerProcess:
    """One worker, from the moment it is made; it writes its log to a file."""

    def __init__(self, environment: dict[str, str], pace: Pace, log: Path) -> None:
        # The server that forks is started with the first worker and ends with the tests.
        _forking.set_forkserver_preload([__name__])
        self._process = _forking.Process(target=_work, args=(environment, pace, log))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Wait for its end and return the exit code, which is negative after a signal."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"it still runs after {seconds} s"
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()


def _work(environment: dict[str, str], pace: Pace, log: Path) -> None:
    os.environ.update(environment)
    with log.open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    configure_logs("INFO")
    raise SystemExit(run_worker(with_samples(build_runtime(Settings.from_environ())), pace))
