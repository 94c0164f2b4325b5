"""Resolve once, check every answer, and connect only to a checked one (S48)."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable

import structlog

from portal.errors import Layer
from portal.net.address import Address
from portal.net.deadline import current
from portal.net.embedded import IPAddress
from portal.net.errors import AddressForbidden, NameNotResolved
from portal.net.policy import NetworkPolicy

# (host, port) to addresses as text; raises OSError if there are none.
Resolve = Callable[[str, int], list[str]]
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A zone (`%eth0`) only comes with link-local addresses, which the policy refuses without it, too.
    return list(dict.fromkeys(str(item[4][0]).partition("%")[0] for item in found))


def resolve_checked(policy: NetworkPolicy, address: Address, resolve: Resolve) -> list[IPAddress]:
    """Return the addresses of a host, all of them allowed.

    One forbidden answer among several refuses all: whoever controls the name could make it the one used next time.

    Raises:
        AddressForbidden: the policy refuses the target or one of its addresses.
        NameNotResolved: there is no answer; a failed lookup never lets anything through.
        DeadlinePassed: the lookup took too long.
    """
    try:
        policy.check_target(address)
        current().layer = Layer.DNS
        found = _resolve_in_time(address, resolve)
        for ip in found:
            policy.check_ip(ip, address)
    except AddressForbidden as error:
        # A name that now points inward is an attack or a broken name server: either way, someone wants to know.
        kind, host, port = "address_refused", address.host, address.port
        log.warning("security_event", kind=kind, host=host, port=port, layer=error.layer, error_code=error.code)
        raise
    return found


def _resolve_in_time(address: Address, resolve: Resolve) -> list[IPAddress]:
    # getaddrinfo cannot be interrupted: it runs in a thread that is left behind if it takes too long.
    answer: list[list[IPAddress]] = []

    def ask() -> None:
        try:
            answer.append([ipaddress.ip_address(text) for text in resolve(address.host, address.port)])
        except (OSError, ValueError):  # UnicodeError is a ValueError.
            answer.append([])

    thread = threading.Thread(target=ask, daemon=True, name="resolve")
    thread.start()
    thread.join(current().left())
    if not answer:
        raise current().passed()
    if not answer[0]:
        raise NameNotResolved
    return answer[0]
