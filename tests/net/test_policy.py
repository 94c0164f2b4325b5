"""Only verdicts: nothing here connects to anything."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.failures import FAILURES
from portal.net import Address, AddressForbidden, NetworkPolicy, parse_address
from portal.net.embedded import reached_by
from portal.net.policy import NEVER
from portal.settings import Settings
from tests.net.forbidden import CARRIED, FORBIDDEN_V4, FORBIDDEN_V6, PRIVATE, PUBLIC, carriers

GITLAB = parse_address("gitlab.example.com")
SANDBOX = Address("http", "localhost", 8929)
LOOPBACK = ipaddress.ip_address("127.0.0.1")


def reason(policy: NetworkPolicy, ip: str) -> str | None:
    return policy.reason_against(ipaddress.ip_address(ip))


@pytest.mark.parametrize("ip", [*PRIVATE, *PUBLIC])
def test_private_and_public_networks_are_allowed_by_default(ip: str) -> None:
    assert reason(NetworkPolicy(), ip) is None


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_mode_allows_the_public(ip: str) -> None:
    assert reason(NetworkPolicy(mode="public"), ip) is None


def test_list_allows_what_is_listed_and_nothing_else() -> None:
    policy = NetworkPolicy(mode="listed", networks=(ipaddress.ip_network("10.1.0.0/16"),))

    assert reason(policy, "10.1.2.3") is None
    assert reason(policy, "::ffff:10.1.2.3") is None
    assert reason(policy, "64:ff9b::10.1.2.3") is None
    for other in ("10.2.0.1", "8.8.8.8", "192.168.1.1", "2606:4700::1", "2a00::5efe:a01:203", "2002:a01:203::"):
        assert reason(policy, other) == "not_listed"


REASONS = {
    "127.0.0.1": "loopback",
    "::1": "loopback",
    "64:ff9b::7f00:1": "loopback",
    "2002:7f00:1::": "loopback",
    "::127.0.0.1": "loopback",
    "0.0.0.0": "unspecified",
    "::": "unspecified",
    "169.254.1.1": "link_local",
    "fe80::1": "link_local",
    "fec0::1": "link_local",
    "169.254.169.254": "metadata",
    "2002:a9fe:a9fe::": "metadata",
    "fd00:ec2::254": "metadata",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "192.0.0.192": "metadata",
    "ff02::1": "multicast",
    "239.255.255.250": "multicast",
    "255.255.255.255": "broadcast",
    "240.0.0.1": "reserved",
    "4000::1": "reserved",
    "203.0.113.1": "documentation",
    "198.18.0.1": "benchmarking",
}


@pytest.mark.parametrize("ip", REASONS)
def test_forbidden_address_is_refused_for_its_own_reason(ip: str) -> None:
    assert reason(NetworkPolicy(), ip) == REASONS[ip]


# First and last address of each network, and the reason given.
NETWORKS = {
    ("169.254.169.254", "169.254.169.254"): "metadata",
    ("169.254.170.0", "169.254.170.255"): "metadata",
    ("100.100.100.200", "100.100.100.200"): "metadata",
    ("168.63.129.16", "168.63.129.16"): "metadata",
    ("192.0.0.192", "192.0.0.192"): "metadata",
    ("fd00:ec2::", "fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff"): "metadata",
    ("fd20:ce::", "fd20:ce:ffff:ffff:ffff:ffff:ffff:ffff"): "metadata",
    ("fe80::a9fe:a9fe", "fe80::a9fe:a9fe"): "metadata",
    ("127.0.0.0", "127.255.255.255"): "loopback",
    ("0.0.0.0", "0.255.255.255"): "unspecified",
    ("169.254.0.0", "169.254.255.255"): "link_local",
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"): "link_local",
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"): "link_local",
    ("224.0.0.0", "239.255.255.255"): "multicast",
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"): "multicast",
    ("192.0.2.0", "192.0.2.255"): "documentation",
    ("198.51.100.0", "198.51.100.255"): "documentation",
    ("203.0.113.0", "203.0.113.255"): "documentation",
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"): "documentation",
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"): "documentation",
    ("198.18.0.0", "198.19.255.255"): "benchmarking",
    ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"): "benchmarking",
    ("240.0.0.0", "255.255.255.254"): "reserved",
    ("192.0.0.0", "192.0.0.255"): "reserved",
    ("192.88.99.0", "192.88.99.255"): "reserved",
    ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"): "reserved",
    ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"): "reserved",
    ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"): "reserved",
}
ALLOWED_BESIDE = ("126.255.255.255", "128.0.0.0", "1.0.0.0", "223.255.255.255", "169.253.255.255", "169.255.0.0")
ALLOWED_BESIDE += ("192.0.3.0", "198.17.255.255", "198.20.0.0", "2001:db7::", "2001:db9::", "3ffe::", "2001:30::")


@pytest.mark.parametrize("network", NETWORKS)
def test_network_is_refused_from_its_first_to_its_last_address(network: tuple[str, str]) -> None:
    assert [reason(NetworkPolicy(), ip) for ip in network] == [NETWORKS[network]] * 2


@pytest.mark.parametrize("ip", ALLOWED_BESIDE)
def test_address_beside_a_refused_network_is_allowed(ip: str) -> None:
    assert reason(NetworkPolicy(), ip) is None


@pytest.mark.parametrize(
    "network",
    [
        ("10.0.0.0", "10.255.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ],
)
def test_private_network_is_open_or_refused_as_a_whole(network: tuple[str, str]) -> None:
    assert [reason(NetworkPolicy(), ip) for ip in network] == [None, None]
    assert [reason(NetworkPolicy(mode="public"), ip) for ip in network] == ["private", "private"]


@given(st.integers(1 << 24, (1 << 32) - 1), st.integers(0, 255))
def test_address_inside_a_local_nat64_prefix_is_found_at_each_place(inner: int, octet_u: int) -> None:
    """RFC 6052 §2.2, for prefixes of 48, 56, 64 and 96 bits; octet u is ignored."""
    prefix = int(ipaddress.IPv6Address("64:ff9b:1::"))
    places = (
        ((inner >> 16) << 64) | ((inner & 0xFFFF) << 40),
        ((inner >> 24) << 64) | ((inner & 0xFFFFFF) << 32),
        inner << 24,
        inner,
    )

    for place in places:
        wrapped = ipaddress.IPv6Address(prefix | place | (octet_u << 56 if place != inner else 0))
        assert ipaddress.IPv4Address(inner) in reached_by(wrapped)


@pytest.mark.parametrize("mode", ["default", "public"])
@pytest.mark.parametrize("ip", [*FORBIDDEN_V4, *FORBIDDEN_V6])
def test_never_list_holds_in_every_mode(mode: str, ip: str) -> None:
    assert reason(NetworkPolicy(mode=mode), ip) in {*NEVER}


@given(st.sampled_from(CARRIED), st.integers(0, 13))
def test_carried_address_is_found_in_every_wrapping(inner: str, which: int) -> None:
    address = ipaddress.IPv4Address(inner)
    wrapped = ipaddress.ip_address(list(carriers(address))[which % 13])

    assert reason(NetworkPolicy(), str(wrapped)) is not None
    assert address in reached_by(wrapped) or reason(NetworkPolicy(), str(wrapped)) == "unspecified"


@given(st.ip_addresses())
def test_every_address_gets_a_verdict_and_stricter_modes_allow_less(ip: ipaddress.IPv4Address) -> None:
    open_verdict = NetworkPolicy().reason_against(ip)
    narrow = NetworkPolicy(mode="public").reason_against(ip)

    assert open_verdict is None or f"address_{open_verdict}" in FAILURES
    assert open_verdict is None or narrow == open_verdict
    assert NetworkPolicy(mode="listed").reason_against(ip) is not None


@pytest.mark.parametrize(
    "other",
    ["https://localhost:8929", "http://localhost:8930", "http://127.0.0.1:8929", "http://localhost", "http://x:8929"],
)
def test_only_the_sandbox_itself_is_exempt_from_the_loopback_rule(other: str) -> None:
    policy = NetworkPolicy(exempt=SANDBOX, ports=frozenset({443, 80, 8929, 8930}))

    policy.check_target(SANDBOX)
    policy.check_ip(LOOPBACK, SANDBOX)
    with pytest.raises(AddressForbidden):
        policy.check_ip(LOOPBACK, parse_address(other, allow_http=True))


@pytest.mark.parametrize("ip", ["10.0.0.1", "8.8.8.8", "169.254.169.254", "fd00:ec2::254"])
def test_exempt_name_may_lead_to_loopback_only(ip: str) -> None:
    with pytest.raises(AddressForbidden):
        NetworkPolicy(exempt=SANDBOX).check_ip(ipaddress.ip_address(ip), SANDBOX)


@pytest.mark.parametrize(
    "origin", ["https://portal.example.com", "https://Portal.Example.com:443", "https://portal.example.com/"]
)
def test_portal_does_not_connect_to_itself(origin: str) -> None:
    policy = NetworkPolicy(own_origin=origin)

    with pytest.raises(AddressForbidden) as caught:
        policy.check_target(parse_address("https://PORTAL.example.com/gitlab"))
    assert caught.value.code == "address_own_address"


def test_gitlab_may_share_the_portals_host_on_another_port() -> None:
    policy = NetworkPolicy(own_origin="https://example.com:8443", ports=frozenset({443, 8443}))

    policy.check_target(parse_address("https://example.com"))


def test_settings_become_a_policy(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, network_policy="10.0.0.0/8, fd00::/8", sandbox_origin=SANDBOX.origin, outbound_ports="8443"
    )
    policy = NetworkPolicy.from_settings(settings)

    assert policy.mode == "listed"
    assert policy.networks == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    assert policy.is_exempt(SANDBOX)
    assert policy.ports == {443, 8443}
    assert NetworkPolicy.from_settings(Settings(data_dir=tmp_path, network_policy="public")).mode == "public"


def test_every_reason_has_its_sentence() -> None:
    assert {f"address_{reason}" for reason in NEVER} <= set(FAILURES)


def test_gitlab_at_a_usual_address_passes() -> None:
    NetworkPolicy(own_origin="http://127.0.0.1:8000").check_target(GITLAB)
