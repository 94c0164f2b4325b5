"""Sockets for the HTTP engine: connected to a checked address, every read bounded by the time that is left."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore2

from portal.errors import Layer
from portal.net.address import Address
from portal.net.deadline import current
from portal.net.embedded import IPAddress
from portal.net.errors import ConnectFailed, DeadlinePassed, NameNotResolved, ProxyFailed
from portal.net.policy import NetworkPolicy
from portal.net.proxy import Proxy, ProxyExceptions
from portal.net.resolver import Resolve, resolve_checked
from portal.net.sockets import connect_first, handshake
from portal.net.tls import client_certificate_failure

# A connection keeps the address it was checked for; older ones are not reused, so that a moved GitLab is followed.
MAX_AGE_SECONDS = 300.0


class GuardedStream(httpcore2.NetworkStream):
    """A socket whose every read and write gets the current exchange's remaining time, not its own timeout."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._opened_at = time.monotonic()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what arrives; raises DeadlinePassed at the exchange's end, unless something is there by then."""
        try:
            self._sock.settimeout(current().left())
            return self._sock.recv(max_bytes)
        except (TimeoutError, DeadlinePassed):
            return self._read_late(max_bytes)
        except OSError as error:
            # TLS 1.3 refuses a client after the handshake (RFC 8446 §4.4.2.4).
            if failure := client_certificate_failure(error):
                raise failure from None
            raise httpcore2.ReadError(str(error)) from None

    def _read_late(self, max_bytes: int) -> bytes:
        # A process that was paused past its deadline takes the answer that has arrived: for a token request it is the
        # only copy of a pair.
        current().go_on_late()
        try:
            self._sock.settimeout(0)
            return self._sock.recv(max_bytes)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise current().passed() from None
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything, and note that something was sent."""
        if not buffer:
            return
        current().layer = Layer.HTTP
        try:
            self._sock.settimeout(current().left())
            current().sent = True
            self._sock.sendall(buffer)
        except TimeoutError:
            raise current().passed() from None
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from None

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Shake hands; the name, not the address, is checked."""
        return GuardedStream(handshake(self._sock, ssl_context, server_hostname or ""))

    def get_extra_info(self, info: str) -> Any:
        """Answer what the HTTP engine asks about a socket."""
        if info == "is_readable":  # The engine asks whether this idle connection is no longer usable.
            if time.monotonic() - self._opened_at > MAX_AGE_SECONDS or self._sock.fileno() < 0:
                return True
            if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0:
                return True
            # An idle connection that turns readable was closed by the server: the engine then opens a new one.
            poll = select.poll()  # select() fails above 1,024 open files.
            poll.register(self._sock, select.POLLIN)
            return bool(poll.poll(0))
        return {"socket": self._sock, "ssl_object": getattr(self._sock, "_sslobj", None)}.get(info)


class GuardedBackend(httpcore2.NetworkBackend):
    """Connects to only one address; each new connection resolves and checks again."""

    def __init__(
        self,
        policy: NetworkPolicy,
        address: Address,
        resolve: Resolve,
        proxy: Address | None,
        exceptions: ProxyExceptions | None = None,
    ) -> None:
        self._policy = policy
        self._address = address
        self._resolve = resolve
        self._proxy = Proxy(proxy, policy, resolve) if proxy else None
        self._exceptions = exceptions or ProxyExceptions()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Resolve, check and connect; through the proxy if there is one."""
        if host.strip("[]").lower() != self._address.host or port != self._address.port:
            raise ConnectFailed  # The engine never asks for another one; a bug here must not become a way out.
        return GuardedStream(self.connect(self.resolve()))

    def resolve(self) -> list[IPAddress]:
        """Return the target's addresses, all of them allowed; none if only the proxy may know the name."""
        try:
            return resolve_checked(self._policy, self._address, self._resolve)
        except NameNotResolved:
            if self._proxy is None or self._exceptions.has(self._address.host, []):
                raise
            if not self._policy.leaves_names_to_proxy:
                raise
            return []

    def route(self) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
        """Return for a program that connects by itself: the address's IPs, the proxy's URL, and what to pin.

        Raises:
            ProxyFailed: there is a proxy, which would look up the name, and the policy does not leave names to it.
        """
        found = self.resolve()
        host, port = self._address.host, self._address.port
        if self._proxy is None or self._exceptions.has(host, found):
            return tuple(map(str, found)), "", (_pin(host, port, found),)
        if not self._policy.leaves_names_to_proxy:
            raise ProxyFailed("name")
        proxy = self._proxy.address
        ips = resolve_checked(self._policy.for_proxy(proxy), proxy, self._resolve)
        url = f"http://{f'[{proxy.host}]' if ':' in proxy.host else proxy.host}:{proxy.port}"
        return tuple(map(str, found)), url, (_pin(proxy.host, proxy.port, ips),)

    def connect(self, found: list[IPAddress]) -> socket.socket:
        """Return a socket to one of the addresses that `resolve` returned."""
        if self._proxy is None or self._exceptions.has(self._address.host, found):
            return connect_first(found, self._address.port)
        return self._proxy.tunnel(found, self._address)


def _pin(host: str, port: int, ips: list[IPAddress]) -> str:
    """Return what tells curl the addresses of a name (curl, CURLOPT_RESOLVE)."""
    return f"{host}:{port}:{','.join(f'[{ip}]' if ip.version == 6 else str(ip) for ip in ips)}"
