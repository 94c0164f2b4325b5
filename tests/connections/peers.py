"""Servers that are not a GitLab, or a strange one: what people may enter, by mistake or on purpose."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from portal.net import NetworkPolicy, OutboundClient, parse_address
from portal.runtime import Runtime

DATE = "Sat, 21 Nov 2026 09:00:00 GMT"
UNAUTHORIZED = (401, "application/json", '{"message":"401 Unauthorized"}')
ENDPOINTS = {"authorization": "authorize", "token": "token"}
PAGE = (200, "text/html", "<html><title>internal-wiki-7</title></html>")


@dataclass
class Peer:
    """Answers every API path with `api` (status, type, body), those under `hidden` with 404; records what it was sent.

    Attributes:
        issuer: what it says its own address is; by default the true one.
    """

    api: tuple[int, str, str] = UNAUTHORIZED
    date: str = DATE
    issuer: str = ""
    hidden: str = ""
    url: str = ""
    bodies: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, str, str]:
        """Return the answer for a path."""
        if self.hidden and path.startswith(self.hidden):
            return 404, "text/html", "<html>not here</html>"
        if "openid" in path:
            endpoints = {f"{name}_endpoint": f"{self.url}/oauth/{path}" for name, path in ENDPOINTS.items()}
            return 200, "application/json", json.dumps({"issuer": self.issuer or self.url, **endpoints})
        return self.api


@contextmanager
def serving(runtime: Runtime, peer: Peer) -> Iterator[Peer]:
    """Serve a peer on loopback, and let the portal reach it while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            self._send(*peer.answer(self.path))

        def do_POST(self) -> None:
            peer.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            self._send(401, "application/json", '{"error":"weird","error_description":"internal-db-9 says hello"}')

        def _send(self, status: int, kind: str, body: str) -> None:
            self.send_response_only(status)
            headers = {"Date": peer.date, "Content-Type": kind, "Content-Length": str(len(body.encode()))}
            headers["X-Request-Id"] = "01HF3Q5W6VY9KX8Z1C2B3D4E5F"
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    peer.url = f"http://127.0.0.1:{server.server_port}"
    let_through(runtime, peer.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def let_through(runtime: Runtime, url: str) -> None:
    """Make one loopback origin the exception of the network policy, like a sandbox."""
    policy = NetworkPolicy(exempt=parse_address(url, allow_http=True), own_origin=runtime.settings.base_url)
    object.__setattr__(runtime, "outbound", OutboundClient(policy))
