"""A gateway in front of GitLab that wants a client certificate or a header."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from portal.net import CertificateRefused, Gateway, OutboundError, RedirectRefused, TLSFailed
from portal.net.tls import check_client_certificate, check_header
from portal.redaction import redact
from portal.vault import Secret
from tests.net.certificates import Issued, issue
from tests.net.lines import HOST, line_to
from tests.net.servers import Server, always, header_of, response


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("Test authority", is_authority=True)


@pytest.fixture(scope="module")
def client(authority: Issued) -> Issued:
    return issue("gatehouse", by=authority)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def demanding(request: pytest.FixtureRequest, authority: Issued) -> Iterator[Server]:
    context = issue(HOST, HOST, by=authority).server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    context.maximum_version = request.param
    with Server(always(response()), tls=context) as server:
        yield server


def key_of(issued: Issued, *, passphrase: str = "") -> str:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def gateway_with(shown: Issued) -> Gateway:
    return Gateway(shown.pem, Secret(key_of(shown)), "X-Gateway-Key", Secret("open-sesame-canary"))


def test_certificate_and_header_are_shown_to_the_gateway_and_the_header_is_never_logged(
    demanding: Server, authority: Issued, client: Issued
) -> None:
    with line_to(demanding, scheme="https", ca_certificate=authority.pem, gateway=gateway_with(client)) as line:
        assert line.examine().failure is None
        assert line.fetch("GET", "/x", headers={"Authorization": "Bearer t"}).status == 200

    assert header_of(demanding.requests[0], "x-gateway-key") == "open-sesame-canary"
    assert header_of(demanding.requests[0], "authorization") == "Bearer t"
    assert "canary" not in redact("it says open-sesame-canary")


def test_missing_and_refused_client_certificates_are_told_apart(demanding: Server, authority: Issued) -> None:
    stranger = issue("stranger", by=issue("Another authority", is_authority=True))
    codes = []
    for gateway in (None, gateway_with(stranger)):
        with line_to(demanding, scheme="https", ca_certificate=authority.pem, gateway=gateway) as line:
            failure: OutboundError | None = line.examine().failure
            try:
                line.fetch("GET", "/")
            except OutboundError as error:
                failure = failure or error
        assert isinstance(failure, TLSFailed)
        codes.append(failure.code)

    assert demanding.requests == []
    # TLS 1.2 has no alert for a missing certificate.
    assert codes[0] in {"tls_client_certificate_required", "tls_failed"}
    assert codes[1] == "tls_client_certificate_refused"


def test_header_goes_to_no_other_address(authority: Issued) -> None:
    with (
        Server(always(response(status="302 Found", location="https://other.test/"))) as server,
        line_to(server, gateway=Gateway("", None, "X-Gateway-Key", Secret("open-sesame-canary"))) as line,
        pytest.raises(RedirectRefused),
    ):
        line.fetch("GET", "/")

    assert server.connections == 1


def test_key_that_does_not_fit_is_refused(client: Issued, authority: Issued) -> None:
    check_client_certificate(client.pem + authority.pem, key_of(client))
    for certificate, key, words in (
        (client.pem, key_of(authority), "belongs to another certificate"),
        (client.pem, key_of(client, passphrase="secret"), "without a passphrase"),
        (client.pem, "nothing", "-----BEGIN PRIVATE KEY-----"),
        (client.pem + key_of(client), key_of(client), "contains a private key"),
        ("nothing", key_of(client), "-----BEGIN CERTIFICATE-----"),
    ):
        with pytest.raises(CertificateRefused, match=words):
            check_client_certificate(certificate, key)


def test_header_that_means_something_else_is_refused() -> None:
    for name in ("X-Gateway-Key", "CF-Access-Client-Secret", "Ocp-Apim-Subscription-Key"):
        assert check_header(name, "a b=c") == ""
    for name in (
        *("authorization", "HOST", "Cookie", "Private-Token", "JOB-TOKEN", "Sudo", "Connection", "TE", "Upgrade"),
        *(
            "Transfer-Encoding",
            "Content-Length",
            "Proxy-Authorization",
            "X-Forwarded-For",
            "X-Gitlab-Event",
            "If-Match",
        ),
        *("X-Http-Method-Override", "Accept-Encoding", "User-Agent", "Forwarded", "", "a b", "a:b", "ä", "a\r\nb"),
    ):
        assert check_header(name, "value"), name
    for value in ("", " a", "a\r\nHost: b", "ä", "a\0", "x" * 5000):
        assert check_header("X-Gateway-Key", value), value
