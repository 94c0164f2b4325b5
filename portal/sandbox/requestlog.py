"""The requests to the sandbox, for tests to read."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl

KEPT_REQUESTS = 20_000
KEPT_BODY_BYTES = 64 * 1024


@dataclass
class SeenRequest:
    """One request.

    Attributes:
        path: as sent, relative root included, without the query.
        headers: by lower-case name.
        at_once: how many requests were in progress when it arrived, itself included.
        status: None until it is answered, and forever if the connection was dropped.
        seconds: from its arrival until the answer was ready.
    """

    method: str
    path: str
    query_string: str
    headers: dict[str, str]
    body: bytes
    at: datetime
    at_once: int = 1
    status: int | None = None
    seconds: float | None = None
    faulty: bool = False

    @property
    def query(self) -> dict[str, str]:
        """The query; for a name sent twice, the last value."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form body; empty for any other."""
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return {}
        return dict(parse_qsl(self.body.decode(errors="replace"), keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The JSON body, or None."""
        if "json" not in self.headers.get("content-type", "") or not self.body:
            return None
        return json.loads(self.body)


class RequestLog:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._seen: deque[SeenRequest] = deque(maxlen=KEPT_REQUESTS)
        self._running = 0
        self._most_at_once = 0

    @property
    def most_at_once(self) -> int:
        """The largest number of requests answered at the same time since the last `clear`."""
        return self._most_at_once

    def begin(
        self, method: str, path: str, query_string: str, headers: dict[str, str], body: bytes, at: datetime
    ) -> SeenRequest:
        """Record a request that has arrived; every `begin` is followed by one `end`."""
        with self._changed:
            self._running += 1
            self._most_at_once = max(self._most_at_once, self._running)
            seen = SeenRequest(method, path, query_string, headers, body[:KEPT_BODY_BYTES], at, self._running)
            self._seen.append(seen)
            self._changed.notify_all()
            return seen

    def end(self, seen: SeenRequest, status: int | None, seconds: float) -> None:
        """Record how a request ended."""
        with self._changed:
            self._running -= 1
            seen.status, seen.seconds = status, seconds
            self._changed.notify_all()

    def all(self, path_pattern: str = "*", method: str | None = None) -> list[SeenRequest]:
        """Return the requests whose path (without query) matches a shell pattern, oldest first."""
        with self._changed:
            return self._matching(path_pattern, method)

    def last(self, path_pattern: str = "*", method: str | None = None) -> SeenRequest:
        """Return the latest such request. Raises IndexError if there was none."""
        return self.all(path_pattern, method)[-1]

    def count(self, path_pattern: str = "*", method: str | None = None) -> int:
        """Return how many such requests came."""
        return len(self.all(path_pattern, method))

    def _matching(self, path_pattern: str, method: str | None) -> list[SeenRequest]:
        return [seen for seen in self._seen if method in (None, seen.method) and fnmatchcase(seen.path, path_pattern)]

    def wait_for(self, path_pattern: str, count: int = 1, timeout_seconds: float = 5.0) -> list[SeenRequest]:
        """Wait until `count` such requests have arrived. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._matching(path_pattern, None)) >= count, timeout_seconds):
                raise TimeoutError(f"{len(self._matching(path_pattern, None))} of {count} requests for {path_pattern}")
            return self._matching(path_pattern, None)

    def wait_until_answered(self, path_pattern: str, count: int = 1, timeout_seconds: float = 5.0) -> None:
        """Wait until `count` such requests were processed, answered or not. Raises TimeoutError."""
        with self._changed:

            def answered() -> int:
                return sum(seen.seconds is not None for seen in self._matching(path_pattern, None))

            if not self._changed.wait_for(lambda: answered() >= count, timeout_seconds):
                raise TimeoutError(f"{answered()} of {count} requests for {path_pattern} were processed")

    def clear(self) -> None:
        """Forget all requests."""
        with self._changed:
            self._seen.clear()
            self._most_at_once = self._running
