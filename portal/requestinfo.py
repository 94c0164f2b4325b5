"""Who is asking, for the logs and the audit log: set once per request or job step."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import quote

from portal.redaction import MASK, redact


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


# Addresses whose next part is as good as a password, or belongs to one person's browser.
_SECRET_PART = re.compile(r"(/(?:setup|invitations|authorization|hand-over(?:/+step)?|webhooks/+gitlab)/+)[^/]{16,}")
_MAX_PATH = 500
_current: ContextVar[RequestInfo | None] = ContextVar("request_info", default=None)


def new_request_id() -> str:
    """Return 16 random hex characters."""
    return secrets.token_hex(8)


def loggable_path(path: str) -> str:
    """Return the path of a request for logs: encoded, so that it is one word, and without secrets.

    One-time links and invitations carry their token in the path, an authorization the id of its attempt, and a
    webhook's address the id that only its GitLab knows.
    """
    encoded = quote(path.encode("utf-8", "surrogateescape"), safe="/%:@!$&()*+,;=~")
    return redact(_SECRET_PART.sub(rf"\1{MASK}", encoded))[:_MAX_PATH]


def network_of(source: str) -> str:
    """Return what counts as one source: an IPv6 user has 2^64 addresses, all in one network."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else source


def current_request_info() -> RequestInfo:
    """Return what is known about the current request; a console entry outside of any."""
    return _current.get() or RequestInfo(request_id="-", source_address="console")


@contextmanager
def requesting(info: RequestInfo) -> Iterator[RequestInfo]:
    """Make `info` the current one while the block runs."""
    token = _current.set(info)
    try:
        yield info
    finally:
        _current.reset(token)
