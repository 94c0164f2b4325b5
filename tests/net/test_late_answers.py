"""A process that was paused past its deadline accepts what has arrived, and waits for nothing else."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from portal.net import DeadlinePassed
from portal.net.backend import GuardedStream
from portal.net.deadline import LATE_SECONDS, current, exchange
from tests.net.certificates import issue


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def pause_past_the_end() -> None:
    current().ends_at = time.monotonic() - 100


def test_answer_that_came_during_a_pause_is_read(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    stream = GuardedStream(ours)
    with exchange(5):
        stream.write(b"question")
        theirs.sendall(b"answer")
        pause_past_the_end()

        assert stream.read(100) == b"answer"
        with pytest.raises(DeadlinePassed) as caught:
            stream.read(100)
    assert caught.value.may_have_been_processed


def test_nothing_is_sent_after_a_pause(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.setblocking(False)
    with exchange(5):
        pause_past_the_end()
        with pytest.raises(DeadlinePassed):
            GuardedStream(ours).write(b"question")
    with pytest.raises(BlockingIOError):
        theirs.recv(100)


def test_peer_that_never_stops_sending_is_not_read_for_ever(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    stream = GuardedStream(ours)
    theirs.sendall(b"x" * 100)
    with exchange(5):
        pause_past_the_end()
        assert stream.read(10) == b"x" * 10
        current().late_since = time.monotonic() - LATE_SECONDS - 1
        with pytest.raises(DeadlinePassed):
            stream.read(10)


def test_tls_is_read_late_as_well_and_not_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    certificate = issue("gitlab.test", "gitlab.test")
    context = ssl.create_default_context(cadata=certificate.pem)
    with ThreadPoolExecutor() as pool:
        serving = pool.submit(certificate.server_context().wrap_socket, pair[1], server_side=True)
        client = context.wrap_socket(pair[0], server_hostname="gitlab.test")
        server = serving.result()
    stream = GuardedStream(client)
    with client, server, exchange(5):
        server.sendall(b"answer")
        pause_past_the_end()

        assert stream.read(100) == b"answer"
        with pytest.raises(DeadlinePassed):
            stream.read(100)
