"""A child that demands access once, as any worker does."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from portal import build_runtime
from portal.credentials import AccessUnavailable, demand_access
from portal.settings import Settings
from tests.support.paired import QUICK

if __name__ == "__main__":
    arguments = json.load(sys.stdin)
    times = replace(QUICK, request=arguments.get("request_seconds", QUICK.request))
    try:
        demand_access(build_runtime(Settings.from_environ()), arguments["connection_id"], reason="child", times=times)
    except AccessUnavailable as error:
        print(error.card.code)
