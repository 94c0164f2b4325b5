"""Which addresses the door lets through, decided on the resolved IP, not on the name (S49)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from portal.net.address import Address, parse_address
from portal.net.errors import AddressForbidden
from portal.settings import Settings

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# `ipaddress.is_global` calls several of these global, so the list is ours. No setting lifts it.
NEVER: dict[str, tuple[str, ...]] = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "link_local": ("169.254.0.0/16", "fe80::/10", "fec0::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "reserved": ("240.0.0.0/4", "192.0.0.0/24", "100::/64", "5f00::/16"),
    "metadata": ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::/32"),
    "documentation": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    "benchmarking": ("198.18.0.0/15", "2001:2::/48"),
}
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
NAT64 = ("64:ff9b::/96", "64:ff9b:1::/48")
MAPPED = ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96")

SENTENCES = {
    "loopback": "This name leads back to the portal's own machine.",
    "unspecified": "This name leads to no address at all.",
    "link_local": "This name leads to a link-local address, where no GitLab is.",
    "multicast": "This name leads to a multicast address, where no GitLab is.",
    "reserved": "This name leads to a reserved address, where no GitLab is.",
    "metadata": "This name leads to the metadata service of a cloud machine.",
    "documentation": "This name leads to an address reserved for documentation.",
    "benchmarking": "This name leads to an address reserved for measurements.",
    "private": "This name leads to a private network, which the operator of this portal has not allowed.",
    "not_listed": "This name leads to a network that the operator of this portal has not allowed.",
    "port": "This portal may not connect to that port; its operator can allow it.",
    "own_address": "This is the portal's own address, not GitLab's.",
}


def _networks(texts: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_NEVER = {reason: _networks(texts) for reason, texts in NEVER.items()}
_PRIVATE = _networks(PRIVATE)
_NAT64 = _networks(NAT64)
_MAPPED = _networks(MAPPED)


@dataclass(frozen=True)
class NetworkPolicy:
    """The operator's rules.

    Attributes:
        mode: `default` (public and private), `public`, or `listed` (only `networks`).
        ports: what may be connected to, besides the sandbox's.
        exempt: the sandbox, the one loopback exception: exactly this scheme, host and port.
        own_origin: where the portal itself is; it never connects to itself.
    """

    mode: str = "default"
    networks: tuple[IPNetwork, ...] = ()
    ports: frozenset[int] = frozenset({443})
    exempt: Address | None = None
    own_origin: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> NetworkPolicy:
        """Read the operator's settings."""
        listed = settings.network_policy not in {"default", "public"}
        texts = tuple(text.strip() for text in settings.network_policy.split(",")) if listed else ()
        return cls(
            mode="listed" if listed else settings.network_policy,
            networks=_networks(texts),
            ports=settings.outbound_ports,
            exempt=parse_address(settings.sandbox_origin, allow_http=True) if settings.sandbox_origin else None,
            own_origin=settings.base_url,
        )

    def is_exempt(self, address: Address) -> bool:
        """Tell whether this is the sandbox that the operator started."""
        return self.exempt is not None and address.origin == self.exempt.origin

    def check_target(self, address: Address) -> None:
        """Refuse what needs no name resolution to be refused: the port, and the portal itself.

        Raises:
            AddressForbidden: with the reason.
        """
        if self.is_exempt(address):
            return
        if address.origin == self.own_origin:
            raise _forbidden("own_address")
        if address.port not in self.ports:
            raise _forbidden("port")

    def check_ip(self, ip: IPAddress, address: Address) -> None:
        """Refuse one resolved address.

        Raises:
            AddressForbidden: with the reason.
        """
        if self.is_exempt(address):
            if all(form.is_loopback for form in _forms(ip)):
                return
            raise _forbidden("not_listed")
        if reason := self.reason_against(ip):
            raise _forbidden(reason)

    def reason_against(self, ip: IPAddress) -> str | None:
        """Return why an address is refused, a key of SENTENCES; None when it may be reached."""
        for form in _forms(ip):
            for reason, networks in _NEVER.items():
                if _within(form, networks):
                    return reason
        forms = list(_forms(ip))
        if self.mode == "listed" and not all(_within(form, self.networks) for form in forms):
            return "not_listed"
        if self.mode == "public" and any(_within(form, _PRIVATE) for form in forms):
            return "private"
        return None


def _forbidden(reason: str) -> AddressForbidden:
    return AddressForbidden(f"address_{reason}", SENTENCES[reason])


def _within(ip: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    return any(ip in network for network in networks if network.version == ip.version)


def _forms(ip: IPAddress) -> Iterator[IPAddress]:
    """Yield the address, or what is inside when it only wraps an IPv4 address (mapped, NAT64, 6to4, Teredo)."""
    inner: list[IPAddress] = list(_embedded(ip)) if isinstance(ip, ipaddress.IPv6Address) else []
    # ::1 and :: lie in the compatible range too; they stay what they are.
    if isinstance(ip, ipaddress.IPv6Address) and int(ip) <= 1:
        inner = []
    yield from inner or [ip]


def _embedded(ip: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    low = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if _within(ip, _MAPPED) or _within(ip, _NAT64):
        yield low
    if ip.sixtofour:
        yield ip.sixtofour
    if ip.teredo:
        yield from ip.teredo
    if (int(ip) >> 32) & 0xFFFFFFFF in {0x00005EFE, 0x02005EFE}:  # ISATAP, RFC 5214
        yield low
