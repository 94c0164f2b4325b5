"""Real worker processes that know the sample jobs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from portal import build_runtime
from portal.jobs.engine import run_worker
from portal.jobs.engine_settings import Pace
from portal.logs import configure_logs
from portal.settings import Settings
from tests.jobs.sample_jobs import with_samples
from tests.support.children import Forked


class WorkerProcess(Forked):
    """One worker; it writes its log to a file."""

    def __init__(self, environment: dict[str, str], pace: Pace, log: Path) -> None:
        super().__init__(_work, {**os.environ, **environment}, pace, log)


def _work(pace: Pace, log: Path) -> None:
    with log.open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    configure_logs("INFO")
    raise SystemExit(run_worker(with_samples(build_runtime(Settings.from_environ())), pace))
