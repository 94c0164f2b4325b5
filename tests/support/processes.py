"""Programs that a test starts: whatever happens in the test, they and their children end, and nothing waits forever."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 60
END_SECONDS = 45
# Below the range from which the system assigns ports, so that no connection of another test takes one in between.
PORTS = (10_100, 32_000)


def free_port() -> int:
    """Return a port of loopback that no one listens on."""
    while True:
        port = random.randrange(*PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[None]:
    """Ask a program to end when the block ends, and kill it with its children when it does not."""
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process.pid)
            process.wait()
            raise
        finally:
            if process.stdout:
                process.stdout.close()


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Return the lines a program prints, up to the one that contains a text.

    Raises:
        AssertionError: it ended, or did not print such a line in time.
    """
    assert process.stdout
    lines: list[str] = []
    # A read from a pipe has no deadline; it ends with the program.
    watchdog = threading.Timer(START_SECONDS, _kill, (process.pid,))
    watchdog.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if text in line:
                return lines
    finally:
        watchdog.cancel()
    raise AssertionError(f"it ended without saying {text!r}: {lines}")


def _kill(pid: int) -> None:
    # The children of `serve` have their own sessions, so its process group does not include them.
    children = Path(f"/proc/{pid}/task/{pid}/children")
    born = children.read_text().split() if children.exists() else []
    for number in (pid, *map(int, born)):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
