from __future__ import annotations

import ssl
import warnings
from datetime import UTC

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from portal.failures import FAILURES
from portal.net import AnswerBroken, CertificateRefused, TLSFailed, parse_certificates
from portal.net.errors import TLS_CASES
from portal.net.tls import MAX_PEM_BYTES, describe_chain, make_context
from tests.net.certificates import DAY, NOW, Issued, issue
from tests.net.lines import HOST, line_to
from tests.net.servers import Peer, Server, always, response, then_close


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("Test authority", is_authority=True)


@pytest.fixture(scope="module")
def trusted(authority: Issued) -> Issued:
    return issue(HOST, HOST, by=authority)


def plain_http(peer: Peer) -> None:
    """Answer a TLS greeting as web servers do on their plain port."""
    peer.server.requests.append(peer.sock.recv(65536))
    peer.send(response(b"", "400 Bad Request"))


def failure(context: ssl.SSLContext | None, ca_certificate: str | None, host: str = HOST) -> TLSFailed:
    """Return why a session with a server refuses; no request may have reached it."""
    script = always(response()) if context else plain_http
    with (
        Server(script, tls=context) as server,
        line_to(server, scheme="https", ca_certificate=ca_certificate, host=host) as line,
        pytest.raises(TLSFailed) as caught,
    ):
        line.fetch("POST", "/", headers={"Authorization": "Bearer secret"})
    assert not [request for request in server.requests if b"secret" in request or b"POST" in request]
    assert not caught.value.may_have_been_processed
    assert caught.value.layer == "TLS"
    return caught.value


def old_protocol_context(certificate: Issued) -> ssl.SSLContext:
    context = certificate.server_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def test_six_failures_have_six_messages(authority: Issued, trusted: Issued) -> None:
    expired = issue(HOST, HOST, by=authority, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    other = issue("other.test", "other.test", by=authority)
    failures = [
        failure(expired.server_context(), authority.pem),
        failure(other.server_context(), authority.pem),
        failure(issue(HOST, HOST).server_context(), authority.pem),
        failure(trusted.server_context(), None),
        failure(old_protocol_context(trusted), authority.pem),
        failure(None, authority.pem),
    ]

    assert [error.case for error in failures] == [
        "expired",
        "wrong_name",
        "self_signed",
        "unknown_ca",
        "old_protocol",
        "not_tls",
    ]
    assert len({error.sentence for error in failures}) == 6
    assert all(error.card().sentence == error.sentence and error.card().remedy for error in failures)


def test_certificate_of_the_future_and_weak_key_have_their_own_messages(authority: Issued) -> None:
    future = issue(HOST, HOST, by=authority, not_before=NOW + DAY)
    short_key = rsa.generate_private_key(65537, 1024)
    weak = issue(HOST, HOST, by=authority, key=short_key)
    lenient = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lenient.set_ciphers("DEFAULT:@SECLEVEL=0")

    assert failure(future.server_context(), authority.pem).case == "not_yet_valid"
    assert failure(weak.server_context(base=lenient), authority.pem).case == "weak"


def test_changed_authority_is_noticed_at_the_next_connection(authority: Issued, trusted: Issued) -> None:
    successor = issue("Test authority", is_authority=True)

    assert failure(trusted.server_context(), successor.pem).case in {"unknown_ca", "failed"}


def test_only_the_pinned_authority_is_trusted(authority: Issued) -> None:
    context = make_context(authority.pem)

    assert context.cert_store_stats()["x509"] == 1
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_contexts_are_never_shared() -> None:
    assert make_context() is not make_context()


def test_self_signed_server_certificate_may_be_pinned_itself(authority: Issued) -> None:
    own = issue(HOST, HOST)
    with (
        Server(always(response()), tls=own.server_context()) as server,
        line_to(server, scheme="https", ca_certificate=own.pem) as line,
    ):
        assert line.fetch("GET", "/").status == 200


def test_pinning_does_not_lift_the_name_check(authority: Issued) -> None:
    own = issue("other.test", "other.test")

    assert failure(own.server_context(), own.pem).case == "wrong_name"


def test_chain_through_an_intermediate_is_trusted(authority: Issued) -> None:
    between = issue("Between", is_authority=True, by=authority)
    leaf = issue(HOST, HOST, by=between)
    with (
        Server(always(response()), tls=leaf.server_context(between)) as server,
        line_to(server, scheme="https", ca_certificate=authority.pem) as line,
    ):
        assert line.fetch("GET", "/").status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_address_as_host_is_checked_against_the_certificate(host: str, authority: Issued) -> None:
    right, wrong = issue("x", host, by=authority), issue("x", "192.0.2.9", by=authority)
    with (
        Server(always(response()), tls=right.server_context()) as server,
        line_to(server, scheme="https", host=host, ca_certificate=authority.pem) as line,
    ):
        assert line.fetch("GET", "/").status == 200

    assert failure(wrong.server_context(), authority.pem, host=host).case == "wrong_name"


def test_pem_may_have_comments_around_the_certificate(authority: Issued) -> None:
    pem = f"Büro-CA, gültig\r\n\r\n{authority.pem}\nmehr"

    assert parse_certificates(pem)[0].sha256 == authority.sha256
    assert make_context(pem).cert_store_stats()["x509"] == 1


def private_key_pem(certificate: Issued) -> str:
    return certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_certificate_field_refuses_what_is_no_certificate(authority: Issued) -> None:
    half = authority.pem[:200]
    broken = authority.pem.replace("A", "B")
    for text in ("", "hello", half, broken, "\ud800", "\x00", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"):
        with pytest.raises(CertificateRefused):
            parse_certificates(text)
    with pytest.raises(CertificateRefused, match="larger"):
        parse_certificates(authority.pem + " " * MAX_PEM_BYTES)
    with pytest.raises(CertificateRefused, match="private key"):
        parse_certificates(private_key_pem(authority) + authority.pem)


def test_certificate_is_described_for_comparison(authority: Issued, trusted: Issued) -> None:
    info = parse_certificates(trusted.pem)[0]

    assert (info.subject, info.issuer) == (f"CN={HOST}", "CN=Test authority")
    assert info.sha256 == trusted.sha256
    assert not info.is_self_signed
    assert info.not_after == NOW + 90 * DAY
    assert info.days_left in {89, 90}
    assert info.not_after.tzinfo is UTC


def test_certificate_that_cannot_be_parsed_is_left_out_of_the_chain(trusted: Issued) -> None:
    class Odd:
        def getpeercert(self, binary_form: bool) -> bytes:
            return b"\x30\x03\x02\x01\x05"

    assert describe_chain(Odd()) == []  # type: ignore[arg-type]


def test_body_cut_off_below_tls_is_broken_although_it_named_no_length(authority: Issued, trusted: Issued) -> None:
    # The server's socket is closed without a TLS closing message, as someone in between could do.
    cut = then_close(response(b'{"id": 1}', content_length="-", connection="close"))
    with (
        Server(cut, tls=trusted.server_context()) as server,
        line_to(server, scheme="https", ca_certificate=authority.pem) as line,
        pytest.raises(AnswerBroken) as caught,
    ):
        line.fetch("GET", "/")

    assert caught.value.may_have_been_processed


def test_every_case_is_in_the_catalogue_of_failures() -> None:
    assert {f"tls_{case}" for case in TLS_CASES} == {code for code in FAILURES if code.startswith("tls_")}
    assert TLSFailed("never heard of").case == "failed"
