"""A child that runs what is queued."""

from __future__ import annotations

from portal import build_runtime
from portal.jobs.testing import run_pending
from portal.settings import Settings

if __name__ == "__main__":
    run_pending(build_runtime(Settings.from_environ()))
