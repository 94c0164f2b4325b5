"""What must not be cut off when the process ends: GitLab's answer to a request that cannot be repeated."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class ShuttingDown(Exception):
    """This process is ending: nothing is started that would have to be finished."""


class Shutdown:
    """Counts what is running in this process; after `begin` nothing is added."""

    def __init__(self) -> None:
        # A plain attribute: it is set in a signal handler, where no lock may be taken.
        self.has_begun = False
        self._under_way = 0
        self._changed = threading.Condition()

    def begin(self) -> None:
        """Let nothing else start."""
        self.has_begun = True

    def begin_with_server(self) -> None:
        """Begin when this process's web server is told to stop, which then waits for its requests."""
        server = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not callable(server):
            return

        def on_signal(number: int, frame: FrameType | None) -> None:
            self.begin()
            server(number, frame)

        signal.signal(signal.SIGTERM, on_signal)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Run something that the shutdown waits for.

        Raises:
            ShuttingDown: it is too late for that.
        """
        with self._changed:
            if self.has_begun:
                raise ShuttingDown
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is running; return whether that happened in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, seconds)
