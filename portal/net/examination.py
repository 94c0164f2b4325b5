"""Examine the route to an address, layer by layer, and stop at the first failure."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from portal.errors import Layer
from portal.net.address import Address
from portal.net.backend import GuardedBackend
from portal.net.embedded import IPAddress
from portal.net.errors import OutboundError, TLSFailed
from portal.net.sockets import handshake
from portal.net.tls import (
    CertificateInfo,
    Gateway,
    describe_chain,
    make_context,
    make_inspecting_context,
    parse_certificates,
)


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        passed: the layers that passed, in order.
        failure: the first one that did not; None if all passed.
        chain: the certificates the server presented, leaf first, also when they are not trusted.
        addresses: what the name resolved to, all of it allowed.
    """

    passed: tuple[Layer, ...]
    failure: OutboundError | None = None
    chain: tuple[CertificateInfo, ...] = field(default=())
    addresses: tuple[str, ...] = field(default=())

    def has_passed(self, layer: Layer) -> bool:
        """Return whether one layer passed."""
        return layer in self.passed

    @property
    def authority(self) -> CertificateInfo | None:
        """The certificate to trust if the chain is not: its highest authority, or the one that stands for itself."""
        last = self.chain[-1] if self.chain else None
        return last if last and (last.is_authority or (len(self.chain) == 1 and last.is_self_signed)) else None

    @property
    def is_trusted(self) -> bool:
        """Whether the chain leads to an authority, or is the certificate, that this session trusts."""
        return self.has_passed(Layer.TLS)


def examine(
    backend: GuardedBackend, address: Address, ca_certificate: str | None, gateway: Gateway | None = None
) -> Examination:
    """Resolve, connect, shake hands; no byte of HTTP is sent, except a proxy's CONNECT."""
    passed: list[Layer] = []
    chain: tuple[CertificateInfo, ...] = ()
    found: list[IPAddress] = []
    failure: OutboundError | None = None
    try:
        found = backend.resolve()
        passed.append(Layer.DNS)
        backend.connect(found).close()
        passed.append(Layer.TCP)
        if address.scheme == "https":
            # Two handshakes: only the one that accepts anything can show an untrusted chain. It never shows a client
            # certificate, so a gateway may refuse it.
            with (
                suppress(TLSFailed),
                handshake(backend.connect(found), make_inspecting_context(), address.host) as sock,
            ):
                chain = tuple(describe_chain(sock))
            handshake(backend.connect(found), make_context(ca_certificate, gateway), address.host).close()
            passed.append(Layer.TLS)
    except OutboundError as error:
        failure = error
        if isinstance(error, TLSFailed) and error.case == "expired" and chain and chain[0].days_left >= 0:
            failure = TLSFailed("authority_expired")
        # An unknown authority may be one that the server should have sent (RFC 8446 §4.4.2).
        is_alone = len(chain) == 1 and not chain[0].is_self_signed
        if isinstance(error, TLSFailed) and error.case == "unknown_ca" and is_alone:
            trusted = parse_certificates(ca_certificate) if ca_certificate else []
            if all(info.subject != chain[0].issuer for info in trusted):
                failure = TLSFailed("incomplete_chain")
    return Examination(tuple(passed), failure, chain, tuple(map(str, found)))
