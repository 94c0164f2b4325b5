"""A child that waits until the others are here, and demands access together with them."""

from __future__ import annotations

from multiprocessing.synchronize import Barrier

from portal import build_runtime
from portal.credentials import demand_access
from portal.settings import Settings
from tests.support.paired import QUICK


def demand(everyone: Barrier, connection_id: int) -> None:
    """Run as a child."""
    runtime = build_runtime(Settings.from_environ())
    runtime.database.ping()
    everyone.wait()
    demand_access(runtime, connection_id, reason="child", times=QUICK)
