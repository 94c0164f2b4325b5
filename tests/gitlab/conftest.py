"""A server that answers what it is told, and a session with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.net import HostSession, NetworkPolicy, OutboundClient, parse_address
from tests.gitlab.malformed import ScriptedServer, scripted_server


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    """It serves all tests of a file."""
    with scripted_server() as server:
        yield server


@pytest.fixture
def http(server: ScriptedServer) -> Iterator[HostSession]:
    """A session of a client that may only reach this server."""
    address = parse_address(server.url, allow_http=True)
    with OutboundClient(NetworkPolicy(exempt=address)).session(address) as http:
        yield http
