"""One exchange's limits, kept per thread: a wall-clock end and a cap on decoded bytes.

A library's `timeout=` starts anew at every received byte, so every read has to be given the time that is left (S55).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from portal.net.errors import DeadlinePassed

MIB = 1024 * 1024
DEFAULT_MAX_BYTES = 8 * MIB
MAX_BYTES_OF_ERRORS = 64 * 1024


@dataclass
class Exchange:
    """What one call may take; `sent` turns true when the first byte of a request left."""

    ends_at: float
    max_bytes: int
    sent: bool = False

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlinePassed: none are.
        """
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            raise DeadlinePassed(may_have_been_processed=self.sent)
        return seconds


_here = threading.local()


@contextmanager
def exchange(seconds: float, max_bytes: int = DEFAULT_MAX_BYTES) -> Iterator[Exchange]:
    """Limit everything the door does in this thread while the block runs."""
    before = getattr(_here, "exchange", None)
    _here.exchange = Exchange(time.monotonic() + seconds, max_bytes)
    try:
        yield _here.exchange
    finally:
        _here.exchange = before


def current() -> Exchange:
    """Return the limits that hold now; without any, nothing may leave."""
    found: Exchange | None = getattr(_here, "exchange", None)
    if found is None:
        raise RuntimeError("the door is only used within a deadline")
    return found
