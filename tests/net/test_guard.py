from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpcore2
import pytest

from portal.net.guard import StrayConnection, only_our_connections
from tests.net.lines import line_to
from tests.net.servers import Server, always, response


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(always(response())) as server:
        yield server


def test_door_may_connect(server: Server) -> None:
    with only_our_connections() as watch, line_to(server) as line:
        line.fetch("GET", "/")

    assert watch.attempts == [("127.0.0.1", server.port, True)]
    assert watch.strays == []


def connect(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=2):
        pass


def request(server: Server) -> None:
    with httpcore2.ConnectionPool() as pool:
        pool.request("GET", f"http://127.0.0.1:{server.port}/")


def send_datagram(server: Server) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", server.port))


@pytest.mark.parametrize("way", [connect, request, send_datagram])
def test_any_other_way_is_refused_before_a_packet(way: object, server: Server) -> None:
    with pytest.raises(StrayConnection), only_our_connections():
        way(server)  # type: ignore[operator]

    assert server.connections == 0


def test_refusal_that_was_swallowed_comes_up_at_the_end(server: Server) -> None:
    with pytest.raises(StrayConnection), only_our_connections():  # noqa: SIM117
        with contextlib.suppress(BaseException):
            connect(server)


def run(thread: threading.Thread) -> None:
    thread.start()
    thread.join()


def test_other_threads_are_watched_as_well(server: Server) -> None:
    def swallow() -> None:
        with contextlib.suppress(BaseException):
            connect(server)

    thread = threading.Thread(target=swallow)
    with pytest.raises(StrayConnection), only_our_connections():
        run(thread)

    assert server.connections == 0


def test_tests_own_servers_and_unix_sockets_may_be_allowed(server: Server, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as client,
        only_our_connections(allowed={("127.0.0.1", server.port)}) as watch,
    ):
        listener.bind(path)
        listener.listen()
        client.connect(path)
        connect(server)

    assert watch.attempts == [("127.0.0.1", server.port, False)]


def test_without_a_watch_nothing_is_refused(server: Server) -> None:
    with only_our_connections():
        pass
    connect(server)
