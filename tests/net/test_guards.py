"""Twelve attacks that a session has to withstand, against real sockets."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest

from portal.net import (
    Address,
    AddressForbidden,
    AnswerTooLarge,
    DeadlinePassed,
    HostSession,
    NetworkPolicy,
    OutboundClient,
    RedirectRefused,
    TLSFailed,
)
from portal.net.errors import OutboundError
from tests.net.certificates import Issued, issue
from tests.net.lines import HOST, answering, line_to
from tests.net.servers import Peer, Script, Server, always, header_of, response, silent, zeros_gzipped

DEADLINE = 0.5
SLACK = 0.5
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("Test authority", is_authority=True)


@pytest.fixture(scope="module")
def trusted(authority: Issued) -> Issued:
    return issue(HOST, HOST, by=authority)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return zeros_gzipped(256)


def drip_headers(peer: Peer) -> None:
    peer.read_request()
    peer.drip(HEAD + b"X-Filler: ")


def drip_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(HEAD + b"Content-Length: 1000000\r\n\r\n")
    peer.drip(b"{")


def seconds_until_refused(http: HostSession) -> tuple[float, DeadlinePassed]:
    started = time.monotonic()
    with pytest.raises(DeadlinePassed) as caught:
        http.fetch("GET", "/", deadline_seconds=DEADLINE)
    return time.monotonic() - started, caught.value


@pytest.mark.parametrize("script", [drip_headers, drip_body, silent])
def test_answer_in_drops_ends_at_the_wall_clock_deadline(script: Script) -> None:
    with Server(script) as server, line_to(server) as http:
        seconds, error = seconds_until_refused(http)

    assert seconds < DEADLINE + SLACK
    assert error.may_have_been_processed


@pytest.mark.parametrize("script", [drip_headers, drip_body])
def test_answer_in_drops_over_tls_ends_at_the_wall_clock_deadline(
    script: Script, trusted: Issued, authority: Issued
) -> None:
    with (
        Server(script, tls=trusted.server_context()) as server,
        line_to(server, scheme="https", ca_certificate=authority.pem) as http,
    ):
        seconds, error = seconds_until_refused(http)

    assert seconds < DEADLINE + SLACK
    assert error.may_have_been_processed


@pytest.mark.parametrize("script", [silent, lambda peer: peer.drip(b"\x16\x03\x03\x40\x00\x02")])
def test_tls_handshake_without_end_ends_at_the_deadline_and_sent_nothing(script: Script) -> None:
    with Server(script) as server, line_to(server, scheme="https") as http:
        seconds, error = seconds_until_refused(http)

    assert seconds < DEADLINE + SLACK
    assert error.layer == "TLS"
    assert not error.may_have_been_processed


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_gzip_bomb_is_cut_at_the_cap_without_being_inflated(
    scheme: str, bomb: bytes, trusted: Issued, authority: Issued
) -> None:
    tls = trusted.server_context() if scheme == "https" else None
    with (
        Server(always(response(bomb, content_encoding="gzip")), tls=tls) as server,
        line_to(server, scheme=scheme, ca_certificate=authority.pem) as http,
    ):
        tracemalloc.start()
        try:
            with pytest.raises(AnswerTooLarge):
                http.fetch("GET", "/")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 40 * 1024 * 1024


def test_endless_chunked_answer_is_cut_at_the_cap() -> None:
    def endless(peer: Peer) -> None:
        peer.read_request()
        peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while not peer.server.stopped.is_set():
            peer.send(b"10000\r\n" + bytes(65536) + b"\r\n")

    with Server(endless) as server, line_to(server) as http, pytest.raises(AnswerTooLarge):
        http.fetch("GET", "/", max_bytes=1024 * 1024)


def test_name_is_kept_for_sni_and_host_while_the_checked_address_is_connected_to(
    trusted: Issued, authority: Issued
) -> None:
    with (
        Server(always(response()), tls=trusted.server_context()) as server,
        line_to(server, scheme="https", ca_certificate=authority.pem) as http,
    ):
        assert http.fetch("GET", "/").status == 200

    assert server.names == [HOST]
    assert header_of(server.requests[0], "host") == f"{HOST}:{server.port}"


def test_certificate_of_an_unknown_authority_is_refused_before_any_request(trusted: Issued) -> None:
    assert tls_code(trusted, ca_certificate=None) == "tls_unknown_ca"


def test_certificate_for_another_name_is_refused_before_any_request(authority: Issued) -> None:
    other = issue("other.test", "other.test", by=authority)

    assert tls_code(other, ca_certificate=authority.pem) == "tls_wrong_name"


def tls_code(server_certificate: Issued, ca_certificate: str | None) -> str:
    with (
        Server(always(response()), tls=server_certificate.server_context()) as server,
        line_to(server, scheme="https", ca_certificate=ca_certificate) as http,
        pytest.raises(TLSFailed) as caught,
    ):
        http.fetch("GET", "/")
    assert server.requests == []
    return caught.value.code


def test_loopback_that_is_not_the_exempt_origin_is_refused_without_a_packet() -> None:
    with Server(always(response())) as server:
        outbound = OutboundClient(NetworkPolicy(ports=frozenset({server.port})), resolve=answering("127.0.0.1"))
        with outbound.session(Address("http", HOST, server.port)) as http, pytest.raises(AddressForbidden):
            http.fetch("GET", "/")

    assert server.connections == 0


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    with Server(always(response())) as server:
        yield server


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Same", "308 Permanent", "300 Many"])
def test_redirect_is_an_error_that_names_the_target_and_is_not_followed(status: str, elsewhere: Server) -> None:
    target = f"http://localhost:{elsewhere.port}/x\u202e?code=secret"
    with (
        Server(always(response(b"", status, location=target.encode().decode("latin-1")))) as server,
        line_to(server) as http,
        pytest.raises(RedirectRefused) as caught,
    ):
        http.fetch("GET", "/", headers={"Authorization": "Bearer t0ken"})

    assert len(server.requests) == 1
    assert elsewhere.connections == 0
    assert caught.value.target.startswith(f"http://localhost:{elsewhere.port}/x")
    assert "secret" not in caught.value.card().words


def test_redirect_with_a_bomb_for_a_body_is_refused_unread(bomb: bytes) -> None:
    answer = response(bomb, "302 Found", location="https://evil.test/", content_encoding="gzip")
    with Server(always(answer)) as server, line_to(server) as http, pytest.raises(OutboundError) as caught:
        http.fetch("GET", "/")

    assert caught.value.code == "redirect_refused"
