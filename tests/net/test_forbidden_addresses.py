"""No packet to a forbidden address, however it is written and wherever it comes from (S47 to S49)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import pytest

from portal.net import Address, AddressForbidden, AddressRefused, NetworkPolicy, OutboundClient, parse_address
from portal.net.guard import only_our_connections
from tests.net.forbidden import (
    FORBIDDEN_V4,
    NAMES,
    PRIVATE,
    forbidden_addresses,
    spellings,
)
from tests.net.lines import answering, line_to
from tests.net.servers import Server, always, response

PUBLIC = "93.184.215.14"
NAME = "gitlab.example.com"


@pytest.fixture(scope="module")
def trap() -> Iterator[Server]:
    """A listener on loopback, IPv4; every spelling names its port."""
    with Server(always(response())) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def trap_v6(trap: Server) -> Iterator[Server | None]:
    """The same port on IPv6 loopback, where there is one."""
    try:
        server = Server(always(response()), host="::1", port=trap.port)
    except OSError:
        yield None
        return
    with server:
        yield server


def resolve_like_libc(host: str, port: int) -> list[str]:
    """Read numbers as the C library does, and names from the table; no name server is asked."""
    if host in NAMES:
        return NAMES[host]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(item[4][0]) for item in found]


def door_with(trap: Server, mode: str = "default", resolve: object = resolve_like_libc) -> OutboundClient:
    ports = frozenset({80, 443, trap.port})
    return OutboundClient(NetworkPolicy(mode=mode, ports=ports, own_origin="https://portal.example.com"), resolve)  # type: ignore[arg-type]


def assert_refused(
    outbound: OutboundClient, address: Address, trap: Server, trap_v6: Server | None
) -> AddressForbidden:
    with (
        only_our_connections() as watch,
        outbound.session(address) as line,
        pytest.raises(AddressForbidden) as caught,
    ):
        line.fetch("GET", "/", deadline_seconds=5)
    assert watch.attempts == []
    assert trap.connections == 0
    assert trap_v6 is None or trap_v6.connections == 0
    assert not caught.value.may_have_been_processed
    return caught.value


def http(host: str, port: int) -> Address:
    return Address("http", ipaddress.ip_address(host).compressed if ":" in host else host, port)


@pytest.mark.parametrize("text", spellings(), ids=ascii)
def test_spelling_is_refused_without_a_packet(text: str, trap: Server, trap_v6: Server | None) -> None:
    typed = text.replace("PORT", str(trap.port))
    address = understood(typed)
    if address is not None:
        assert_refused(door_with(trap), address, trap, trap_v6)


def understood(typed: str) -> Address | None:
    try:
        return parse_address(typed, allow_http=True)
    except AddressRefused:
        return None


@pytest.mark.parametrize("ip", forbidden_addresses())
def test_forbidden_address_is_refused_when_typed(ip: str, trap: Server, trap_v6: Server | None) -> None:
    typed = f"http://[{ip}]:{trap.port}" if ":" in ip else f"http://{ip}:{trap.port}"

    assert_refused(door_with(trap), parse_address(typed, allow_http=True), trap, trap_v6)


@pytest.mark.parametrize("ip", forbidden_addresses())
def test_forbidden_address_is_refused_when_a_name_leads_there(ip: str, trap: Server, trap_v6: Server | None) -> None:
    outbound = door_with(trap, resolve=answering(ip))

    assert_refused(outbound, http(NAME, trap.port), trap, trap_v6)


@pytest.mark.parametrize("ip", forbidden_addresses())
@pytest.mark.parametrize("order", ["first", "last"])
def test_forbidden_address_among_good_ones_refuses_all(
    ip: str, order: str, trap: Server, trap_v6: Server | None
) -> None:
    answers = [ip, PUBLIC, "10.1.2.3"] if order == "first" else [PUBLIC, "10.1.2.3", ip]

    assert_refused(door_with(trap, resolve=answering(*answers)), http(NAME, trap.port), trap, trap_v6)


@pytest.mark.parametrize("ip", PRIVATE)
def test_private_address_is_refused_by_a_portal_for_the_public(ip: str, trap: Server, trap_v6: Server | None) -> None:
    outbound = door_with(trap, "public", answering(PUBLIC, ip))

    assert assert_refused(outbound, http(NAME, trap.port), trap, trap_v6).code == "address_private"


@pytest.mark.parametrize("ip", FORBIDDEN_V4)
def test_listing_a_forbidden_network_does_not_open_it(ip: str, trap: Server, trap_v6: Server | None) -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    policy = NetworkPolicy(mode="listed", networks=everything, ports=frozenset({trap.port}))

    assert_refused(OutboundClient(policy, answering(ip)), http(NAME, trap.port), trap, trap_v6)


@pytest.mark.parametrize("port", [1, 22, 25, 80, 444, 6379, 8080, 65535])
def test_port_that_the_operator_has_not_listed_is_refused_unresolved(port: int) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError("resolved")

    with OutboundClient(NetworkPolicy(), never).session(http(PUBLIC, port)) as line, only_our_connections() as watch:
        with pytest.raises(AddressForbidden) as caught:
            line.fetch("GET", "/")

        assert caught.value.code == "address_port"
        assert watch.attempts == []


def test_table_is_large_enough() -> None:
    cases = len(spellings()) + len(forbidden_addresses())

    assert cases >= 300
    assert len(spellings()) >= 150


def test_trap_and_count_would_notice_a_packet() -> None:
    with Server(always(response())) as server, line_to(server) as line, only_our_connections() as watch:
        line.fetch("GET", "/")

    assert watch.attempts == [("127.0.0.1", server.port, True)]
    assert server.connections == 1
