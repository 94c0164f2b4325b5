"""A GitLab that moved: its name leads elsewhere from one connection to the next."""

from __future__ import annotations

from portal.net import Address, NetworkPolicy, OutboundClient
from tests.net.lines import HOST
from tests.net.servers import Server, response, then_close


def test_server_that_moved_is_reached_at_the_next_connection() -> None:
    leads_to = ["127.0.0.1"]
    with (
        Server(then_close(response())) as before,
        Server(then_close(response()), host="127.0.0.2", port=before.port) as after,
    ):
        address = Address("http", HOST, before.port)
        with OutboundClient(NetworkPolicy(exempt=address), lambda host, port: list(leads_to)).session(address) as line:
            line.fetch("GET", "/")
            assert before.hung_up.acquire(timeout=5)
            leads_to[:] = ["127.0.0.2"]
            line.fetch("GET", "/")

    assert (before.connections, after.connections) == (1, 1)
