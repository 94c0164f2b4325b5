"""The HTTP server of the sandbox: HTTP/1.1 with keep-alive, a thread per connection, on loopback only.

We have our own because faults need the connection itself: to close it without a response, to cut a response short, or
to send it in small pieces.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from http.server import HTTPServer
from typing import Any

from flask import Flask

from portal.sandbox import create_sandbox
from portal.sandbox.connection import Connection, Site
from portal.sandbox.faults import Faults
from portal.sandbox.options import SandboxOptions
from portal.sandbox.requestlog import RequestLog
from portal.sandbox.world import World

POLL_SECONDS = 0.02
JOIN_SECONDS = 2.0
PORT_ATTEMPTS = 20
# What the system reports if this machine has no IPv6 loopback at all.
NO_IPV6 = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}


class NotLoopback(ValueError):
    """The sandbox was asked to listen where others could reach it."""


class SandboxServer:
    """One sandbox being served; `start` and `stop` it once.

    `tls` makes it speak HTTPS. With port 0 the external URL uses the port actually bound, unless given.
    """

    def __init__(self, options: SandboxOptions | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.options = options or SandboxOptions()
        self.world = World(self.options)
        self.faults = Faults()
        self.requests = RequestLog()
        self.app: Flask = create_sandbox(self.options, self.world, faults=self.faults, requests=self.requests)
        self._site = Site(self.app.wsgi_app, self.world, self.faults, self.requests, "https" if tls else "http")
        self._tls = tls
        self._listeners: list[_Listener] = []
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """The port actually bound."""
        return int(self._listeners[0].server_address[1])

    @property
    def url(self) -> str:
        """Where it answers: scheme, `localhost`, port and relative root; the external URL may differ."""
        return f"{self._site.scheme}://localhost:{self.port}{self.options.relative_root}"

    def start(self, sockets: Sequence[socket.socket] = ()) -> None:
        """Bind, or take sockets that already listen, and answer from threads.

        Raises NotLoopback, or OSError if the port is taken.
        """
        if sockets:
            self._listeners = [_Listener.on(listening, self._site, self._tls) for listening in sockets]
        else:
            self._listeners = _listeners(self.options.host, self.options.port, self._site, self._tls)
        if not self.options.external_url:
            self.world.settings.external_url = self.url
        for listener in self._listeners:
            thread = threading.Thread(target=listener.serve_forever, args=(POLL_SECONDS,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Close the port and every connection; a second time does nothing."""
        self._site.stopping.set()
        for listener in self._listeners:
            listener.shutdown()
            listener.close_connections()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
        self.world.deliveries.stop()
        self.world.git.close()
        self._listeners, self._threads = self._listeners[:1], []


class _Listener(HTTPServer):
    """One bound socket."""

    request_queue_size = 128

    def __init__(
        self, family: int, address: tuple[str, int], site: Site, tls: ssl.SSLContext | None, *, is_bound: bool = False
    ) -> None:
        self.address_family = family
        self.site = site
        self._tls = tls
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        super().__init__(address, Connection, bind_and_activate=not is_bound)

    @classmethod
    def on(cls, listening: socket.socket, site: Site, tls: ssl.SSLContext | None) -> _Listener:
        """Return one for a socket that another process bound; it must be on loopback, like every other."""
        address = listening.getsockname()
        _loopback(address[0])
        listener = cls(listening.family, address[:2], site, tls, is_bound=True)
        listener.socket.close()
        listener.socket = listening
        listener.server_name, listener.server_port = "localhost", int(address[1])
        return listener

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse lookup."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in its own thread."""
        thread = threading.Thread(target=self._answer, args=(request, client_address), daemon=True)
        with self._lock:
            self._open[thread] = request
        thread.start()

    def _answer(self, request: socket.socket, client_address: Any) -> None:
        secured = request
        try:
            if self._tls is not None:
                secured = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                self._open[threading.current_thread()] = secured
                secured.do_handshake()
            self.finish_request(secured, client_address)
        except OSError:
            pass  # The client left or did not speak TLS; there is no one left to tell.
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)
            self.shutdown_request(secured)
            request.close()

    def close_connections(self) -> None:
        """Close the port and end every connection that is still open."""
        self.server_close()
        with self._lock:
            still_open = dict(self._open)
        for thread, connection in still_open.items():
            with suppress(OSError):  # The client may have been first.
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(JOIN_SECONDS)


def _listeners(host: str, port: int, site: Site, tls: ssl.SSLContext | None) -> list[_Listener]:
    """Bind IPv4 and, if there is one, IPv6 loopback on the same port, so that `localhost` always leads here."""
    for _ in range(PORT_ATTEMPTS):
        first = _Listener(socket.AF_INET6 if ":" in host else socket.AF_INET, (_loopback(host), port), site, tls)
        if _loopback(host) != "127.0.0.1":
            return [first]
        try:
            return [first, _Listener(socket.AF_INET6, ("::1", int(first.server_address[1])), site, tls)]
        except OSError as error:
            if error.errno in NO_IPV6:
                return [first]
            first.server_close()
            if port:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free on both 127.0.0.1 and ::1")


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise NotLoopback(f"the sandbox listens on loopback only, not on {host}")
    return host
