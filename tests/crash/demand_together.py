"""A child that reports being ready, waits for a signal, and demands access."""

from __future__ import annotations

import sys

from portal import build_runtime
from portal.credentials import demand_access
from portal.settings import Settings
from tests.support.paired import QUICK

if __name__ == "__main__":
    runtime = build_runtime(Settings.from_environ())
    runtime.database.ping()
    print("here", flush=True)
    demand_access(runtime, int(sys.stdin.readline()), reason="child", times=QUICK)
