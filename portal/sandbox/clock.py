"""The time that GitLab believes it is: it runs, and tests can move it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class Clock:
    """A clock that is the system's until it is moved."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = timedelta(0)
        self._frozen: datetime | None = None

    def now(self) -> datetime:
        """Return the aware UTC time."""
        with self._lock:
            return self._frozen or datetime.now(UTC) + self._offset

    def set(self, moment: datetime) -> None:
        """Set the time to `moment` (aware); a running clock continues from there."""
        with self._lock:
            self._offset = moment - datetime.now(UTC)
            self._frozen = moment.astimezone(UTC) if self._frozen else None

    def advance(self, seconds: float) -> None:
        """Move forward by seconds, or back if negative."""
        self.set(self.now() + timedelta(seconds=seconds))

    def freeze(self, moment: datetime | None = None) -> None:
        """Stop, at `moment` or at the current time."""
        stopped_at = moment or self.now()
        with self._lock:
            self._frozen = stopped_at.astimezone(UTC)

    def reset(self) -> None:
        """Follow the system's clock again."""
        with self._lock:
            self._offset, self._frozen = timedelta(0), None
