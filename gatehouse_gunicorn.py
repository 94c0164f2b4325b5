"""How gunicorn serves the portal: `gunicorn -c python:gatehouse_gunicorn wsgi:app`.

It is outside the package: gunicorn's first process reads it and must not hold the portal's modules, or the workers that
it starts on SIGHUP would have the old version.
"""

from __future__ import annotations

import contextvars
import errno
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket as greensocket
from gevent.pool import Pool
from gevent.server import StreamServer
from gevent.threadpool import ThreadPool
from gunicorn.http import errors
from gunicorn.http.errors import ParseException
from gunicorn.workers.ggevent import GeventWorker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# From the first byte of a request, or the end of the previous response, to the end of its head.
HEAD_SECONDS = 10
# From the end of the head to the end of the body: a form of a few kilobytes, over a bad connection.
BODY_SECONDS = 20
# For sending each piece of a response to the client; a page is one or two.
SEND_SECONDS = 60
PIECE_BYTES = 64 * 1024
# How long a stopping worker still answers on idle connections: a request may be on its way.
LINGER_SECONDS = 2
MAX_BODY_BYTES = 1024 * 1024
# A thread produces this much of a long response, then it is free until the client has read it.
BATCH_BYTES = 256 * 1024
# In the environment of what `gatehouse serve` starts: `portal.operation.listening`.
SUPERVISED = "_GATEHOUSE_SUPERVISOR"
# How often a worker checks whether it should stop, and tells the first process that it is alive.
NOTICE_SECONDS = 0.2
# What the portal finds in the environment of a request whose body could not be read: `portal.web.request_checks`.
BODY_PROBLEM = "gatehouse.body_problem"
STATUS_OF = {
    errors.LimitRequestLine: "414 URI Too Long",
    errors.LimitRequestHeaders: "431 Request Header Fields Too Large",
    errors.ExpectationFailed: "417 Expectation Failed",
}
# Our faults, not the client's.
CONFIGURATION_ERRORS = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
REFUSAL = """\
HTTP/1.1 {status}\r
Connection: close\r
Content-Type: text/plain; charset=utf-8\r
Content-Length: {length}\r
Cache-Control: no-store\r
Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r
Cross-Origin-Opener-Policy: same-origin\r
Cross-Origin-Resource-Policy: same-origin\r
Referrer-Policy: no-referrer\r
X-Content-Type-Options: nosniff\r
{https}\r
{status}.
"""
HTTPS = os.environ.get("GATEHOUSE_BASE_URL", "").strip().lower().startswith("https:")
STRICT_TRANSPORT = "Strict-Transport-Security: max-age=31536000\r\n" if HTTPS else ""


class WebWorker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, with the application in threads: a slow client does not occupy a thread.

    A connection is a greenlet, which costs a few kilobytes. A request goes to a thread once all of it has arrived, and
    the greenlet sends its response. Nothing is monkey-patched: the application, SQLAlchemy, psycopg and SQLite run in
    ordinary threads, and slow work there does not hold up other connections.
    """

    sockets: list[Any]
    wsgi: Any

    def patch(self) -> None:
        """Let greenlets wait at the listening sockets, and leave everything else as it is."""
        self.sockets = [
            greensocket.socket(listener.FAMILY, greensocket.SOCK_STREAM, fileno=listener.sock.detach())
            for listener in self.sockets
        ]

    def load_wsgi(self) -> None:
        """Load the application and run it in threads."""
        super().load_wsgi()
        self._threads = ThreadPool(self.cfg.threads)
        # The socket of each connection, and the connections whose next request head is incomplete.
        self._clients: dict[Any, greensocket.socket] = {}
        self._waiting: set[Any] = set()
        self.wsgi = partial(self._answer, self.wsgi)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Limit the wait for the head of a request; after that the connection is closed without a response."""
        connection = gevent.getcurrent()
        with gevent.Timeout(HEAD_SECONDS, False):
            self._waiting.add(connection)
            try:
                yield
            finally:
                self._waiting.remove(connection)

    def handle(self, listener: Any, client: Any, address: Any) -> None:
        """Serve one connection."""
        connection = gevent.getcurrent()
        self._clients[connection] = client
        try:
            super().handle(listener, client, address)
        finally:
            del self._clients[connection]

    def handle_error(self, request: Any, client: Any, address: Any, error: BaseException) -> None:
        """Answer input that is not an HTTP/1.1 request, with the headers of every response of the portal."""
        if isinstance(error, ParseException) and not isinstance(error, CONFIGURATION_ERRORS):
            status = next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), "400 Bad Request")
            self.log.warning("Refused a request from %s: %s", (address or [""])[0], type(error).__name__)
        else:
            status = "500 Internal Server Error"
            self.log.exception("Error handling request")
        with suppress(OSError), gevent.Timeout(LINGER_SECONDS, False):
            client.sendall(REFUSAL.format(status=status, length=len(status) + 2, https=STRICT_TRANSPORT).encode())
            # Requests that are still running would make the system reset the connection before the client has read
            # this.
            client.shutdown(greensocket.SHUT_WR)
            while client.recv(65536):
                pass

    def run(self) -> None:
        """Serve until the signal; then answer what was accepted, and end."""
        connections = Pool(self.worker_connections)
        servers = []
        for listener in self.sockets:
            # gunicorn asks for the address of each connection, even of those that are open after the listener is
            # closed.
            address = listener.getsockname()
            named = SimpleNamespace(getsockname=lambda address=address: address)
            servers.append(StreamServer(listener, handle=partial(self.handle, named), spawn=connections))
        for server in servers:
            if self.cfg.workers > 1:
                server.max_accept = 1
            server.start()
        while self.alive:
            self.notify()
            gevent.sleep(NOTICE_SECONDS)
        for server in servers:
            _stop_listening(server)
        self._drain(connections)

    def _drain(self, connections: Pool) -> None:
        started = time.monotonic()
        while len(connections) and time.monotonic() - started < self.cfg.graceful_timeout:
            self.notify()
            if time.monotonic() - started > LINGER_SECONDS:
                for connection in self._waiting:
                    # It reads what has already arrived, and then the end: a request that came at this moment is
                    # answered. Through a system socket, because gevent's would end its wait with an error.
                    with suppress(OSError), socket.socket(fileno=os.dup(self._clients[connection].fileno())) as same:
                        same.shutdown(socket.SHUT_RD)
            connections.join(NOTICE_SECONDS)
        if len(connections):
            self.log.warning("%d requests were not answered within the graceful timeout", len(connections))
            connections.kill(block=False)

    def _answer(self, app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        limit: int = getattr(app, "body_limit", lambda path: MAX_BODY_BYTES)(environ.get("PATH_INFO", ""))
        problem = _take_body(environ, limit)
        if problem:
            environ[BODY_PROBLEM] = problem
        answer = Answer(app, environ)
        first = self._threads.apply(answer.next_pieces)
        start_response(*answer.head)
        return self._leaving(answer, first)

    def _leaving(self, answer: Answer, pieces: list[bytes]) -> Iterator[bytes]:
        too_slow = OSError(errno.EPIPE, "the client does not read its response")
        try:
            while True:
                for piece in pieces:
                    for start in range(0, len(piece), PIECE_BYTES):
                        with gevent.Timeout(SEND_SECONDS, too_slow):
                            yield piece[start : start + PIECE_BYTES]
                if answer.is_complete:
                    return
                pieces = self._threads.apply(answer.next_pieces)
        finally:
            if not answer.is_complete:
                self._threads.apply(answer.close)


class Answer:
    """One response of the application, produced in threads, piece by piece; always in the same context.

    Attributes:
        head: status and headers, known with the first pieces.
        is_complete: whether there are no more pieces.
    """

    def __init__(self, app: WSGIApplication, environ: WSGIEnvironment) -> None:
        self._app = app
        self._environ = environ
        self._context = contextvars.Context()
        self._iterable: Iterable[bytes] | None = None
        self._pieces: Iterator[bytes] = iter(())
        self.head: tuple[str, list[tuple[str, str]]] = ("", [])
        self.is_complete = False

    def next_pieces(self) -> list[bytes]:
        """Return the next pieces, at least a batch in total unless they are the last."""
        return self._context.run(self._make)

    def close(self) -> None:
        """Abort it before it is complete."""
        self.is_complete = True
        close = getattr(self._iterable, "close", None)
        if close is not None:
            self._context.run(close)

    def _make(self) -> list[bytes]:
        pieces: list[bytes] = []
        if self._iterable is None:
            self._iterable = self._app(self._environ, self._begin)
            self._pieces = iter(self._iterable)
        size = 0
        try:
            for piece in self._pieces:
                pieces.append(piece)
                size += len(piece)
                if size >= BATCH_BYTES:
                    return pieces
        except BaseException:
            self._finish()
            raise
        self._finish()
        return pieces

    def _finish(self) -> None:
        self.is_complete = True
        close = getattr(self._iterable, "close", None)
        if close is not None:
            close()

    def _begin(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.head = (status, headers)


def _take_body(environ: WSGIEnvironment, limit: int) -> str:
    """Replace the connection with the whole body, so that no thread waits for it; return what is wrong with it."""
    source, problem, body = environ["wsgi.input"], "", b""
    length = environ.get("CONTENT_LENGTH", "")
    is_there = bool(length) or environ.pop("HTTP_TRANSFER_ENCODING", None) is not None
    if length and int(length) > limit:  # gunicorn only accepts digits as the length.
        problem = "large"
    elif is_there:
        try:
            with gevent.Timeout(BODY_SECONDS):
                body = source.read(limit + 1)
        except gevent.Timeout:
            problem = "slow"
            source.failed = True  # gunicorn then reads no other request from this connection.
        except Exception:  # Invalid chunks, or a connection that broke.
            problem = "broken"
        if len(body) > limit:
            problem, body = "large", b""
        elif length and not problem and len(body) < int(length):
            problem = "broken"
        environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    return problem


def _stop_listening(server: StreamServer) -> None:
    """Accept the connections that clients have already made, then close: a connection that no one accepts is reset."""
    server.stop_accepting()
    # Not forever: clients may connect as fast as this accepts.
    end = time.monotonic() + NOTICE_SECONDS
    while time.monotonic() < end and (accepted := server.do_read()) is not None:
        server.do_handle(*accepted)
    server.close()


# What gunicorn reads.


def on_starting(server: Any) -> None:
    """Check settings, keys and database first: a problem is one sentence and exit code 78, and no process starts.

    A separate program checks, because this process must not hold the portal's modules. `gatehouse serve` has already
    checked.
    """
    if SUPERVISED not in os.environ:
        command = [sys.executable, "-m", "portal", "check", "--quiet"]
        if code := subprocess.run(command, cwd=server.cfg.chdir, check=False).returncode:  # noqa: S603 - our own
            sys.exit(code)


worker_class = WebWorker
# Per process; this many requests are handled at once.
threads = 8
worker_connections = 800
keepalive = HEAD_SECONDS
# Longer than the longest deadline of our requests to GitLab, so that none is cut off.
timeout = 150
# A running token request is finished, and may take as long: docs/operation.md, Stopping.
graceful_timeout = 80
# No header says where the portal is or who asks, unless GATEHOUSE_TRUSTED_PROXY_HOPS allows it.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
# It would write under the home directory.
control_socket_disable = True
accesslog = "-"
logger_class = "gatehouse_access_log.AccessLog"
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(L)ss'
