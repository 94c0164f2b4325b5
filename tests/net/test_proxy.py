from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from portal.net import (
    Address,
    AddressForbidden,
    AddressRefused,
    DeadlinePassed,
    HostSession,
    NetworkPolicy,
    OutboundClient,
    ProxyExceptions,
    ProxyFailed,
    TLSFailed,
    parse_proxy,
)
from portal.net.guard import only_our_connections
from tests.net.certificates import Issued, issue
from tests.net.lines import HOST
from tests.net.servers import Script, Server, always, header_of, response, silent, then_close, tunnelling_to

INSIDE = "10.0.0.5"  # Where the name leads; only the proxy is ever connected to.


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("Test authority", is_authority=True)


@pytest.fixture
def gitlab(authority: Issued) -> Iterator[Server]:
    with Server(always(response()), tls=issue(HOST, HOST, by=authority).server_context()) as server:
        yield server


def line_through(
    proxy: Server, target: Address | None = None, ca_certificate: str | None = None, *inside: str
) -> HostSession:
    """Return a session through a proxy; only the proxy is exempt from the loopback rule."""
    answers = {"proxy.test": ["127.0.0.1"], HOST: list(inside or [INSIDE])}
    policy = NetworkPolicy(exempt=Address("http", "proxy.test", proxy.port), ports=frozenset({443, 80}))
    outbound = OutboundClient(policy, lambda host, port: answers[host])
    return outbound.session(
        target or Address("https", HOST, 443), ca_certificate=ca_certificate, proxy=f"proxy.test:{proxy.port}"
    )


def test_https_is_tunnelled_to_the_checked_address_with_the_name_for_tls(gitlab: Server, authority: Issued) -> None:
    with Server(tunnelling_to(gitlab.port)) as proxy, line_through(proxy, None, authority.pem) as http:
        assert http.fetch("GET", "/x").status == 200
        assert http.fetch("GET", "/y").status == 200

    assert [request.split(b"\r\n")[0] for request in proxy.requests] == [f"CONNECT {INSIDE}:443 HTTP/1.1".encode()]
    assert gitlab.names == [HOST]
    assert header_of(gitlab.requests[0], "host") == HOST


def test_plain_http_is_tunnelled_too() -> None:
    with (
        Server(always(response())) as target,
        Server(tunnelling_to(target.port)) as proxy,
        line_through(proxy, Address("http", HOST, 80)) as http,
    ):
        assert http.fetch("GET", "/").status == 200

    assert proxy.requests[0].startswith(f"CONNECT {INSIDE}:80 ".encode())
    assert header_of(target.requests[0], "host") == HOST


def test_ipv6_target_is_asked_for_in_brackets(gitlab: Server, authority: Issued) -> None:
    with Server(tunnelling_to(gitlab.port)) as proxy, line_through(proxy, None, authority.pem, "2a00::5") as http:
        assert http.fetch("GET", "/").status == 200

    assert proxy.requests[0].startswith(b"CONNECT [2a00::5]:443 HTTP/1.1\r\n")


def test_next_address_is_asked_for_when_the_proxy_does_not_reach_the_first(gitlab: Server, authority: Issued) -> None:
    with (
        Server(tunnelling_to(gitlab.port, refused=("10.0.0.5",))) as proxy,
        line_through(proxy, None, authority.pem, "10.0.0.5", "10.0.0.6") as http,
    ):
        assert http.fetch("GET", "/").status == 200

    assert len(proxy.requests) == 2


def test_certificate_is_checked_through_a_proxy_as_well(gitlab: Server) -> None:
    with (
        Server(tunnelling_to(gitlab.port)) as proxy,
        line_through(proxy) as http,
        pytest.raises(TLSFailed) as caught,
    ):
        http.fetch("GET", "/")

    assert caught.value.case == "unknown_ca"
    assert gitlab.requests == []


@pytest.mark.parametrize(
    ("answer", "case"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\nsecret text", "denied"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "authentication"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\nsecret text", "target"),
        (b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: squid; error=dns_error\r\n\r\n", "name"),
        (b"HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\n\r\n", "name"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil.test\r\n\r\n", "not_a_proxy"),
        (b"-ERR wrong number of arguments\r\n\r\n", "not_a_proxy"),
        (b"HTTP/1.1\r\n\r\n", "not_a_proxy"),
        (b"SSH-2.0-x", "not_a_proxy"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "not_a_proxy"),
        (b"", "not_a_proxy"),
    ],
)
def test_proxy_that_does_not_open_a_tunnel_is_named_in_our_own_words(answer: bytes, case: str) -> None:
    with Server(then_close(answer)) as proxy, line_through(proxy) as http, pytest.raises(ProxyFailed) as caught:
        http.fetch("POST", "/")

    assert caught.value.layer == "Proxy"
    assert (caught.value.case, caught.value.sentence) == (case, ProxyFailed(case).sentence)
    assert not caught.value.may_have_been_processed


def test_proxy_that_is_down_is_named() -> None:
    with Server(silent) as proxy:
        http = line_through(proxy)
    with http, pytest.raises(ProxyFailed) as caught:
        http.fetch("GET", "/")

    assert caught.value.case == "unreachable"


@pytest.mark.parametrize("script", [silent, lambda peer: peer.drip(b"HTTP/1.1 200 OK\r\nX: ")])
def test_proxy_that_answers_in_drops_ends_at_the_deadline(script: Script) -> None:
    with Server(script) as proxy, line_through(proxy) as http, pytest.raises(DeadlinePassed) as caught:
        http.fetch("GET", "/", deadline_seconds=0.3)

    assert caught.value.layer == "Proxy"
    assert not caught.value.may_have_been_processed


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "fe80::1", "::ffff:127.0.0.1"])
def test_policy_holds_for_the_proxy(address: str) -> None:
    outbound = OutboundClient(NetworkPolicy(), lambda host, port: [address] if host == "proxy.test" else [INSIDE])
    with (
        outbound.session(Address("https", HOST, 443), proxy="proxy.test:3128") as http,
        only_our_connections() as watch,
        pytest.raises(AddressForbidden),
    ):
        http.fetch("GET", "/")

    assert watch.attempts == []


def test_forbidden_target_is_not_asked_of_the_proxy() -> None:
    with Server(silent) as proxy, line_through(proxy, None, None, "127.0.0.1") as http:  # noqa: SIM117
        with pytest.raises(AddressForbidden):
            http.fetch("GET", "/")

    assert proxy.connections == 0


def test_name_is_left_to_the_proxy_only_where_the_policy_restricts_no_network(
    gitlab: Server, authority: Issued
) -> None:
    with Server(tunnelling_to(gitlab.port, refused=(INSIDE,))) as proxy:
        for mode, answers, asked in (
            ("default", {}, [f"CONNECT {HOST}:443"]),  # Only the proxy knows the name,
            ("default", {HOST: [INSIDE]}, [f"CONNECT {INSIDE}:443"]),  # or it allows names alone: see below.
            ("listed", {}, []),
        ):
            proxy.requests.clear()
            policy = NetworkPolicy(
                mode, (ipaddress.ip_network("10.0.0.0/8"),), exempt=Address("http", "proxy.test", proxy.port)
            )
            known = {"proxy.test": ["127.0.0.1"], **answers}
            outbound = OutboundClient(policy, lambda host, port, known=known: known.get(host, []))
            with outbound.session(
                Address("https", HOST, 443), ca_certificate=authority.pem, proxy=f"proxy.test:{proxy.port}"
            ) as http:
                failure = http.examine().failure
            assert sorted({request.split(b" HTTP")[0].decode() for request in proxy.requests}) == asked
            assert (failure is None) == (asked == [f"CONNECT {HOST}:443"])


def test_proxy_that_allows_names_alone_is_asked_for_the_name(gitlab: Server, authority: Issued) -> None:
    refuse, tunnel = then_close(b"HTTP/1.1 403 Forbidden\r\n\r\n"), tunnelling_to(gitlab.port)
    scripts = [refuse, tunnel]
    with Server(lambda peer: scripts.pop(0)(peer)) as proxy, line_through(proxy, None, authority.pem) as http:
        assert http.fetch("GET", "/").status == 200

    assert [request.split(b" ")[1] for request in proxy.requests] == [f"{INSIDE}:443".encode(), f"{HOST}:443".encode()]


def test_exceptions_are_reached_without_the_proxy(gitlab: Server) -> None:
    for text, host, found, excepted in (
        ("", HOST, INSIDE, False),
        ("gitlab.test", "gitlab.test", "1.1.1.1", True),
        ("gitlab.test", "a.gitlab.test", "1.1.1.1", False),
        ("*.test, other", "a.gitlab.test", "1.1.1.1", True),
        (".gitlab.test", "gitlab.test", "1.1.1.1", True),
        ("10.0.0.0/8", HOST, INSIDE, True),
        ("10.0.0.5 2a00::/16", HOST, "2a00::1", True),
        ("10.0.0.0/8", HOST, "1.1.1.1", False),
    ):
        assert ProxyExceptions.parse(text).has(host, [ipaddress.ip_address(found)]) == excepted, text
    for text in ("https://a.test", "a b c/d", "10.0.0.1/8", "-x", ",".join(f"h{number}" for number in range(60))):
        with pytest.raises(AddressRefused):
            ProxyExceptions.parse(text)
    policy = NetworkPolicy(exempt=Address("https", HOST, gitlab.port))
    outbound = OutboundClient(policy, lambda host, port: ["127.0.0.1"])
    address = Address("https", HOST, gitlab.port)
    with outbound.session(address, proxy="proxy.test:3128", proxy_exceptions=HOST) as http:
        failure = http.examine().failure
    assert failure is not None
    assert failure.code == "tls_incomplete_chain"  # Reached, although there is no such proxy.


def test_port_of_the_proxy_is_no_port_for_gitlab() -> None:
    with Server(silent) as proxy, line_through(proxy, Address("https", HOST, proxy.port)) as http:  # noqa: SIM117
        with pytest.raises(AddressForbidden) as caught:
            http.fetch("GET", "/")

    assert caught.value.code == "address_port"
    assert proxy.connections == 0


@pytest.mark.parametrize("text", ["proxy.example.com:3128", " http://proxy.example.com:3128/ "])
def test_proxy_is_read_as_host_and_port(text: str) -> None:
    assert parse_proxy(text) == Address("http", "proxy.example.com", 3128)


@pytest.mark.parametrize(
    "text",
    ["https://proxy:3128", "socks5://proxy:1080", "http://me:secret@proxy:3128", "proxy:3128/path", "proxy:x", ""],
)
def test_proxy_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        parse_proxy(text)
