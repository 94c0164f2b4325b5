"""One connection to the sandbox: reads requests, lets GitLab or a fault answer, writes answers."""

from __future__ import annotations

import gzip
import io
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes

from portal.sandbox.faults import Fault, Faults
from portal.sandbox.requestlog import RequestLog, SeenRequest
from portal.sandbox.spoil import Answer, spoil
from portal.sandbox.world import World

if TYPE_CHECKING:
    from portal.sandbox.server import _Listener

IDLE_SECONDS = 65.0
HELD_POLL_SECONDS = 0.02
MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_PACK_BYTES = 512 * 1024 * 1024
BODILESS = frozenset({204, 304})

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Site:
    """What all connections share."""

    application: WSGIApplication
    world: World
    faults: Faults
    requests: RequestLog
    scheme: str
    stopping: threading.Event = field(default_factory=threading.Event)


class Connection(BaseHTTPRequestHandler):
    """Answers the requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    @property
    def site(self) -> Site:
        """What all connections share."""
        return cast("_Listener", self.server).site

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def handle(self) -> None:
        """Answer until the client leaves; a broken connection is not our error."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def serve(self) -> None:
        """Answer one request."""
        body = self._read_body()
        if body is None:
            return
        path, _, query = self.path.partition("?")
        site, started_at = self.site, time.perf_counter()
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = site.requests.begin(self.command, path, query, headers, body, site.world.now())
        status: int | None = None
        try:
            answer, fault = self._answer(seen, path, query, body)
            status = answer.status if answer else None
        finally:
            site.requests.end(seen, status, time.perf_counter() - started_at)
        if answer is None:
            self.close_connection = True
        else:
            self._send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve

    def _read_body(self) -> bytes | None:
        is_git = self.path.partition("?")[0].endswith(("/git-upload-pack", "/git-receive-pack"))
        if is_git and "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
            return None
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > (MAX_PACK_BYTES if is_git else MAX_BODY_BYTES):
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        return self.rfile.read(int(length))

    def _read_chunks(self) -> bytes:
        """Read what git sends in chunks, which is what it does with everything above a megabyte."""
        parts: list[bytes] = []
        while size := int(self.rfile.readline(100).partition(b";")[0] or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline(3)
        while self.rfile.readline(1000).strip():
            pass
        return b"".join(parts)

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._send(Answer(status, [("Content-Type", "text/plain")], status.phrase.encode()), None)

    def _answer(self, seen: SeenRequest, path: str, query: str, body: bytes) -> tuple[Answer | None, Fault | None]:
        """Return the response, or None if the connection must be closed without one."""
        below_root = path.removeprefix(self.site.world.settings.relative_root)
        # Remote control stays reachable even under a fault for everything.
        controls = below_root.startswith("/-/sandbox/")
        fault = None if controls else self.site.faults.strike(self.command, below_root, query, body)
        if fault is None:
            return self._compressed(self._ask_gitlab(path, query, body)), None
        seen.faulty = True
        # Waits on the event, so that stopping the server does not wait for a slow response.
        if fault.delay_seconds and self.site.stopping.wait(fault.delay_seconds):
            return None, fault
        while fault.held and not fault.released.wait(HELD_POLL_SECONDS):
            if self.site.stopping.is_set():
                return None, fault
        if fault.drop == "before":
            return None, fault
        if fault.answers and not (fault.processed or fault.drop):
            return _own_answer(fault), fault
        answer = self._ask_gitlab(path, query, body)
        if fault.drop == "after":
            return None, fault
        return (_own_answer(fault) if fault.answers else spoil(answer, fault)), fault

    def _compressed(self, answer: Answer) -> Answer:
        is_json = any(name.lower() == "content-type" and "json" in value for name, value in answer.headers)
        if self.site.world.settings.gzip and is_json and "gzip" in self.headers.get("Accept-Encoding", ""):
            answer.body = gzip.compress(answer.body, 1)
            answer.set_header("Content-Encoding", "gzip")
        return answer

    def _ask_gitlab(self, path: str, query: str, body: bytes) -> Answer:
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
            begun.append((status, headers))

        parts = self.site.application(self._environ(path, query, body), start_response)
        try:
            content = b"".join(parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        status, headers = begun[-1]
        return Answer(int(status[:3]), list(headers), content)

    def _environ(self, path: str, query: str, body: bytes) -> dict[str, Any]:
        settings = self.site.world.settings
        if path.startswith(f"{settings.relative_root}/api/") and not settings.proxy_decodes_slashes:
            # GitLab's router sees `group%2Fproject` as one segment; decoding it here would make it two.
            path = path.replace("%2F", "%252F").replace("%2f", "%252F")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_PROTOCOL": self.request_version,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": str(cast("_Listener", self.server).server_port),
            "REMOTE_ADDR": str(self.client_address[0]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": self.site.scheme,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
        for name, value in self.headers.items():
            if settings.proxy_drops_authorization and name.lower() == "authorization":
                continue
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        return environ

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        answer.set_header("Content-Length", str(len(answer.body)))
        names = {name.lower() for name, _ in answer.headers}
        if "date" not in names:
            answer.headers.append(("Date", format_datetime(self.site.world.now(), usegmt=True)))
        if "server" not in names:
            answer.headers.append(("Server", "nginx"))
        if answer.status in BODILESS:
            answer.set_header("Content-Length", "0")
        if self.close_connection:
            answer.set_header("Connection", "close")
        body = b"" if self.command == "HEAD" or answer.status in BODILESS else answer.body
        self._write(_head(answer), body, fault)

    def _write(self, head: bytes, body: bytes, fault: Fault | None) -> None:
        if fault is None or (fault.truncate is None and fault.drip is None):
            self.connection.sendall(head + body)
            return
        if fault.truncate is not None:
            body = body[: fault.truncate]
            self.close_connection = True
        size, pause_seconds = fault.drip or (len(body) or 1, 0.0)
        self.connection.sendall(head)
        for begin in range(0, len(body), size):
            self.connection.sendall(body[begin : begin + size])
            if pause_seconds and self.site.stopping.wait(pause_seconds):
                self.close_connection = True
                return


def _head(answer: Answer) -> bytes:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in answer.headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _own_answer(fault: Fault) -> Answer:
    status, headers, body = fault.answer()
    return Answer(status, list(headers.items()), body)
