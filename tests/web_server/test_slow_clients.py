"""Slow clients of every kind hold up no one, and do not stay forever, without any proxy in front (S99)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.machine_views import RAW_BYTES
from tests.web_server.served import Served, read_all, status_of

SLOW_CLIENTS = 32
STYLE = "/static/vendor/tabler-1.6.1.min.css"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


def silent(served: Served) -> None:
    served.connect()


def in_the_head(served: Served) -> None:
    served.connect().sendall(f"GET /sign-in HTTP/1.1\r\nHost: {served.host}\r\nX-Lo".encode())


def in_the_body(served: Served) -> None:
    head = f"POST /sign-in HTTP/1.1\r\nHost: {served.host}\r\n{FORM}Content-Length: 1000\r\n\r\n"
    served.connect().sendall(f"{head}email=".encode())


def in_a_chunk(served: Served) -> None:
    head = f"POST /sign-in HTTP/1.1\r\nHost: {served.host}\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n"
    served.connect().sendall(f"{head}3e8\r\nemail=".encode())


def not_reading(served: Served) -> None:
    ask = f"GET {STYLE} HTTP/1.1\r\nHost: {served.host}\r\n\r\n"
    served.connect(room=4096).sendall(ask.encode() * 4)


def idle(served: Served) -> None:
    connection = served.connect()
    connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode())
    assert connection.recv(65536)


@pytest.mark.parametrize("slow", [silent, in_the_head, in_the_body, in_a_chunk, not_reading, idle])
def test_others_are_answered_while_clients_are_slow(served: Served, slow: Callable[[Served], None]) -> None:
    for _ in range(SLOW_CLIENTS):
        slow(served)

    assert [status_of(served.get()) for _ in range(3)] == [200, 200, 200]


def test_head_that_does_not_come_ends_the_connection(impatient: Served) -> None:
    connection = impatient.connect()
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x")

    assert read_all(connection) == b""


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_body_that_does_not_come_is_408_and_ends_the_connection(impatient: Served, length: str) -> None:
    head = f"POST /sign-in HTTP/1.1\r\nHost: {impatient.host}\r\n{FORM}{length}\r\n\r\n"

    answer = impatient.send(f"{head}5\r\nemail".encode())

    assert status_of(answer) == 408
    assert b"Not all of the request arrived in time" in answer
    assert b"Content-Security-Policy" in answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"Content-Length: {RAW_BYTES}\r\n\r\n" + "x" * RAW_BYTES, 200),
        (f"Content-Length: {RAW_BYTES + 1}\r\n\r\n", 413),
        (f"Transfer-Encoding: chunked\r\n\r\n{RAW_BYTES + 1:x}\r\n" + "x" * (RAW_BYTES + 1) + "\r\n0\r\n\r\n", 413),
        ("Content-Length: 100\r\n\r\nlate", 408),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nlate", 408),
        ("Transfer-Encoding: chunked\r\n\r\nnone\r\n", 400),
    ],
    ids=["whole", "too long", "too long in chunks", "late", "late in chunks", "no chunks"],
)
def test_body_of_a_program_has_its_own_limit_and_problem_details(impatient: Served, sent: str, status: int) -> None:
    answer = impatient.send(
        f"POST /programs/raw HTTP/1.1\r\nHost: {impatient.host}\r\nConnection: close\r\n{sent}".encode()
    )

    assert status_of(answer) == status
    assert (b"application/problem+json" in answer) == (status != 200)
    assert b"Set-Cookie" not in answer


def test_answer_that_is_not_taken_ends_the_connection_without_a_traceback(impatient: Served) -> None:
    connection = impatient.connect(room=4096)
    # Together more than the system buffers for the client.
    connection.sendall(f"GET {STYLE} HTTP/1.1\r\nHost: {impatient.host}\r\n\r\n".encode() * 20)
    while "Ignoring EPIPE" not in impatient.log.read_text():
        assert status_of(impatient.get("/healthz")) == 200

    assert read_all(connection).count(b"HTTP/1.1 200") < 20
    assert "Traceback" not in impatient.log.read_text()
