"""Resolve once, check every answer, and connect only to a checked one (S48)."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable

from portal.net.address import Address
from portal.net.deadline import current
from portal.net.errors import DeadlinePassed, NameNotResolved
from portal.net.policy import IPAddress, NetworkPolicy

# (host, port) to addresses as text; raises OSError when there are none.
Resolve = Callable[[str, int], list[str]]


def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]).partition("%")[0] for item in found))


def resolve_checked(policy: NetworkPolicy, address: Address, resolve: Resolve) -> list[IPAddress]:
    """Return the addresses of a host, all of them allowed.

    One forbidden answer among several refuses all: whoever controls the name could pick it the next time.

    Raises:
        AddressForbidden: the policy refuses the target or one of its addresses.
        NameNotResolved: there is no answer; a failed lookup never lets anything through.
        DeadlinePassed: the lookup took too long.
    """
    policy.check_target(address)
    found = [ipaddress.ip_address(text) for text in _resolve_in_time(address, resolve)]
    for ip in found:
        policy.check_ip(ip, address)
    if not found:
        raise NameNotResolved
    return found


def _resolve_in_time(address: Address, resolve: Resolve) -> list[str]:
    # getaddrinfo cannot be interrupted: it runs in a thread that is left behind when it takes too long.
    answer: list[list[str]] = []

    def ask() -> None:
        try:
            answer.append(resolve(address.host, address.port))
        except (OSError, UnicodeError):
            answer.append([])

    thread = threading.Thread(target=ask, daemon=True, name="resolve")
    thread.start()
    thread.join(current().left())
    if not answer:
        raise DeadlinePassed
    return answer[0]
