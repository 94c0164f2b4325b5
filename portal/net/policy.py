"""Which addresses are allowed, decided by the resolved IP, not the name (S49)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from portal.net.address import DEFAULT_PORTS, Address, parse_address
from portal.net.embedded import IPAddress, IPNetwork, is_within, networks, reached_by
from portal.net.errors import AddressForbidden
from portal.settings import Settings

# `ipaddress.is_global` calls several of these global, so we have our own list. No setting lifts it. The first match
# gives the reason, so the narrow ones come first.
NEVER: dict[str, tuple[str, ...]] = {
    "metadata": (
        "169.254.169.254/32",
        "169.254.170.0/24",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "fd00:ec2::/32",
        "fd20:ce::/32",
        "fe80::a9fe:a9fe/128",
    ),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "link_local": ("169.254.0.0/16", "fe80::/10", "fec0::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "broadcast": ("255.255.255.255/32",),
    "documentation": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    "benchmarking": ("198.18.0.0/15", "2001:2::/48"),
    "reserved": ("240.0.0.0/4", "192.0.0.0/24", "192.88.99.0/24", "2001:10::/28", "2001:20::/28"),
}
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
# All other IPv6 space is reserved by the IETF (RFC 4291 §2.4), whatever a router may do with it.
USABLE_IPV6 = ("2000::/3", "fc00::/7")


_NEVER = {reason: networks(texts) for reason, texts in NEVER.items()}
_PRIVATE = networks(PRIVATE)
_USABLE_IPV6 = networks(USABLE_IPV6)


@dataclass(frozen=True)
class NetworkPolicy:
    """The operator's rules.

    Attributes:
        mode: `default` (public and private), `public`, or `listed` (only `networks`).
        ports: what may be connected to, besides the sandbox's.
        exempt: the sandbox, the one loopback exception: exactly this scheme, host and port.
        own_origin: the portal's own address; it never connects to itself. Compared by name and port, not by address:
            behind one reverse proxy, portal and GitLab share theirs.
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
            networks=networks(texts),
            ports=settings.outbound_ports,
            exempt=parse_address(settings.sandbox_origin, allow_http=True) if settings.sandbox_origin else None,
            own_origin=settings.base_url,
        )

    def is_exempt(self, address: Address) -> bool:
        """Return whether this is the sandbox that the operator started."""
        return self.exempt is not None and address.origin == self.exempt.origin

    @property
    def leaves_names_to_proxy(self) -> bool:
        """Whether a proxy may look up a name: where networks are restricted, only checked addresses are asked for."""
        return self.mode == "default"

    def for_proxy(self, proxy: Address) -> NetworkPolicy:
        """Return the rules for reaching a proxy: the same networks, but the port that was entered for it."""
        return replace(self, ports=self.ports | {proxy.port})

    def check_target(self, address: Address) -> None:
        """Refuse what can be refused without name resolution: the port, and the portal itself.

        Raises:
            AddressForbidden: with the reason.
        """
        if self.is_exempt(address):
            return
        own = urlsplit(self.own_origin)
        if (address.host, address.port) == (own.hostname, own.port or DEFAULT_PORTS.get(own.scheme)):
            raise _forbidden("own_address")
        if address.port not in self.ports:
            raise _forbidden("port")

    def check_ip(self, ip: IPAddress, address: Address) -> None:
        """Refuse one resolved address.

        Raises:
            AddressForbidden: with the reason.
        """
        if self.is_exempt(address):
            if all(form.is_loopback for form in reached_by(ip)):
                return
            raise _forbidden("not_listed")
        if reason := self.reason_against(ip):
            raise _forbidden(reason)

    def reason_against(self, ip: IPAddress) -> str | None:
        """Return why an address is refused, as the suffix of a code `address_…`; None if it may be reached."""
        reached = reached_by(ip)
        for one in reached:
            for reason, among in _NEVER.items():
                if is_within(one, among):
                    return reason
            if isinstance(one, ipaddress.IPv6Address) and not is_within(one, _USABLE_IPV6):
                return "reserved"
        if self.mode == "listed" and not all(is_within(one, self.networks) for one in reached):
            return "not_listed"
        if self.mode == "public" and any(is_within(one, _PRIVATE) for one in reached):
            return "private"
        return None


def _forbidden(reason: str) -> AddressForbidden:
    return AddressForbidden(f"address_{reason}")
