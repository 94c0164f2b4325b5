"""Other processes of the same portal: they share its database, key ring and data folder, and may die at a point.

They are forked from a process that has imported the portal already: importing it takes longer than most tests.
"""

from __future__ import annotations

import importlib
import io
import json
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from portal import crash_points
from portal.crash_points import EXIT_CODE, VARIABLE
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox

CHILD_SECONDS = 60
DIED = EXIT_CODE
FORKING = multiprocessing.get_context("forkserver")


class Forked:
    """A process that runs a function, from the moment it is made; what it prints goes to files."""

    def __init__(self, function: Callable[..., None], environment: dict[str, str], *arguments: Any) -> None:
        # The server that forks is started with the first process and ends with the tests.
        FORKING.set_forkserver_preload(["tests.support.preloaded"])
        self._outputs = [tempfile.NamedTemporaryFile("r") for _ in range(2)]  # noqa: SIM115
        names = [output.name for output in self._outputs]
        self._process = FORKING.Process(target=_run, args=(function, environment, names, *arguments), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative after a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float = CHILD_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"it still runs after {seconds} s"
        return self._process.exitcode

    def communicate(self, seconds: float = CHILD_SECONDS) -> tuple[str, str]:
        """Wait for its end and return what it printed: output and errors."""
        self.wait(seconds)
        output, errors = (printed.read() for printed in self._outputs)
        return output, errors

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()


def _run(function: Callable[..., None], environment: dict[str, str], outputs: list[str], *arguments: Any) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for name, stream in zip(outputs, (sys.stdout, sys.stderr), strict=True):
        with open(name, "ab") as output:
            os.dup2(output.fileno(), stream.fileno())
    importlib.reload(crash_points)  # It reads its variable when it is imported.
    function(*arguments)


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
) -> Forked:
    """Run a module as a program, with its arguments as JSON on standard input."""
    return Forked(_run_module, environment_of(runtime, sandbox, crash_at), module, json.dumps(arguments))


def _run_module(module: str, given: str) -> None:
    sys.stdin = io.StringIO(given)
    runpy.run_module(module, run_name="__main__")


def run_child(
    runtime: Runtime, sandbox: RunningSandbox, module: str, arguments: Mapping[str, Any], crash_at: str = ""
) -> int:
    """Run a child to its end and return its exit code; `DIED` if it died at the point."""
    child = start_child(runtime, sandbox, module, arguments, crash_at)
    try:
        _, errors = child.communicate()
    finally:
        child.kill()
    code = child.wait()
    assert code in {0, DIED}, errors
    return code
