"""A web server that is told to stop or to restart loses no request that it has accepted (F56)."""

from __future__ import annotations

import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.web_server.served import Served, read_all, serving, status_of

CLIENTS = 4
PAGES = 40


class Load:
    """Clients that open one page after the other, each over its own connection."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.outcomes: Counter[str] = Counter()
        self.has_enough = threading.Event()
        self._lock = threading.Lock()
        self._is_over = False

    def go_on(self) -> None:
        while not self._is_over:
            outcome = self._ask()
            with self._lock:
                self.outcomes[outcome] += 1
                if self.outcomes["answered"] >= PAGES:
                    self.has_enough.set()
            if outcome == "refused":
                return

    def _ask(self) -> str:
        try:
            connection = socket.create_connection(("127.0.0.1", self.served.port), timeout=30)
        except ConnectionRefusedError:
            return "refused"
        with connection:
            try:
                connection.sendall(
                    f"GET /sign-in HTTP/1.1\r\nHost: {self.served.host}\r\nConnection: close\r\n\r\n".encode()
                )
                answer = b""
                while part := connection.recv(65536):
                    answer += part
            except OSError as error:
                return type(error).__name__
        return "answered" if status_of(answer) == 200 and answer.endswith(b"</html>") else f"cut {len(answer)}"

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.go_on) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            assert self.has_enough.wait(60)
            yield
        finally:
            self._is_over = True
            for thread in threads:
                thread.join()


def test_every_accepted_request_is_answered_after_sigterm(tmp_path: Path, migrated_file: Path) -> None:
    with serving(tmp_path, migrated_file, workers=2) as served:
        load = Load(served)
        with load.running():
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(60) == 0

    assert set(load.outcomes) <= {"answered", "refused"}
    assert load.outcomes["answered"] >= PAGES


def test_request_that_is_half_here_and_one_on_an_open_connection_are_answered_after_sigterm(
    tmp_path: Path, migrated_file: Path
) -> None:
    with serving(tmp_path, migrated_file) as served:
        half, open_one, silent = served.connect(), served.connect(), served.connect()
        ask = f"GET /sign-in HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode()
        open_one.sendall(ask)
        assert status_of(open_one.recv(65536)) == 200
        half.sendall(f"POST /theme HTTP/1.1\r\nHost: {served.host}\r\nContent-Length: 10\r\n\r\n".encode())

        served.process.send_signal(signal.SIGTERM)
        # Its listener is closed: the signal has arrived everywhere.
        while True:
            try:
                socket.create_connection(("127.0.0.1", served.port)).close()
            except ConnectionRefusedError:
                break
        open_one.sendall(ask)
        half.sendall(b"theme=dark")

        assert status_of(read_all(half)) == 400  # No content type: the body was read to its end.
        assert b"Connection: close" in read_all(open_one)
        assert read_all(silent) == b""
        assert served.process.wait(60) == 0
    assert "Traceback" not in served.log.read_text()


def test_new_workers_take_over_without_a_word_on_sighup(tmp_path: Path, migrated_file: Path) -> None:
    with serving(tmp_path, migrated_file) as served:
        load = Load(served)
        with load.running():
            served.process.send_signal(signal.SIGHUP)
            before = served.log.read_text().count("Booting worker")
            while (
                served.log.read_text().count("Booting worker") == before
                or "Worker exiting" not in served.log.read_text()
            ):
                assert status_of(served.get("/healthz")) == 200

        assert set(load.outcomes) == {"answered"}
