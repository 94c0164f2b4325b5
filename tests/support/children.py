"""Other processes of the same portal: they share its database, key ring and data folder, and may die at a point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from portal.crash_points import EXIT_CODE, VARIABLE
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox

CHILD_SECONDS = 60
DIED = EXIT_CODE


def environment_of(runtime: Runtime, sandbox: RunningSandbox, crash_at: str = "") -> dict[str, str]:
    """Return the environment in which a child builds the same runtime."""
    settings = runtime.settings
    mine = {
        "GATEHOUSE_BASE_URL": settings.base_url,
        "GATEHOUSE_DATA_DIR": str(settings.data_dir),
        "GATEHOUSE_DATABASE_URL": settings.database_url,
        "GATEHOUSE_KEY_FILE": str(settings.resolved_key_file),
        "GATEHOUSE_SANDBOX_ORIGIN": sandbox.url,
        "GATEHOUSE_ALLOW_HTTP": "true",
    }
    return {**os.environ, **mine, VARIABLE: crash_at}


def start_child(
    runtime: Runtime, sandbox: RunningSandbox, module: str, arguments: Mapping[str, Any], crash_at: str = ""
) -> subprocess.Popen[str]:
    """Start `python -m <module>` with its arguments as JSON on standard input (they may be secret)."""
    child = subprocess.Popen(
        [sys.executable, "-m", module],
        env=environment_of(runtime, sandbox, crash_at),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    child.stdin.write(json.dumps(arguments))
    child.stdin.close()
    child.stdin = None
    return child


def run_child(
    runtime: Runtime, sandbox: RunningSandbox, module: str, arguments: Mapping[str, Any], crash_at: str = ""
) -> int:
    """Run a child to its end and return its exit code; `DIED` if it died at the point."""
    child = start_child(runtime, sandbox, module, arguments, crash_at)
    try:
        _, errors = child.communicate(timeout=CHILD_SECONDS)
    finally:
        child.kill()
    assert child.returncode in {0, DIED}, errors
    return child.returncode
