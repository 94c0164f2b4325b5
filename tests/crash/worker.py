"""A child that is a worker, which hands running jobs back after a second."""

from __future__ import annotations

import sys

from portal import build_runtime
from portal.jobs.engine import run_worker
from portal.jobs.engine_settings import Pace
from portal.settings import Settings

if __name__ == "__main__":
    sys.exit(run_worker(build_runtime(Settings.from_environ()), Pace(grace_seconds=1)))
