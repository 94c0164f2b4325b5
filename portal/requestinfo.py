"""Who is asking, as far as logs and the audit log need to know: set once per request or job step."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class RequestInfo:
    """One request, or one step of a job.

    Attributes:
        request_id: 16 hex characters, shown on error pages and written to every log line and audit row.
        source_address: where it came from; `job` for background work, `console` for the command line.
        user_agent: as sent, at most 200 characters.
    """

    request_id: str
    source_address: str
    user_agent: str = ""


_current: ContextVar[RequestInfo | None] = ContextVar("request_info", default=None)


def new_request_id() -> str:
    """Return 16 random hex characters."""
    return secrets.token_hex(8)


def current_request_info() -> RequestInfo:
    """Return what is known of the request that runs now; a console entry outside of any."""
    return _current.get() or RequestInfo(request_id="-", source_address="console")


@contextmanager
def requesting(info: RequestInfo) -> Iterator[RequestInfo]:
    """Make `info` the current one while the block runs."""
    token = _current.set(info)
    try:
        yield info
    finally:
        _current.reset(token)
