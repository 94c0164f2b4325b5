"""A real worker process that knows the sample jobs: `python -m tests.jobs.worker_process '{"poll_seconds": …}'`."""

from __future__ import annotations

import json
import sys

from portal.jobs.pace import Pace
from portal.jobs.worker import run_worker
from portal.logs import configure_logs
from portal.settings import Settings
from tests.jobs import sample_jobs

assert sample_jobs
if __name__ == "__main__":
    configure_logs("INFO")
    raise SystemExit(run_worker(Settings.from_environ(), Pace(**json.loads(sys.argv[1]))))
