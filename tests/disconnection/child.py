"""A process that disconnects, or runs the queued jobs: `python -m tests.disconnection.child`, arguments as JSON."""

from __future__ import annotations

import json
import sys

from portal import build_runtime
from portal.disconnection.disconnect import disconnect
from portal.jobs.testing import run_pending
from portal.settings import Settings
from tests.support.people import Actor
from tests.support.walkthrough import principal_of

if __name__ == "__main__":
    given = json.load(sys.stdin)
    runtime = build_runtime(Settings.from_environ())
    if given["what"] == "disconnect":
        actor = Actor(given["user_id"], given["organization_id"], 0, "", "owner")
        disconnect(runtime, principal_of(runtime, actor), "gitlab", "keep", "Gitlab")
    else:
        run_pending(runtime)
