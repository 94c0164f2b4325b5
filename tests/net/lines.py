"""Sessions with the tests' own servers: the only loopback exception of the policy is the server's origin."""

from __future__ import annotations

from collections.abc import Callable

from portal.net import Address, Gateway, HostSession, NetworkPolicy, OutboundClient
from tests.net.servers import Server

HOST = "gitlab.test"


def answering(*addresses: str) -> Callable[[str, int], list[str]]:
    """Return a resolver that gives every name these addresses."""
    return lambda host, port: list(addresses)


def line_to(
    server: Server,
    *,
    scheme: str = "http",
    host: str = HOST,
    path: str = "",
    ca_certificate: str | None = None,
    addresses: tuple[str, ...] = ("127.0.0.1",),
    gateway: Gateway | None = None,
) -> HostSession:
    """Return a session with a server; close it."""
    address = Address(scheme, host, server.port, path)
    outbound = OutboundClient(NetworkPolicy(exempt=address), resolve=answering(*addresses))
    return outbound.session(address, ca_certificate=ca_certificate, gateway=gateway)
