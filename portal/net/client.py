"""The only way out of this process: a client for every address, a session for one, and the answers."""

from __future__ import annotations

import json as json_module
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from portal.foreign import Foreign
from portal.net.address import Address, origin_of
from portal.net.backend import GuardedBackend
from portal.net.budget import RequestBudgets, Share
from portal.net.deadline import DEFAULT_MAX_BYTES, Exchange, exchange
from portal.net.examination import Examination, examine
from portal.net.policy import NetworkPolicy
from portal.net.proxy import ProxyExceptions, parse_proxy
from portal.net.resolver import Resolve, system_resolve
from portal.net.retry import read_retry_after
from portal.net.tls import Gateway, make_context, make_trustless_context
from portal.net.transport import GuardedTransport
from portal.net.usage import FLUSH_SECONDS, Purpose
from portal.redaction import register

DEFAULT_SECONDS = 10.0
# Form fields and headers that are not secret; anything else that is sent may come back in an answer's text.
PUBLIC_FIELDS = {"client_id", "grant_type", "redirect_uri", "scope", "token_type_hint"}
PUBLIC_HEADERS = {"accept", "content-type", "user-agent"}
DEFAULT_HEADERS = {"User-Agent": "Gatehouse", "Accept": "*/*"}


class OutboundClient:
    """Opens sessions under the operator's policy."""

    def __init__(
        self, policy: NetworkPolicy, resolve: Resolve = system_resolve, budgets: RequestBudgets | None = None
    ) -> None:
        self.policy = policy
        self._budgets = budgets
        self._resolve = resolve

    def session(
        self,
        address: Address,
        *,
        ca_certificate: str | None = None,
        proxy: str | None = None,
        proxy_exceptions: str = "",
        gateway: Gateway | None = None,
        recall: Callable[[], None] | None = None,
        is_background: bool = False,
        purpose: Purpose | None = None,
    ) -> HostSession:
        """Return a session with one address; use it as a context manager.

        Args:
            address: where to.
            ca_certificate: PEM; if given, nothing else is trusted.
            proxy: `host:port` of an HTTP proxy that tunnels.
            proxy_exceptions: hosts and networks that are reached without it.
            gateway: what a gateway in front of the address wants to see; sent to this address only.
            is_background: let people's requests go first.
            purpose: what its requests are counted for; by default for checks in the background, otherwise for people.
            recall: called once, before the peer's answer is read: it registers the secrets that the answer may repeat.

        Raises:
            CertificateRefused: the CA certificate cannot be read. AddressRefused: the proxy cannot.
        """
        return HostSession(
            self.policy,
            address,
            ca_certificate=ca_certificate or None,
            proxy=proxy or None,
            proxy_exceptions=proxy_exceptions,
            gateway=gateway,
            resolve=self._resolve,
            recall=recall,
            share=self._budgets.share_of(address.origin) if self._budgets else None,
            is_background=is_background,
            purpose=purpose,
        )

    def is_held(self, url: str) -> bool:
        """Return whether the GitLab at an address has asked for a wait."""
        return self._budgets is not None and self._budgets.share_of(origin_of(url)).is_held()


class HostSession:
    """Sends requests to one address. May be used from several threads; close it at the end."""

    def __init__(
        self,
        policy: NetworkPolicy,
        address: Address,
        *,
        ca_certificate: str | None = None,
        proxy: str | None = None,
        proxy_exceptions: str = "",
        gateway: Gateway | None = None,
        resolve: Resolve = system_resolve,
        recall: Callable[[], None] | None = None,
        share: Share | None = None,
        is_background: bool = False,
        purpose: Purpose | None = None,
    ) -> None:
        self.address = address
        self._share = share
        self._is_background = is_background
        self._purpose = purpose or (Purpose.CHECKS if is_background else Purpose.PEOPLE)
        self._has_asked_for_tokens = False
        self._turns: AbstractContextManager[object] = nullcontext()
        self._recall = recall
        exceptions = ProxyExceptions.parse(proxy_exceptions)
        self._backend = GuardedBackend(policy, address, resolve, parse_proxy(proxy) if proxy else None, exceptions)
        self._ca_certificate = ca_certificate
        self._gateway = gateway
        # Loading the system's authorities takes 20 ms; http has no use for them.
        context = make_context(ca_certificate, gateway) if address.scheme == "https" else make_trustless_context()
        extra = {}
        if gateway and gateway.header and gateway.value:
            register(gateway.value.reveal())
            extra = {gateway.header: gateway.value.reveal()}
        self.transport = GuardedTransport(self._backend, context, extra)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool."""
        self.transport.close()
        if self._share:
            self._share.release()
            if not self._has_asked_for_tokens:  # Whoever holds new tokens must not wait for the database here.
                self._share.usage.flush()

    def limit(self, at_once: int) -> None:
        """Have at most so many requests under way at a time, from however many threads."""
        self._turns = threading.BoundedSemaphore(at_once)

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
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        deadline_seconds: float = DEFAULT_SECONDS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        takes_any_encoding: bool = False,
        is_held: bool = True,
    ) -> Answer:
        """Send one request and read the whole answer within a wall-clock deadline.

        No cookies are kept, nothing is read from the environment, nothing is sent twice.

        Args:
            method: in capitals.
            path: begins with `/`; joined to the address, sub-path included, as text.
            query: appended, encoded.
            headers: besides the engine's own.
            content: the body as it is; at most one of `content`, `form` and `json`.
            form: sent form-urlencoded.
            json: sent as JSON.
            deadline_seconds: for resolving, connecting, TLS, headers and body together.
            max_bytes: of the decoded body; answers from 400 upwards have 64 KiB.
            takes_any_encoding: for an answer that comes only once: the body as it came, for the caller to decode.
            is_held: whether it may wait for its turn, and is not sent while GitLab asks for a wait: the answer is then
                a 429, as from GitLab.

        Raises:
            OutboundError: no usable answer; a redirect counts as none.
        """
        if not path.startswith("/"):
            raise ValueError("a path begins with /")  # "@evil.example" would become another host.
        for name, value in (headers or {}).items():
            if name.lower() not in PUBLIC_HEADERS:
                register(value.rpartition(" ")[2])  # After the scheme, such as `Bearer`.
        for name, value in (form or {}).items():
            if name not in PUBLIC_FIELDS:
                register(value)
        if form is None:
            self._recall_once()
        body = json_module.dumps(json).encode() if json is not None else content
        sent = {"Content-Type": "application/json"} if json is not None else {}
        request = httpx2.Request(
            method,
            self.address.url + path,
            params=dict(query) if query else None,
            headers={**DEFAULT_HEADERS, **sent, **(headers or {})},
            content=body,
            data=dict(form) if form is not None else None,
        )
        url = self.address.url + path.partition("?")[0]
        with self._turns:
            if self._share and is_held:
                rest = self._share.take(deadline_seconds, is_background=self._is_background, purpose=self._purpose)
                if rest is not None:
                    return Answer(429, Headers({"retry-after": str(math.ceil(rest))}), b"", 0.0, url)
            self._has_asked_for_tokens |= not is_held
            started = time.monotonic()
            try:
                with exchange(deadline_seconds, max_bytes) as limits:
                    limits.takes_any_encoding = takes_any_encoding
                    answer = self.transport.handle_request(request)
                    received = answer.read()
            finally:
                if self._share:
                    (self._share.give_back if is_held else self._share.count)()
        if self._share and is_held:
            limit, remaining = (answer.headers.get(name) for name in ("ratelimit-limit", "ratelimit-remaining"))
            self._share.usage.note_limit(limit, remaining)
            if answer.status_code == 429:
                self._share.usage.count_refusal(self._purpose)
                self._share.cool_down(read_retry_after(answer.headers.get("retry-after")))
            if not self._has_asked_for_tokens:
                self._share.usage.flush(if_older_than=FLUSH_SECONDS)
        # An accepted form brings tokens and no words, so no one needs to wait for the database.
        if answer.status_code >= 400:
            self._recall_once()
        return Answer(answer.status_code, Headers(answer.headers), received, time.monotonic() - started, url)

    def _recall_once(self) -> None:
        recall, self._recall = self._recall, None
        if recall is not None:
            recall()

    def route(self, deadline_seconds: float = DEFAULT_SECONDS) -> Route:
        """Return how another program has to reach the address, resolved and checked as for our own requests (S94).

        Raises:
            OutboundError: the policy refuses it, or its name or that of its proxy cannot be resolved.
        """
        self._recall_once()
        with exchange(deadline_seconds):
            found, proxy, pinned = self._backend.route()
        return Route(
            self.address, found, proxy, pinned, self._ca_certificate or "", self._gateway, self.transport.extra_headers
        )

    @contextmanager
    def turn(self, requests: int, seconds: float) -> Iterator[float | None]:
        """Count requests that another program sends, within the budget of the GitLab.

        Yields:
            None if they may be sent now, otherwise the seconds after which to try again.
        """
        taken = 0
        try:
            rest = None
            while self._share and taken < requests and rest is None:
                rest = self._share.take(seconds, is_background=self._is_background, purpose=self._purpose)
                taken += rest is None
                # They come one after the other, so they hold one place.
                if rest is None and taken > 1:
                    self._share.give_back()
            yield rest
        finally:
            if self._share and taken:
                self._share.give_back()

    def examine(self, deadline_seconds: float = DEFAULT_SECONDS) -> Examination:
        """Examine the route to the address layer by layer, without any credential and without a request."""
        self._recall_once()
        with exchange(deadline_seconds):
            return examine(self._backend, self.address, self._ca_certificate, self._gateway)


@dataclass(frozen=True)
class Route:
    """How another program reaches an address: it may connect to these addresses and no others.

    Attributes:
        ips: of the address; empty if only the proxy may know its name.
        proxy: `http://host:port`, or empty.
        pinned: `host:port:ip,ip` for every name that may be connected to.
        ca_certificate: PEM; if it is not empty, nothing else is trusted.
        gateway: what a gateway in front wants to see.
        headers: to send to this address.
    """

    address: Address
    ips: tuple[str, ...]
    proxy: str
    pinned: tuple[str, ...]
    ca_certificate: str
    gateway: Gateway | None
    headers: Mapping[str, str]


class Headers(Mapping[str, Foreign]):
    """The headers of an answer, case-insensitive; each is cleaned when it is read."""

    def __init__(self, received: Mapping[str, str]) -> None:
        self._received = received

    def __getitem__(self, name: str) -> Foreign:
        return Foreign(self._received[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._received)

    def __len__(self) -> int:
        return len(self._received)


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        content: decoded and capped; for `read_json` only.
        url: without the query, so it may be logged.
    """

    status: int
    headers: Headers
    content: bytes
    elapsed_seconds: float
    url: str = ""
