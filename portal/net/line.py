"""A line to one GitLab: everything for one address goes through it, with one pool, one CA and one proxy."""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx2

from portal.net.address import Address, parse_address
from portal.net.backend import GuardedBackend
from portal.net.deadline import DEFAULT_MAX_BYTES, Exchange, exchange
from portal.net.errors import AnswerBroken, RedirectRefused
from portal.net.examination import Examination, examine
from portal.net.policy import NetworkPolicy
from portal.net.resolver import Resolve, system_resolve
from portal.net.text import plain_text
from portal.net.tls import make_context
from portal.net.transport import GuardedTransport

DEFAULT_SECONDS = 10.0
MAX_TARGET = 200
USER_AGENT = "Gatehouse"


@dataclass(frozen=True)
class Answer:
    """What came back. `content` is decoded and capped; `url` has no query, so it may be logged."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    elapsed_seconds: float
    url: str = field(default="")


class Line:
    """Sends requests to one address. May be used from several threads; close it at the end."""

    def __init__(
        self,
        policy: NetworkPolicy,
        address: Address,
        *,
        ca_certificate: str | None = None,
        proxy: str | None = None,
        resolve: Resolve = system_resolve,
    ) -> None:
        self.address = address
        proxy_address = parse_address(proxy, allow_http=True) if proxy else None
        self._backend = GuardedBackend(policy, address, resolve, proxy_address)
        self._ca_certificate = ca_certificate
        self.transport = GuardedTransport(self._backend, make_context(ca_certificate))
        self._client = httpx2.Client(
            transport=self.transport,
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": USER_AGENT},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool."""
        self._client.close()

    @contextmanager
    def deadline(self, seconds: float, max_bytes: int = DEFAULT_MAX_BYTES) -> Iterator[Exchange]:
        """Set the limits for a client of another library that uses `transport`."""
        with exchange(seconds, max_bytes) as limits:
            yield limits

    def fetch(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        deadline_seconds: float = DEFAULT_SECONDS,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> Answer:
        """Send one request and read the whole answer within a wall-clock deadline.

        Args:
            method: in capitals.
            path: begins with `/`; joined to the address, sub-path included, as text.
            query: appended, encoded.
            headers: besides the engine's own.
            form: sent form-urlencoded.
            json: sent as JSON.
            deadline_seconds: for connecting, TLS, headers and body together.
            max_bytes: of the decoded body.

        Raises:
            OutboundError: no usable answer; a redirect is none.
        """
        started = time.monotonic()
        content = None if json is None else json_module.dumps(json).encode()
        sent = {"Content-Type": "application/json"} if content is not None else {}
        with exchange(deadline_seconds, max_bytes):
            answer = self._client.request(
                method,
                self.address.url + path,
                params=dict(query) if query else None,
                headers={**sent, **(headers or {})},
                content=content,
                data=dict(form) if form is not None else None,
            )
        return self._read(answer, path, started)

    def examine(self, deadline_seconds: float = DEFAULT_SECONDS) -> Examination:
        """Look at the way to the address layer by layer, without any credential and without a request."""
        with exchange(deadline_seconds):
            return examine(self._backend, self.address, self._ca_certificate)

    def _read(self, answer: httpx2.Response, path: str, started: float) -> Answer:
        if 300 <= answer.status_code < 400:
            target = plain_text(answer.headers.get("Location", ""), MAX_TARGET)
            raise RedirectRefused(answer.status_code, target.partition("?")[0])
        if answer.status_code < 200:
            raise AnswerBroken
        return Answer(
            status=answer.status_code,
            headers=answer.headers,
            content=answer.content,
            elapsed_seconds=time.monotonic() - started,
            url=self.address.url + path,
        )
