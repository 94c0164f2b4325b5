"""TLS: version 1.2 or newer, always verified; a connection with its own CA certificate trusts only that."""

from __future__ import annotations

import os
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from portal.foreign import Words
from portal.net.errors import TLSFailed

MAX_PEM_BYTES = 64 * 1024
MAX_CHAIN = 10
_UNREADABLE = (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm)
# OpenSSL's X509_V_ERR_* numbers.
_VERIFY_CASES = {
    2: "unknown_ca",
    9: "not_yet_valid",
    10: "expired",
    18: "self_signed",
    19: "unknown_ca",
    20: "unknown_ca",
    21: "unknown_ca",
    24: "unknown_ca",
    27: "unknown_ca",
    62: "wrong_name",
    64: "wrong_name",
    66: "weak",
    67: "weak",
    68: "weak",
}
_REASON_CASES = {
    "WRONG_VERSION_NUMBER": "not_tls",
    "HTTP_REQUEST": "not_tls",
    "HTTPS_PROXY_REQUEST": "not_tls",
    "PACKET_LENGTH_TOO_LONG": "not_tls",
    "RECORD_LAYER_FAILURE": "not_tls",
    "UNSUPPORTED_PROTOCOL": "old_protocol",
    "TLSV1_ALERT_PROTOCOL_VERSION": "old_protocol",
    "VERSION_TOO_LOW": "old_protocol",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "client_certificate_required",
    "SSLV3_ALERT_BAD_CERTIFICATE": "client_certificate_refused",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "client_certificate_refused",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "client_certificate_refused",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "client_certificate_refused",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "client_certificate_refused",
    "TLSV1_ALERT_UNKNOWN_CA": "client_certificate_refused",
    "TLSV1_ALERT_ACCESS_DENIED": "client_certificate_refused",
}
# Headers that GitLab, HTTP or the portal gives a meaning; lower case. A gateway's own header is none of these.
_RESERVED_HEADERS = frozenset(
    {
        *("authorization", "cookie", "cookie2", "host", "private-token", "job-token", "deploy-token", "sudo"),
        # Hop-by-hop, and what frames a message (RFC 9110 §7.6.1, RFC 9112 §6).
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
        *("content-length", "content-type", "content-encoding", "expect", "date", "via", "max-forwards"),
        *("accept", "accept-encoding", "user-agent", "range", "origin", "referer", "forwarded"),
        *("x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url", "x-request-id"),
    }
)
_RESERVED_PREFIXES = ("proxy-", "x-forwarded-", "x-gitlab-", "gitlab-", "sec-", "if-", "x-real-", "x-csrf-")
MAX_HEADER_VALUE = 4000


class CertificateRefused(ValueError):
    """The CA certificate that was entered cannot be used; the text says why."""


@dataclass(frozen=True)
class CertificateInfo:
    """One certificate of a chain as people compare it; names are the certificate's own, unverified."""

    subject: Words
    issuer: Words
    sha256: str
    not_before: datetime
    not_after: datetime
    is_self_signed: bool
    is_authority: bool = False
    pem: str = field(default="", repr=False)

    @property
    def days_left(self) -> int:
        """Whole days until it expires; negative if it has."""
        return (self.not_after - datetime.now(UTC)).days


class Revealed(Protocol):
    """A secret; the vault's are."""

    def reveal(self) -> str:
        """Return its text."""


@dataclass(frozen=True)
class Gateway:
    """What a gateway in front of a GitLab wants to see: a client certificate with its key, one header, or both."""

    certificate: str = ""
    key: Revealed | None = None
    header: str = ""
    value: Revealed | None = None


def make_context(ca_certificate: str | None = None, gateway: Gateway | None = None) -> ssl.SSLContext:
    """Return a new client context; contexts are never shared between connections.

    Raises:
        CertificateRefused: the CA certificate, or the client certificate with its key, cannot be read.
    """
    if ca_certificate:
        ders = b"".join(certificate.public_bytes(Encoding.DER) for certificate in _load(ca_certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=ders)
        except ssl.SSLError:
            raise CertificateRefused("That certificate cannot be used as an authority.") from None
        # A pinned server certificate is trusted by itself, although it is not an authority.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if gateway and gateway.certificate and gateway.key:
        _load_client_certificate(context, f"{gateway.certificate}\n{gateway.key.reveal()}")
    return context


def _load_client_certificate(context: ssl.SSLContext, pem: str) -> None:
    # OpenSSL reads it from a file only: one in memory, without a name, that no other process opens.
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    except (ssl.SSLError, OSError, ValueError):
        raise CertificateRefused("The client certificate and its key do not belong together.") from None
    finally:
        os.close(descriptor)


def check_client_certificate(certificate: str, key: str) -> None:
    """Check that a client certificate (PEM, its intermediates after it) and a key belong together.

    Raises:
        CertificateRefused: they do not, one cannot be read, or the key needs a passphrase.
    """
    found = _load(certificate)
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except TypeError:
        raise CertificateRefused("The key is encrypted. Paste it without a passphrase.") from None
    except _UNREADABLE:
        raise CertificateRefused("Paste the key in PEM form: it begins with -----BEGIN PRIVATE KEY-----.") from None
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*spki) != found[0].public_key().public_bytes(*spki):
        raise CertificateRefused("The key belongs to another certificate.")


def check_header(name: str, value: str) -> str:
    """Return what is wrong with a gateway's header; empty if it may be sent with every request."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
        return "Enter a header name: letters, digits and dashes, such as X-Gateway-Key."
    if name.lower() in _RESERVED_HEADERS or name.lower().startswith(_RESERVED_PREFIXES):
        return f"{name} has a meaning for HTTP, GitLab or Gatehouse, so it cannot be set here."
    if not re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", value) or len(value) > MAX_HEADER_VALUE:
        return "The value must be one line of plain characters."
    return ""


def client_certificate_failure(error: OSError) -> TLSFailed | None:
    """Return the failure if a server refused the client certificate, or that there was none."""
    case = _REASON_CASES.get(getattr(error, "reason", None) or "", "") if isinstance(error, ssl.SSLError) else ""
    return TLSFailed(case) if case.startswith("client_certificate") else None


def make_trustless_context() -> ssl.SSLContext:
    """Return a context that accepts no certificate at all: for plain HTTP, where none is expected."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def make_inspecting_context() -> ssl.SSLContext:
    """Return a context that accepts any certificate: only to inspect one, never to send a byte of HTTP."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def parse_certificates(pem: str) -> list[CertificateInfo]:
    """Read one or several certificates in PEM form.

    Raises:
        CertificateRefused: too large, no certificate in it, a private key in it, or unreadable.
    """
    found = _load(pem)[:MAX_CHAIN]
    try:
        return [describe(certificate) for certificate in found]
    except _UNREADABLE:
        raise CertificateRefused("That certificate has fields that cannot be read.") from None


def _load(pem: str) -> list[x509.Certificate]:
    if len(pem) > MAX_PEM_BYTES:
        raise CertificateRefused("That is larger than any certificate.")
    if "PRIVATE KEY" in pem:
        raise CertificateRefused(
            "That contains a private key. Paste only the certificate, and consider the key exposed."
        )
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except _UNREADABLE:
        raise CertificateRefused(
            "Paste the certificate in PEM form: it begins with -----BEGIN CERTIFICATE-----."
        ) from None


def describe_chain(handshaken: ssl.SSLSocket) -> list[CertificateInfo]:
    """Return what a server presented, leaf first."""
    inner = getattr(handshaken, "_sslobj", None)
    # Public only from Python 3.13; if it is missing, the leaf alone has to do.
    presented = getattr(inner, "get_unverified_chain", lambda: None)()
    ders = [item.public_bytes(ssl._ssl.ENCODING_DER) for item in presented or []]  # type: ignore[attr-defined]
    if not ders and (leaf := handshaken.getpeercert(binary_form=True)):
        ders = [leaf]
    found = []
    for der in ders[:MAX_CHAIN]:
        # It is untrusted: OpenSSL's verdict follows, this is only for display.
        with suppress(*_UNREADABLE):
            found.append(describe(x509.load_der_x509_certificate(der)))
    return found


def describe(certificate: x509.Certificate) -> CertificateInfo:
    """Return the parts of a certificate that people compare."""
    is_authority = False
    with suppress(x509.ExtensionNotFound, *_UNREADABLE):
        is_authority = bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    return CertificateInfo(
        subject=Words(certificate.subject.rfc4514_string()),
        issuer=Words(certificate.issuer.rfc4514_string()),
        sha256=certificate.fingerprint(SHA256()).hex(":").upper(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_self_signed=certificate.subject == certificate.issuer,
        is_authority=is_authority,
        pem=certificate.public_bytes(Encoding.PEM).decode(),
    )


def translate(error: ssl.SSLError) -> TLSFailed:
    """Map OpenSSL's error to one of our cases."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TLSFailed(_VERIFY_CASES.get(error.verify_code, "failed"))
    return TLSFailed(_REASON_CASES.get(error.reason or "", "failed"))
