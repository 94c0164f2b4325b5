"""Sockets for the HTTP engine: connected to a checked address, every read bounded by the time that is left."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2

from portal.net import tls
from portal.net.address import Address
from portal.net.deadline import current
from portal.net.errors import ConnectFailed, DeadlinePassed, ProxyFailed, TLSFailed
from portal.net.policy import IPAddress, NetworkPolicy
from portal.net.resolver import Resolve, resolve_checked

PROXY_ANSWER_BYTES = 8192


class GuardedStream(httpcore2.NetworkStream):
    """A socket whose every read and write gets the time left of the present exchange, not a timeout of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there; raises DeadlinePassed at the exchange's end."""
        try:
            self._sock.settimeout(current().left())
            return self._sock.recv(max_bytes)
        except TimeoutError:
            raise DeadlinePassed(may_have_been_processed=current().sent) from None
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything, and note that something was sent."""
        if not buffer:
            return
        try:
            self._sock.settimeout(current().left())
            current().sent = True
            self._sock.sendall(buffer)
        except TimeoutError:
            raise DeadlinePassed(may_have_been_processed=True) from None
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
        """Tell what the HTTP engine asks of a socket."""
        if info == "is_readable":
            return _is_readable(self._sock)
        return {"socket": self._sock, "ssl_object": getattr(self._sock, "_sslobj", None)}.get(info)


class GuardedBackend(httpcore2.NetworkBackend):
    """Connects to one address only; the name given by the engine is not resolved again."""

    def __init__(self, policy: NetworkPolicy, address: Address, resolve: Resolve, proxy: Address | None) -> None:
        self._policy = policy
        self._address = address
        self._resolve = resolve
        self._proxy = proxy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Resolve, check and connect; through the proxy when there is one."""
        if host.strip("[]").lower() != self._address.host or port != self._address.port:
            raise ConnectFailed  # The engine never asks for another one; a bug here must not become a way out.
        return GuardedStream(self.open_socket())

    def open_socket(self) -> socket.socket:
        """Return a connected socket to the address."""
        found = resolve_checked(self._policy, self._address, self._resolve)
        if self._proxy is None:
            return _connect_first(found, self._address.port)
        return _connect_through(self._policy, self._proxy, self._resolve, found[0], self._address.port)


def handshake(sock: socket.socket, context: ssl.SSLContext, server_hostname: str) -> ssl.SSLSocket:
    """Wrap a socket in TLS within the time that is left.

    Raises:
        TLSFailed: no handshake; nothing of HTTP was sent.
    """
    try:
        sock.settimeout(current().left())
        return context.wrap_socket(sock, server_hostname=server_hostname)
    except ssl.SSLError as error:
        sock.close()
        raise tls.translate(error) from None
    except TimeoutError:
        sock.close()
        raise DeadlinePassed from None
    except OSError:
        sock.close()
        raise TLSFailed("failed") from None


def _connect_first(found: list[IPAddress], port: int) -> socket.socket:
    for ip in found:
        try:
            sock = socket.create_connection((str(ip), port), timeout=current().left())
        except OSError:  # A timeout is one, too.
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    current().left()
    raise ConnectFailed


def _connect_through(
    policy: NetworkPolicy, proxy: Address, resolve: Resolve, target: IPAddress, port: int
) -> socket.socket:
    """Open a tunnel to the *checked* address, so that the proxy does not resolve the name once more."""
    sock = _connect_first(resolve_checked(_proxy_policy(policy, proxy), proxy, resolve), proxy.port)
    authority = f"[{target}]:{port}" if target.version == 6 else f"{target}:{port}"
    try:
        sock.settimeout(current().left())
        sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        status = _read_head(sock).split(b" ", 2)[1:2]
    except OSError:
        sock.close()
        raise ProxyFailed from None
    if not status or not status[0].startswith(b"2"):
        sock.close()
        raise ProxyFailed
    return sock


def _proxy_policy(policy: NetworkPolicy, proxy: Address) -> NetworkPolicy:
    return NetworkPolicy(policy.mode, policy.networks, policy.ports | {proxy.port}, policy.exempt, policy.own_origin)


def _read_head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < PROXY_ANSWER_BYTES:
        sock.settimeout(current().left())
        byte = sock.recv(1)  # One at a time: what follows the head belongs to the tunnel.
        if not byte:
            raise OSError("closed")
        head += byte
    return head


def _is_readable(sock: socket.socket) -> bool:
    # An idle connection that turns readable was closed by the server: the engine then makes a new one.
    pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
    return pending or sock.fileno() < 0 or bool(select.select([sock], [], [], 0)[0])
