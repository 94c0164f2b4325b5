"""The portal's web server as its own program, and bare connections to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from portal.operation.serving import web_arguments
from portal.settings import Settings
from portal.vault import KeyRing
from tests.support.processes import ending, free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
# Longer than any wait; only reached if a server does not answer.
ANSWER_SECONDS = 30


@dataclass
class Served:
    """A running server.

    Attributes:
        port: on loopback.
        process: gunicorn's first process.
        log: what it and its workers write.
    """

    port: int
    process: subprocess.Popen[str]
    log: Path
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def host(self) -> str:
        """The Host header that it expects."""
        return f"127.0.0.1:{self.port}"

    def connect(self, *, room: int = 0) -> socket.socket:
        """Open a connection that stays open until the end; `room` is how much of a response the system buffers for
        it.
        """
        connection = socket.socket()
        self.connections.append(connection)
        if room:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def get(self, path: str = "/sign-in", headers: str = "") -> bytes:
        """Request a page over its own connection; return the whole response."""
        return self.send(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n{headers}Connection: close\r\n\r\n".encode())

    def send(self, sent: bytes, *, ends: bool = False) -> bytes:
        """Send bytes and return the whole response; `ends` says that nothing follows them."""
        connection = self.connect()
        connection.sendall(sent)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    connection.close()
    return b"".join(parts)


def status_of(answer: bytes) -> int:
    """Return the status of an answer; 0 if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@contextmanager
def serving(
    folder: Path, migrated_file: Path, *, config: str = "", workers: int = 1, log_level: str = "INFO"
) -> Iterator[Served]:
    """Run gunicorn as `gatehouse serve` does, on a database without people, until the block ends.

    Args:
        folder: for data and log.
        migrated_file: the database to begin with.
        config: another module of gunicorn settings.
        workers: how many processes.
        log_level: of gunicorn.
    """
    port = free_port()
    settings = Settings(base_url=f"http://127.0.0.1:{port}", data_dir=folder / "var", log_level=log_level)
    settings.data_dir.mkdir()
    shutil.copy(migrated_file, settings.data_dir / "gatehouse.db")
    KeyRing.create_file(settings.resolved_key_file)
    environment = {
        **os.environ,
        "GATEHOUSE_BASE_URL": settings.base_url,
        "GATEHOUSE_DATA_DIR": str(settings.data_dir),
    }
    arguments = web_arguments(settings, f"127.0.0.1:{port}", workers)
    if config:
        arguments = [f"--config=python:{config}" if one.startswith("--config") else one for one in arguments]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environment, cwd=ROOT, stdout=output, stderr=output, text=True
        )
    with ending(process):
        served = Served(port, process, log)
        try:
            _wait_for(served)
            yield served
        finally:
            for connection in served.connections:
                connection.close()


def _wait_for(served: Served) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert served.process.poll() is None, served.log.read_text()
        with suppress(ConnectionRefusedError):
            if status_of(served.get("/healthz")) == 200:
                return
        time.sleep(0.05)
    raise AssertionError(served.log.read_text())
