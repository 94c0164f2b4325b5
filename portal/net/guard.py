"""Notice connections that bypass the outbound client, under test (S46).

Python reports every `connect` and `sendto` of a socket to an audit hook. The outbound client stamps its own; inside
`only_our_connections()`, any other one is refused and recorded. Not seen: sockets of C libraries (libpq) and of child
processes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_here = threading.local()
_watches: list[Watch] = []
_installed = threading.Event()


class StrayConnection(AssertionError):
    """Something opened a connection by itself. Not an OSError: those are caught wherever connections may fail."""


@dataclass(frozen=True)
class Watch:
    """What was seen while a block ran.

    Attributes:
        allowed: (host, port) of servers that the test itself talks to.
        attempts: every TCP or UDP target, and whether it was stamped.
    """

    allowed: frozenset[tuple[str, int]]
    attempts: list[tuple[str, int, bool]] = field(default_factory=list)

    @property
    def strays(self) -> list[tuple[str, int]]:
        """Return the targets of connects that were neither the outbound client's nor allowed."""
        return [(host, port) for host, port, stamped in self.attempts if not self._may(host, port, stamped)]

    def _may(self, host: str, port: int, stamped: bool) -> bool:
        return stamped or (host, port) in self.allowed


@contextmanager
def stamped_as_ours() -> Iterator[None]:
    """Stamp the connects of this thread as the outbound client's; only its own modules use this."""
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1


@contextmanager
def only_our_connections(allowed: Collection[tuple[str, int]] = ()) -> Iterator[Watch]:
    """Refuse every connect of this process, in any thread, that the outbound client did not make.

    Raises:
        StrayConnection: at the connect, and again at the block's end, in case the first was swallowed.
    """
    # An audit hook cannot be removed; without a watch it does nothing.
    if not _installed.is_set():
        _installed.set()
        sys.addaudithook(_hook)
    watch = Watch(frozenset(allowed))
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)
    if watch.strays:
        raise StrayConnection(f"connected past the outbound client: {watch.strays}")


def _hook(event: str, args: tuple[Any, ...]) -> None:
    # While the interpreter ends, names of this module are already gone.
    if not _watches or event not in _EVENTS:
        return
    sock, target = args[:2]
    if not isinstance(target, tuple):  # A Unix socket (a database, an event loop's own), or one that is connected.
        return
    host, port, stamped = str(target[0]), int(target[1]), getattr(_here, "depth", 0) > 0
    for watch in list(_watches):
        watch.attempts.append((host, port, stamped))
        if not watch._may(host, port, stamped):
            sock.close()  # Few callers do so themselves if anything but an OSError is raised.
            raise StrayConnection(f"connected past the outbound client: {host}:{port}")
