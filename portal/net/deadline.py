"""One exchange's limits, kept per thread: a wall-clock deadline and a cap on decoded bytes.

A library's `timeout=` restarts at every received byte, so every read has to get the time that is left (S55).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from portal.errors import Layer
from portal.net.errors import DeadlinePassed

MIB = 1024 * 1024
DEFAULT_MAX_BYTES = 8 * MIB
MAX_BYTES_OF_ERRORS = 64 * 1024
# After the end, only for what has arrived already.
LATE_SECONDS = 2.0


@dataclass
class Exchange:
    """What one call may take.

    Attributes:
        ends_at: on the monotonic clock.
        max_bytes: of one decoded body.
        layer: how far it got, so that a passed deadline says where the time was spent.
        sent: whether a byte of the current request has been sent.
        late_since: when the end was first noticed, on the monotonic clock.
        takes_any_encoding: leave bodies as they came, whatever encoding they claim.
    """

    ends_at: float
    max_bytes: int
    layer: Layer = Layer.HTTP
    sent: bool = False
    late_since: float | None = None
    takes_any_encoding: bool = False

    def begin_request(self) -> None:
        """Start a request; several may share one deadline."""
        self.layer, self.sent = Layer.HTTP, False

    def go_on_late(self) -> None:
        """Allow reading what has already arrived after the end.

        Raises:
            DeadlinePassed: a peer that never stops sending has used up that time as well.
        """
        now = time.monotonic()
        if now < self.ends_at:
            return
        self.late_since = self.late_since or now
        if now - self.late_since > LATE_SECONDS:
            raise self.passed()

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlinePassed: none are.
        """
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            raise self.passed()
        return seconds

    def passed(self) -> DeadlinePassed:
        """Return the error of an exchange whose time is over."""
        return DeadlinePassed(self.layer, may_have_been_processed=self.sent)


_here = threading.local()


@contextmanager
def exchange(seconds: float, max_bytes: int = DEFAULT_MAX_BYTES) -> Iterator[Exchange]:
    """Limit this thread's outbound requests while the block runs; of nested blocks, the stricter limit applies."""
    before: Exchange | None = getattr(_here, "exchange", None)
    ends_at = time.monotonic() + seconds
    if before is not None:
        ends_at, max_bytes = min(ends_at, before.ends_at), min(max_bytes, before.max_bytes)
    _here.exchange = Exchange(ends_at, max_bytes)
    try:
        yield _here.exchange
    finally:
        _here.exchange = before


def current() -> Exchange:
    """Return the current limits; without any, nothing may be sent."""
    found: Exchange | None = getattr(_here, "exchange", None)
    if found is None:
        raise RuntimeError("the outbound client is only used within a deadline")
    return found
