"""How fast deliveries are taken in: the real portal, beside a bare Flask view that inserts one row per request.

Both run in the same gunicorn, with the same number of processes, in turn; the client runs on the same machine. "Behind"
is while a worker also applies what came in before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from sqlalchemy import func
from sqlmodel import col, select

from bench.figures import console
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.refresh import make_table, on_both_databases
from portal.connections.models import Connection
from portal.db import utc_now
from portal.net import origin_of
from portal.operation.serving import web_arguments
from portal.runtime import Runtime
from portal.webhooks.deliveries import has_waiting
from portal.webhooks.keys import make_keys, open_key
from portal.webhooks.models import Delivery, Hook
from tests.support.processes import ending, free_port

ROOT = Path(__file__).parent.parent
GITLAB = "http://127.0.0.1:1"
WORKERS = 2
AT_ONCE = 16
HOOKS = 100
ROUNDS = 3
STEADY_RATE = 200
START_SECONDS = 60


@dataclass(frozen=True)
class Sender:
    """A hook as GitLab has it."""

    public_id: str
    project_id: int
    signing_token: bytes

    def request(self, message_id: str, host: str) -> bytes:
        """Return a delivery, signed now, as GitLab 19 sends it: a push with twenty commits is about this long."""
        commit = {"id": "a" * 40, "message": f"Change {message_id}", "author": {"name": "Ada"}, "modified": ["a.py"]}
        push = {
            "object_kind": "push",
            "project_id": self.project_id,
            "ref": "refs/heads/main",
            "commits": [commit] * 20,
        }
        body = json.dumps(push).encode()
        timestamp = str(int(time.time()))
        digest = hmac.digest(self.signing_token, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
        head = (
            f"POST /webhooks/gitlab/{self.public_id} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: GitLab/19.0.0\r\n"
            f"Content-Type: application/json\r\nX-Gitlab-Event: Push Hook\r\nIdempotency-Key: {message_id}\r\n"
            f"X-Gitlab-Instance: {GITLAB}\r\nwebhook-id: {message_id}\r\nwebhook-timestamp: {timestamp}\r\n"
            f"webhook-signature: v1,{base64.b64encode(digest).decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def make_senders(
    runtime: Runtime, count: int, gitlab: str = GITLAB, token: str = "a-token-of-this-bench"
) -> list[Sender]:
    """Store a connection with so many hooks that sign."""
    connection_id = authorized_connection(runtime, gitlab, token)
    with runtime.database.transaction() as session:
        # Otherwise the worker would remove the hooks, because no repository is enabled.
        session.get_one(Connection, connection_id).authorized_at = None
    senders = []
    for number in range(1, count + 1):
        with runtime.database.transaction() as session:
            hook = Hook(connection_id=connection_id, subject_id=number)
            session.add(hook)
            session.flush()
            make_keys(runtime, hook, origin_of(gitlab), with_signature=True)
            hook.uses_signature, hook.signed_from = True, utc_now()
        key = open_key(runtime, hook, "signing_token_sealed")
        assert key is not None
        signing_token = base64.b64decode(key.reveal().removeprefix("whsec_"))
        senders.append(Sender(hook.public_id, number, signing_token))
    return senders


class Line:
    """A connection that stays open, as GitLab's workers keep none, but its sidecar proxies do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> int:
        """Send a request and return the status of the answer; 0 if the connection broke."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = self._socket.recv(65536)
                if not part:
                    raise ConnectionError
                answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            while len(body) < length:
                part = self._socket.recv(65536)
                if not part:
                    raise ConnectionError
                body += part
            if b"connection: close" in head.lower():
                self.close()
            return int(head[9:12])
        except OSError:
            self.close()
            return 0

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def environment_of(runtime: Runtime) -> dict[str, str]:
    """Return the environment of the portal's processes."""
    settings = runtime.settings
    return {
        **os.environ,
        "GATEHOUSE_BASE_URL": settings.base_url,
        "GATEHOUSE_DATA_DIR": str(settings.data_dir),
        "GATEHOUSE_DATABASE_URL": settings.database_url,
        "GATEHOUSE_KEY_FILE": str(settings.resolved_key_file),
        "GATEHOUSE_ALLOW_HTTP": "true",
        **({"GATEHOUSE_SANDBOX_ORIGIN": settings.sandbox_origin} if settings.sandbox_origin else {}),
    }


@dataclass(frozen=True)
class Server:
    """A running gunicorn: its port, and its first process."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return what its processes have used so far; of a busy machine this says more than the rate."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        fields = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split() for child in children]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


@contextmanager
def web_server(
    runtime: Runtime, application: str, database_url: str = "", *more: str, port: int = 0
) -> Iterator[Server]:
    """Run gunicorn as `gatehouse serve` does with the portal, or with a bare application."""
    port = port or free_port()
    arguments = web_arguments(runtime.settings, f"127.0.0.1:{port}", WORKERS)
    arguments[arguments.index("portal:create_app()")] = application
    arguments += more
    environment = {**environment_of(runtime), "BARE_DATABASE_URL": database_url}
    log = runtime.settings.data_dir / "web.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output, text=True
        )
    with ending(process):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield Server(port, process.pid)


def run(deliveries: int) -> None:
    """Measure on both databases and print."""
    table = make_table(
        f"{ROUNDS} x {deliveries:,} deliveries, {AT_ONCE} at once, {WORKERS} web processes; then {STEADY_RATE}/s",
        ("portal/s", "bare/s", "ratio (rounds)", "CPU ms", "p50 ms", "p99 ms", "bare p99", "p99 behind", "effect p95"),
    )
    on_both_databases(lambda name, url: table.add_row(name, *_measure(url, deliveries)))
    console.print(table)


def _measure(url: str, deliveries: int) -> list[str]:
    with fresh_runtime("", url) as runtime, fresh_runtime("", url) as beside:
        senders = make_senders(runtime, HOOKS)
        host = runtime.settings.base_url.removeprefix("http://")
        bare_url = beside.settings.resolved_database_url
        with (
            web_server(runtime, "portal:create_app()") as portal,
            web_server(runtime, "bench.bare:inserting()", bare_url) as bare,
        ):
            rates: dict[Server, list[float]] = {portal: [], bare: []}
            for server in rates:
                _flood(server.port, requests_of(senders, host, 500, f"warm-{server.port}"))
            used = {server: -server.cpu_seconds() for server in rates}
            for number in range(ROUNDS):
                for server, found in rates.items():
                    found.append(_flood(server.port, requests_of(senders, host, deliveries, f"{number}-{server.port}")))
            used = {server: used[server] + server.cpu_seconds() for server in rates}
            with worker(runtime):
                behind = steadily(portal.port, requests_of(senders, host, 5 * STEADY_RATE, "behind"), STEADY_RATE)
                await_effects(runtime)
                times = steadily(portal.port, requests_of(senders, host, 10 * STEADY_RATE, "steady"), STEADY_RATE)
                peer = steadily(bare.port, requests_of(senders, host, 10 * STEADY_RATE, "bare"), STEADY_RATE)
                await_effects(runtime)
                effects = seconds_to_effect(runtime, "steady-")
        with runtime.database.reading() as session:
            stored = session.exec(select(func.count()).select_from(Delivery)).one()
        assert stored == 500 + ROUNDS * deliveries + len(times) + len(behind), stored
    ratios = [mine / its for mine, its in zip(rates[portal], rates[bare], strict=True)]
    cpu = [used[server] * 1000 / ROUNDS / deliveries for server in (portal, bare)]
    return [
        f"{statistics.median(rates[portal]):,.0f}",
        f"{statistics.median(rates[bare]):,.0f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{cpu[0]:.2f} / {cpu[1]:.2f}",
        *(f"{value * 1000:.0f}" for value in (statistics.median(times), _p99(times), _p99(peer), _p99(behind))),
        f"{effects[int(len(effects) * 0.95)] * 1000:.0f}",
    ]


def await_effects(runtime: Runtime) -> None:
    """Wait until a worker has applied everything."""
    while has_waiting(runtime):
        time.sleep(0.1)


def seconds_to_effect(runtime: Runtime, prefix: str) -> list[float]:
    """Return how long after they came deliveries were applied, in order; their keys begin with `prefix`."""
    which = (col(Delivery.key).startswith(prefix), col(Delivery.applied_at).is_not(None))
    with runtime.database.reading() as session:
        found = session.exec(select(Delivery.received_at, Delivery.applied_at).where(*which)).all()
    return sorted((applied - received).total_seconds() for received, applied in found if applied)


def _p99(times: list[float]) -> float:
    return times[int(len(times) * 0.99)]


@contextmanager
def worker(runtime: Runtime) -> Iterator[subprocess.Popen[str]]:
    """Run a background worker."""
    with (runtime.settings.data_dir / "worker.log").open("a") as output:
        arguments = [sys.executable, "-m", "portal", "worker"]
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment_of(runtime), stdout=output, stderr=output, text=True
        )
    with ending(process):
        yield process


def requests_of(senders: list[Sender], host: str, count: int, prefix: str) -> list[bytes]:
    """Return so many deliveries, of each sender in turn; their keys begin with `prefix`."""
    return [senders[number % len(senders)].request(f"{prefix}-{number}", host) for number in range(count)]


def _flood(port: int, requests: list[bytes]) -> float:
    """Send as fast as the server answers; return how many a second."""
    todo: SimpleQueue[bytes | None] = SimpleQueue()
    for request in [*requests, *[None] * AT_ONCE]:
        todo.put(request)
    started = time.perf_counter()
    _with_lines(port, lambda line: _drain(line, todo))
    return len(requests) / (time.perf_counter() - started)


def _drain(line: Line, todo: SimpleQueue[bytes | None]) -> None:
    while (request := todo.get()) is not None:
        status = line.ask(request)
        assert status == 200, status


def steadily(port: int, requests: list[bytes], rate: float, lines: int = AT_ONCE) -> list[float]:
    """Send at a fixed rate, whatever the answers take; return the seconds of each, counted from when it was due."""
    todo = iter(list(enumerate(requests)))
    lock, times = threading.Lock(), []
    started = time.perf_counter() + 0.5

    def send(line: Line) -> None:
        while True:
            with lock:
                number, request = next(todo, (0, b""))
            if not request:
                return
            due = started + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            assert (status := line.ask(request)) == 200, status
            times.append(time.perf_counter() - due)

    _with_lines(port, send, lines)
    assert len(times) == len(requests)
    return sorted(times)


def _with_lines(port: int, act: object, lines: int = AT_ONCE) -> None:
    failures: list[BaseException] = []

    def run_one() -> None:
        line = Line(port)
        try:
            act(line)  # type: ignore[operator]
        except BaseException as error:
            failures.append(error)
        finally:
            line.close()

    threads = [threading.Thread(target=run_one) for _ in range(lines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
