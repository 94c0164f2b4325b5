from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from portal.net import (
    Address,
    AddressForbidden,
    DeadlinePassed,
    HostSession,
    NameNotResolved,
    NetworkPolicy,
    OutboundClient,
)
from portal.net.guard import only_our_connections
from tests.net.lines import HOST, answering, line_to
from tests.net.servers import Server, always, response, then_close
from tests.security.logged import catching_lines

GITLAB = Address("https", "gitlab.example.com", 443)


def line_resolving(resolve: Callable[[str, int], list[str]]) -> HostSession:
    return OutboundClient(NetworkPolicy(), resolve).session(GITLAB)


@pytest.mark.parametrize("turn", [1, 2, 3, 4, 5])
def test_name_that_turns_to_another_address_is_refused_at_that_connection(turn: int) -> None:
    asked = []

    def flipping(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) < turn else ["169.254.169.254"]

    with Server(then_close(response())) as server:
        address = Address("http", HOST, server.port)
        with (
            OutboundClient(NetworkPolicy(exempt=address), flipping).session(address) as http,
            only_our_connections() as watch,
        ):
            for _ in range(turn - 1):
                http.fetch("GET", "/")
                assert server.hung_up.acquire(timeout=5)
            with pytest.raises(AddressForbidden):
                http.fetch("GET", "/")

    assert len(asked) == turn
    assert {host for host, _, _ in watch.attempts} <= {"127.0.0.1"}
    assert server.connections == turn - 1


@pytest.mark.parametrize("answers", [("10.0.0.5", "127.0.0.1"), ("8.8.8.8", "::1"), ("8.8.8.8", "10.0.0.5", "fe80::1")])
def test_mixed_answers_are_refused_and_told_to_the_operator(
    answers: tuple[str, ...],
) -> None:
    with line_resolving(answering(*answers)) as http, only_our_connections() as watch, catching_lines() as lines:
        with pytest.raises(AddressForbidden):
            http.fetch("GET", "/")

        assert watch.attempts == []
    (event,) = lines.named("security_event")
    assert (event["kind"], event["host"], event["layer"]) == ("address_refused", GITLAB.host, "Network policy")


@pytest.mark.parametrize("error", [OSError("SERVFAIL"), UnicodeError("label"), TimeoutError()])
def test_failed_lookup_lets_nothing_through(error: Exception) -> None:
    def failing(host: str, port: int) -> list[str]:
        raise error

    with line_resolving(failing) as http, only_our_connections() as watch:
        with pytest.raises(NameNotResolved) as caught:
            http.fetch("GET", "/")

        assert watch.attempts == []
    assert caught.value.layer == "Name resolution"


@pytest.mark.parametrize("answers", [(), ("not an address",), ("127.1",)])
def test_answer_without_an_address_is_none(answers: tuple[str, ...]) -> None:
    with line_resolving(answering(*answers)) as http, pytest.raises(NameNotResolved):
        http.fetch("GET", "/")


def test_lookup_that_hangs_ends_at_the_deadline_and_says_so() -> None:
    done = threading.Event()

    def hanging(host: str, port: int) -> list[str]:
        done.wait(30)
        return ["8.8.8.8"]

    started = time.monotonic()
    with line_resolving(hanging) as http, pytest.raises(DeadlinePassed) as caught:
        http.fetch("GET", "/", deadline_seconds=0.2)
    seconds = time.monotonic() - started
    done.set()

    assert seconds < 1
    assert caught.value.layer == "Name resolution"
    assert "name servers" in caught.value.sentence


def test_each_new_connection_asks_again_and_a_kept_one_does_not() -> None:
    asked = []

    def counting(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with Server(always(response())) as server:
        address = Address("http", HOST, server.port)
        outbound = OutboundClient(NetworkPolicy(exempt=address), counting)
        with outbound.session(address) as http:
            http.fetch("GET", "/")
            http.fetch("GET", "/")
        with outbound.session(address) as http:
            http.fetch("GET", "/")

    assert asked == [HOST, HOST]


def test_second_address_is_tried_when_the_first_does_not_answer() -> None:
    # Only 127.0.0.1 listens; the other is loopback as well, and refuses at once.
    with Server(always(response())) as server, line_to(server, addresses=("127.0.0.9", "127.0.0.1")) as http:
        assert http.fetch("GET", "/").status == 200


def test_system_resolver_reads_the_hosts_file() -> None:
    with Server(always(response())) as server:
        address = Address("http", "localhost", server.port)
        with OutboundClient(NetworkPolicy(exempt=address)).session(address) as http:
            assert http.fetch("GET", "/").status == 200
