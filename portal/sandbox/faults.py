"""Faults on demand: wrong answers, slow answers, no answers, for requests that match a pattern.

A fault with `status`, `body`, `html` or `redirect` answers instead of GitLab. Without them, GitLab answers and the
fault only alters the response: delayed, with extra headers, another content type or changed JSON members, cut short, or
sent in small pieces.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, Literal

Drop = Literal["before", "after"]
Arrangement = Literal["doubled", "swapped", "reversed"]

HTML_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
    "<body><h1>{title}</h1><p>This page does not come from GitLab.</p></body></html>\n"
)


@dataclass
class Fault:
    """One fault; `used` counts how often it was applied.

    Attributes:
        path_pattern: a shell pattern over the path as sent, without relative root and query.
        query_pattern: a shell pattern over the query string, as sent.
        body_pattern: a shell pattern over the body, as sent: `*grant_type=refresh_token*` means refreshes only.
        skip: this many matching requests pass unchanged first.
        times: how often it applies; None: forever.
        delay_seconds: wait this long first; GitLab then processes the request even if the client has left.
        held: wait until `Faults.release`, as in a queue in front of GitLab, then do the same.
        drop: close the connection without an answer, `before` or `after` the request was processed.
        processed: GitLab processes the request before this fault's own answer hides the result.
        set_members: members of GitLab's JSON to replace; `namespace.full_path` names a nested one.
        drop_members: members of GitLab's JSON to leave out.
        only_rows: only change members in rows with these ids; empty for all.
        rows: members to replace in single rows of a list, by the row's id.
        failing_rows: answer 500 if a list holds one of these ids.
        max_rows: cut a list to this many rows, as a gateway may; the headers stay GitLab's.
        arrange: send the first row of a list twice, swap its first two rows, or reverse it.
        drop_headers: GitLab's headers to leave out, such as `X-Next-Page`.
        encoding: send the body in this content encoding, requested or not; one other than `gzip` or `deflate` is only
            claimed.
        truncate: send only this many bytes of the body, although the length says otherwise, then close.
        drip: (bytes, seconds): send the body in pieces of this many bytes with a pause after each.
    """

    path_pattern: str
    method: str | None = None
    query_pattern: str = "*"
    body_pattern: str = "*"
    status: int | None = None
    body: str | bytes | dict[str, Any] | list[Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    delay_seconds: float = 0.0
    held: bool = False
    drop: Drop | None = None
    processed: bool = False
    html: bool = False
    redirect: str | None = None
    set_members: dict[str, Any] = field(default_factory=dict)
    drop_members: tuple[str, ...] = ()
    only_rows: tuple[int, ...] = ()
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    failing_rows: tuple[int, ...] = ()
    max_rows: int | None = None
    arrange: Arrangement | None = None
    drop_headers: tuple[str, ...] = ()
    encoding: str | None = None
    truncate: int | None = None
    drip: tuple[int, float] | None = None
    skip: int = 0
    times: int | None = None
    used: int = 0
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def answers(self) -> bool:
        """Return whether it answers instead of GitLab."""
        return self.status is not None or self.body is not None or self.html or self.redirect is not None

    def matches(self, method: str, path: str, query: str, body: bytes) -> bool:
        """Return whether a request matches, regardless of counts."""
        return (
            self.method in (None, method)
            and fnmatchcase(path, self.path_pattern)
            and fnmatchcase(query, self.query_pattern)
            and (self.body_pattern == "*" or fnmatchcase(body.decode("latin-1"), self.body_pattern))
        )

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return the status, headers and body of its own answer."""
        status = self.status or (302 if self.redirect is not None else 200)
        headers = dict(self.headers)
        if self.redirect is not None:
            headers.setdefault("Location", self.redirect)
        body, content_type = self._body(status)
        headers["Content-Type"] = self.content_type or headers.get("Content-Type") or content_type
        return status, headers, body

    def _body(self, status: int) -> tuple[bytes, str]:
        if isinstance(self.body, (dict, list)):
            return json.dumps(self.body).encode(), "application/json"
        if self.body is None and self.html:
            return HTML_PAGE.format(title=_phrase(status)).encode(), "text/html; charset=utf-8"
        kind = "text/html" if self.html else "text/plain"
        body = self.body or b""
        return body.encode() if isinstance(body, str) else body, f"{kind}; charset=utf-8"


class Faults:
    """The current faults; the first that matches a request applies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, path_pattern: str, method: str | None = None, **details: Any) -> Fault:
        """Set a fault; `details` are the attributes of `Fault`."""
        fault = Fault(path_pattern, method, **details)
        with self._lock:
            self._faults.append(fault)
        return fault

    def throttle(
        self, path_pattern: str, *, retry_after_seconds: int = 1, times: int | None = 1, **details: Any
    ) -> Fault:
        """Answer 429 as GitLab's request throttling does: plain text and all rate headers."""
        headers = {
            "RateLimit-Name": "throttle_authenticated_api",
            "RateLimit-Limit": "120",
            "RateLimit-Observed": "121",
            "RateLimit-Remaining": "0",
            "Retry-After": str(retry_after_seconds),
        }
        return self.add(path_pattern, status=429, body="Retry later\n", headers=headers, times=times, **details)

    def limit(self, path_pattern: str, *, times: int | None = 1) -> Fault:
        """Answer 429 as GitLab's application limits do: JSON, no rate headers, no `Retry-After`."""
        text = "This endpoint has been requested too many times. Try again later."
        return self.add(path_pattern, status=429, body={"message": {"error": text}}, times=times)

    def lose_rotation(self, *, before: bool = False, times: int | None = 1) -> Fault:
        """Lose the answer to a token's rotation: after GitLab has rotated it, or before it has seen the request."""
        drop: Drop = "before" if before else "after"
        return self.add("*access_tokens/*/rotate", "POST", drop=drop, times=times)

    def hold(self, path_pattern: str, method: str | None = None, *, times: int | None = 1, **details: Any) -> Fault:
        """Keep a request in a queue in front of GitLab until `release`."""
        return self.add(path_pattern, method, held=True, times=times, **details)

    def release(self) -> None:
        """Let every held request through to GitLab, and stop holding requests."""
        with self._lock:
            for fault in self._faults:
                fault.released.set()

    def clear(self) -> None:
        """Remove all faults; requests that are held continue."""
        self.release()
        with self._lock:
            self._faults.clear()

    def all(self) -> list[Fault]:
        """Return the current faults, including used-up ones."""
        with self._lock:
            return list(self._faults)

    def strike(self, method: str, path: str, query: str, body: bytes) -> Fault | None:
        """Return the fault for a request and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.times == 0 or not fault.matches(method, path, query, body):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.used += 1
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
