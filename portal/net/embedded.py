"""IPv4 addresses embedded in IPv6 ones: a policy that reads only the outer one lets the inner one through."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Read networks written as text."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_within(ip: IPAddress, among: Iterable[IPNetwork]) -> bool:
    """Return whether one of the networks holds the address."""
    return any(ip in network for network in among if network.version == ip.version)


# The last 32 bits are the whole address: mapped, translated (SIIT), compatible, NAT64.
_WRAPPERS = networks(("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96"))
_LOCAL_NAT64 = networks(("64:ff9b:1::/48",))
_ISATAP = {0x00005EFE, 0x02005EFE}  # RFC 5214
_LOW = 0xFFFFFFFF


def reached_by(ip: IPAddress) -> list[IPAddress]:
    """Return every address that a packet to `ip` may end at; all of them have to be allowed.

    A translated address means only the inner one. A tunnel's (6to4, Teredo, ISATAP) means both: packets are sent to the
    outer one, and a relay or the system itself may forward them to the inner one.
    """
    if ip.version == 4 or int(ip) <= 1:  # ::1 and :: are in the range of compatible ones; they are left as they are.
        return [ip]
    if is_within(ip, _WRAPPERS):
        return [ipaddress.IPv4Address(int(ip) & _LOW)]
    if is_within(ip, _LOCAL_NAT64):
        return _inside_local_nat64(int(ip))
    inner = [ip.sixtofour] if ip.sixtofour else []
    inner += ip.teredo or ()
    if (int(ip) >> 32) & _LOW in _ISATAP:
        inner.append(ipaddress.IPv4Address(int(ip) & _LOW))
    return [ip, *inner]


def _inside_local_nat64(number: int) -> list[IPAddress]:
    """Return the IPv4 address at each place where RFC 6052 §2.2 may put it; the site's prefix length is not known.

    Octet u and the suffix should be zero, but a translator need not check (RFC 6052 §2.3), so they are ignored.
    A place that reads 0.x.y.z is unused: if it counted, every address would be refused.
    """
    places = [number & _LOW]
    for length in (48, 56, 64):
        before = 64 - length  # Bits of the address in front of octet u.
        after = 32 - before
        high = (number >> 64) & ((1 << before) - 1)
        low = (number >> (56 - after)) & ((1 << after) - 1)
        places.append((high << after) | low)
    return [ipaddress.IPv4Address(place) for place in places if place >> 24] or [ipaddress.IPv4Address(number & _LOW)]
