"""The sandbox over HTTPS, for those who test certificates against it."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portal.sandbox.testing import RunningSandbox


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for localhost, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "localhost.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + built.public_bytes(pem))
    return path


def test_https_answers_and_plain_text_does_no_harm(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with RunningSandbox(tls=tls) as sandbox:
        trusting = ssl.create_default_context(cafile=str(certificate))
        with httpx2.Client(verify=trusting, trust_env=False) as client:
            with socket.create_connection(("localhost", sandbox.port)) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                refused = plain.recv(100)
            answer = client.get(f"{sandbox.api}/projects")

    assert not refused.startswith(b"HTTP/")
    assert sandbox.world.settings.external_url.startswith("https://localhost:")
    assert answer.json()[0]["web_url"].startswith("https://localhost:")
    assert answer.headers["link"].startswith("<https://localhost:")
