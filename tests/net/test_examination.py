from __future__ import annotations

import threading

import pytest

from portal.errors import Layer
from portal.net import Address, Examination, NetworkPolicy, OutboundClient
from portal.net.guard import only_our_connections
from tests.net.certificates import DAY, NOW, Issued, issue
from tests.net.lines import HOST, answering, line_to
from tests.net.servers import Server, always, response, silent


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("Test authority", is_authority=True)


@pytest.fixture(scope="module")
def trusted(authority: Issued) -> Issued:
    return issue(HOST, HOST, by=authority)


def examine(server: Server, seconds: float = 5.0, **options: str | None) -> Examination:
    with line_to(server, scheme="https", **options) as line:  # type: ignore[arg-type]
        return line.examine(seconds)


def test_all_layers_pass_and_no_request_is_sent(authority: Issued, trusted: Issued) -> None:
    with Server(always(response()), tls=trusted.server_context()) as server:
        found = examine(server, ca_certificate=authority.pem)

    assert found.failure is None
    assert found.passed == (Layer.DNS, Layer.TCP, Layer.TLS)
    assert found.is_trusted
    assert found.addresses == ("127.0.0.1",)
    assert server.requests == []
    assert set(server.names) == {HOST}


def test_untrusted_chain_is_shown_whole_with_the_fingerprint_to_compare(authority: Issued) -> None:
    between = issue("Between", is_authority=True, by=authority)
    leaf = issue(HOST, HOST, by=between, not_after=NOW + 9 * DAY)
    with Server(always(response()), tls=leaf.server_context(between)) as server:
        found = examine(server)

    assert [info.subject for info in found.chain] == [f"CN={HOST}", "CN=Between"]
    assert [info.sha256 for info in found.chain] == [leaf.sha256, between.sha256]
    assert found.chain[0].not_after == NOW + 9 * DAY
    assert found.failure is not None
    assert found.failure.code == "tls_unknown_ca"
    assert not found.is_trusted
    assert server.requests == []


@pytest.mark.parametrize("is_root_pasted", [False, True])
def test_certificate_that_comes_without_its_intermediate_is_told_from_an_unknown_authority(
    authority: Issued, is_root_pasted: bool
) -> None:
    between = issue("Between", is_authority=True, by=authority)
    leaf = issue(HOST, HOST, by=between)
    other = issue("Another authority", is_authority=True)
    with Server(always(response()), tls=leaf.server_context()) as server:
        alone = examine(server, ca_certificate=authority.pem if is_root_pasted else None)
        helped = examine(server, ca_certificate=between.pem)
    with Server(always(response()), tls=leaf.server_context(between)) as server:
        complete = examine(server, ca_certificate=other.pem if is_root_pasted else None)

    assert alone.failure is not None
    assert complete.failure is not None
    assert (alone.failure.code, complete.failure.code) == ("tls_incomplete_chain", "tls_unknown_ca")
    assert helped.is_trusted


def test_pasted_authority_of_the_same_name_is_not_called_missing(authority: Issued) -> None:
    successor = issue("Test authority", is_authority=True)
    with Server(always(response()), tls=issue(HOST, HOST, by=successor).server_context()) as server:
        found = examine(server, ca_certificate=authority.pem)

    assert found.failure is not None
    assert found.failure.code in {"tls_unknown_ca", "tls_failed"}


def test_fingerprint_seen_can_be_pinned() -> None:
    own = issue(HOST, HOST)
    with Server(always(response()), tls=own.server_context()) as server:
        before, after = examine(server), examine(server, ca_certificate=own.pem)

    assert before.failure is not None
    assert before.failure.code == "tls_self_signed"
    assert before.chain[0].sha256 == own.sha256
    assert after.is_trusted


def test_plain_http_has_no_tls_layer() -> None:
    with Server(always(response())) as server, line_to(server) as line:
        found = line.examine()

    assert found.passed == (Layer.DNS, Layer.TCP)
    assert found.failure is None
    assert server.requests == []


def failing_at(outbound: OutboundClient, address: Address) -> tuple[tuple[Layer, ...], Layer]:
    with outbound.session(address) as line:
        found = line.examine(0.4)
    assert found.failure is not None
    return found.passed, found.failure.layer


def test_first_layer_that_fails_is_named() -> None:
    def hanging(host: str, port: int) -> list[str]:
        released.wait(10)
        return []

    released = threading.Event()
    gitlab = Address("https", HOST, 443)
    with Server(silent) as server:
        here = Address("https", HOST, server.port)
        mute = OutboundClient(NetworkPolicy(exempt=here), answering("127.0.0.1"))
        assert failing_at(mute, here) == ((Layer.DNS, Layer.TCP), Layer.TLS)
    assert failing_at(mute, here) == ((Layer.DNS,), Layer.TCP)
    assert failing_at(OutboundClient(NetworkPolicy(), answering()), gitlab) == ((), Layer.DNS)
    assert failing_at(OutboundClient(NetworkPolicy(), hanging), gitlab) == ((), Layer.DNS)
    released.set()


def test_forbidden_address_is_examined_without_a_packet() -> None:
    with only_our_connections() as watch:
        outcome = failing_at(OutboundClient(NetworkPolicy(), answering("169.254.169.254")), Address("https", HOST, 443))

    assert outcome == ((), Layer.POLICY)
    assert watch.attempts == []


@pytest.mark.parametrize(
    "banner", [b"-ERR secret\r\n", b"SSH-2.0-secret\r\n", b"220 secret ESMTP\r\n", b"<html>secret"]
)
def test_nothing_of_a_foreign_service_is_repeated(banner: bytes) -> None:
    with Server(lambda peer: peer.send(banner)) as server:
        found = examine(server)

    assert found.failure is not None
    assert "secret" not in repr(found) + str(found.failure.card())
    assert found.failure.code in {"tls_not_tls", "tls_failed"}
