"""Run the portal on one machine: web server, worker and, to try it out, the sandbox, as child processes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.parse import urlsplit

from portal.operation.listening import SUPERVISOR_VARIABLE, Endpoint, Listener, own_mark
from portal.private import private_folder
from portal.settings import DEFAULT_PORTS, ENV_PREFIX, LOOPBACK_HOSTS, Settings

# Longer than a token request and the storing of its answer may take, 70 s: a restart must not lose a pair. An idle web
# server or worker ends at once.
WEB_GRACE_SECONDS = 80
GRACE_SECONDS = 95
CHECK_SECONDS = 0.5
# A child that keeps dying at once is restarted less and less often.
RESTART_SECONDS = 0.5
MAX_RESTART_SECONDS = 30.0
PROXIED_PORT = 8000
PR_SET_PDEATHSIG = 1  # From linux/prctl.h.


@dataclass
class Child:
    """One program that the supervisor started.

    Attributes:
        arguments: of the Python interpreter.
        sockets: already listening, handed over under the same numbers; its arguments name them.
    """

    arguments: list[str]
    sockets: Sequence[Listener]
    process: subprocess.Popen[bytes]
    started_at: float
    restarts: int = 0
    restart_at: float | None = None


@dataclass
class Supervisor:
    """Keeps child processes running until a signal ends them all; a worker that dies is restarted.

    When this process dies, even if killed, the kernel ends its children.
    """

    log_file: Path | None = None
    # What the children's environment has in addition to ours, by the name of the setting.
    settings: Mapping[str, str] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    # Their death is survivable: jobs wait, the portal's pages still answer.
    restartable: frozenset[str] = frozenset({"worker", "sandbox"})

    def start(self, name: str, arguments: list[str], sockets: Sequence[Listener] = ()) -> None:
        """Start `python <arguments>` under a name."""
        output = self._output()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
                [sys.executable, *arguments],
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[listener.fileno() for listener in sockets],
                env={
                    **os.environ,
                    **{ENV_PREFIX + name.upper(): value for name, value in self.settings.items()},
                    SUPERVISOR_VARIABLE: own_mark(),
                },
                preexec_fn=_end_with_parent(),
            )
        finally:
            if output is not None:
                output.close()
        self.children[name] = Child(arguments, sockets, process, time.monotonic())

    def hand_over(self, name: str) -> None:
        """Close our copies of a child's sockets, so that no client hangs on a port that no one serves when it ends."""
        for listener in self.children[name].sockets:
            listener.close()

    def listen(self) -> None:
        """Handle the signals that end the program; call it before the first child starts, so that none is orphaned."""
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
        for name, child in self.children.items():
            self.hand_over(name)
            if child.process.poll() is None:
                child.process.terminate()
        for child in self.children.values():
            try:
                child.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()

    def ended(self, name: str) -> int | None:
        """Return the exit code of a child; None while it runs."""
        return self.children[name].process.poll()

    def _mind_children(self) -> int:
        now = time.monotonic()
        for name, child in list(self.children.items()):
            code = child.process.poll()
            if code is None:
                continue
            if name not in self.restartable:
                return code if code > 0 else 1
            if child.restart_at is None:
                lived = now - child.started_at
                restarts = child.restarts + 1 if lived < MAX_RESTART_SECONDS else 1
                pause = 0.0 if restarts == 1 else min(MAX_RESTART_SECONDS, RESTART_SECONDS * 2.0 ** (restarts - 1))
                child.restarts, child.restart_at = restarts, now + pause
            if child.restart_at <= now:
                self.start(name, child.arguments, child.sockets)
                self.children[name].restarts = child.restarts
        return 0

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()

    def _output(self) -> IO[bytes] | None:
        if self.log_file is None:
            return None
        private_folder(self.log_file.parent)
        descriptor = os.open(self.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.fchmod(descriptor, 0o600)  # A file from an earlier version may be readable by others.
        return os.fdopen(descriptor, "ab")


def _end_with_parent() -> Callable[[], None] | None:
    """Return what a child does before its program begins: have the kernel send SIGTERM when this process dies.

    The request outlives `exec`. It does not pass on to children of children: gunicorn's workers watch their parent.
    """
    if sys.platform != "linux":
        return None
    # Looked up here: between fork and exec a child may do next to nothing.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # It died in between.
            os._exit(1)

    return ask


def web_arguments(settings: Settings, bind: str, workers: int) -> list[str]:
    """Return the arguments that start gunicorn on `bind` (`host:port`); the rest is in `gatehouse_gunicorn.py`."""
    return [
        "-m",
        "gunicorn",
        "--config=python:gatehouse_gunicorn",
        "portal:create_app()",
        f"--bind={bind}",
        f"--workers={workers}",
        f"--graceful-timeout={WEB_GRACE_SECONDS}",
        f"--log-level={settings.log_level.lower()}",
    ]


def start_children(
    supervisor: Supervisor, settings: Settings, sockets: Mapping[str, Sequence[Listener]], workers: int
) -> None:
    """Start the sandbox if there are sockets for it, the worker unless it runs elsewhere, and the web server."""
    if at_sandbox := sockets.get("sandbox"):
        numbers = [f"--listen-fd={listener.fileno()}" for listener in at_sandbox]
        port = at_sandbox[0].getsockname()[1]
        supervisor.start("sandbox", ["-m", "portal", "sandbox", f"--port={port}", *numbers], at_sandbox)
    if settings.embedded_worker:
        supervisor.start("worker", ["-m", "portal", "worker"])
    first, *others = [f"fd://{listener.fileno()}" for listener in sockets["web"]]
    arguments = [*web_arguments(settings, first, workers), *(f"--bind={other}" for other in others)]
    supervisor.start("web", arguments, sockets["web"])


def default_endpoint(settings: Settings) -> Endpoint:
    """Return where the base URL leads if that is this machine; behind a reverse proxy, port 8000 on loopback."""
    parts = urlsplit(settings.base_url)
    if parts.hostname not in LOOPBACK_HOSTS or settings.is_https:
        return Endpoint("127.0.0.1", PROXIED_PORT)
    return Endpoint(parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
