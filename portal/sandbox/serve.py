"""Serves the sandbox until a signal ends it; what `gatehouse sandbox` runs."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from portal.sandbox.options import SandboxOptions
from portal.sandbox.server import SandboxServer


def serve(options: SandboxOptions, ready: Callable[[str], None] | None = None, descriptors: Sequence[int] = ()) -> None:
    """Answer until SIGINT or SIGTERM; `ready` is called with the address once the port is open.

    `descriptors` are sockets that already listen; without any the sandbox binds its own.

    Must run in the main thread. Raises NotLoopback for any other address, OSError if the port is taken.
    """
    stopped = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    server = SandboxServer(options)
    server.start([socket.socket(fileno=number) for number in descriptors])
    try:
        if ready is not None:
            ready(server.url)
        stopped.wait()
    finally:
        server.stop()
