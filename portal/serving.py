"""Run the portal on one machine: web server, worker and, for trying it out, the sandbox, as child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.parse import urlsplit

from portal.settings import ENV_PREFIX, Settings

ACCESS_LOG_FORMAT = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(L)ss'  # No query string: it may hold `code` and `state`.
GRACE_SECONDS = 20
WEB_THREADS = 8
# Longer than the longest deadline of a request of ours to GitLab, so that none is cut in the middle.
WEB_TIMEOUT_SECONDS = 150
CHECK_SECONDS = 0.5


@dataclass
class Supervisor:
    """Keeps child processes running until a signal ends them all; a worker that dies is started again."""

    log_file: Path | None = None
    children: dict[str, tuple[list[str], subprocess.Popen[bytes]]] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    # Their death is survivable: jobs wait, the portal's pages still answer.
    restartable: frozenset[str] = frozenset({"worker", "sandbox"})

    def start(self, name: str, arguments: list[str]) -> None:
        """Start `python <arguments>` under a name."""
        output = self._output()
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
            [sys.executable, *arguments], stdout=output, stderr=output, start_new_session=True
        )
        self.children[name] = (arguments, process)

    def listen(self) -> None:
        """Take the signals that end the program; call it before the first child starts, so that none is orphaned."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def run(self) -> int:
        """Wait until a signal arrives or a child that must live has died; then stop the others."""
        code = 0
        while not self.stopping.wait(CHECK_SECONDS):
            code = self._mind_children()
            if code:
                break
        self.stop()
        return code

    def stop(self) -> None:
        """Ask every child to finish, and wait for it within the grace period."""
        for _, process in self.children.values():
            if process.poll() is None:
                process.terminate()
        for _, process in self.children.values():
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def _mind_children(self) -> int:
        for name, (arguments, process) in list(self.children.items()):
            code = process.poll()
            if code is None:
                continue
            if name not in self.restartable:
                return code or 1
            self.start(name, arguments)
        return 0

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()

    def _output(self) -> IO[bytes] | None:
        if self.log_file is None:
            return None
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        return self.log_file.open("ab")


def web_arguments(settings: Settings, bind: str, workers: int) -> list[str]:
    """Return the arguments that start gunicorn on `bind` (`host:port`)."""
    return [
        "-m",
        "gunicorn",
        "portal:create_app()",
        f"--bind={bind}",
        f"--workers={workers}",
        "--worker-class=gthread",
        f"--threads={WEB_THREADS}",
        f"--timeout={WEB_TIMEOUT_SECONDS}",
        f"--graceful-timeout={GRACE_SECONDS}",
        "--no-control-socket",  # It would write under the home directory.
        "--access-logfile=-",
        f"--access-logformat={ACCESS_LOG_FORMAT}",
        f"--log-level={settings.log_level.lower()}",
    ]


def bind_address(settings: Settings) -> str:
    """Return `host:port` of the base URL, where a portal without a reverse proxy listens."""
    parts = urlsplit(settings.base_url)
    return f"{parts.hostname}:{parts.port or 8000}"


def export(**values: str) -> None:
    """Hand settings on to the children, through their environment."""
    os.environ.update({ENV_PREFIX + name.upper(): value for name, value in values.items()})
