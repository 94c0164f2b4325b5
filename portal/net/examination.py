"""Look at the way to an address, one layer after the other, and stop where it breaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from portal.errors import Layer
from portal.net.address import Address
from portal.net.backend import GuardedBackend, handshake
from portal.net.errors import OutboundError
from portal.net.tls import CertificateInfo, describe_chain, make_context, make_inspecting_context


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        passed: the layers that are fine, in order.
        failure: the first thing that is not; None when all layers are fine.
        chain: the certificates the server presented, leaf first, also when they are not trusted.
    """

    passed: tuple[Layer, ...]
    failure: OutboundError | None = None
    chain: tuple[CertificateInfo, ...] = field(default=())

    def has_passed(self, layer: Layer) -> bool:
        """Tell whether one layer is fine."""
        return layer in self.passed


def examine(backend: GuardedBackend, address: Address, ca_certificate: str | None) -> Examination:
    """Resolve, connect, shake hands; no byte of HTTP is sent."""
    passed: list[Layer] = []
    chain: tuple[CertificateInfo, ...] = ()
    try:
        backend.open_socket().close()
        passed += [Layer.DNS, Layer.TCP]
        if address.scheme == "https":
            chain = _look_at_chain(backend, address)
            _verify(backend, address, ca_certificate)
            passed.append(Layer.TLS)
    except OutboundError as error:
        if error.layer not in {Layer.DNS, Layer.POLICY} and not passed:
            passed.append(Layer.DNS)
        return Examination(tuple(passed), error, chain)
    return Examination(tuple(passed), None, chain)


def _look_at_chain(backend: GuardedBackend, address: Address) -> tuple[CertificateInfo, ...]:
    with handshake(backend.open_socket(), make_inspecting_context(), address.host) as sock:
        return tuple(describe_chain(sock))


def _verify(backend: GuardedBackend, address: Address, ca_certificate: str | None) -> None:
    handshake(backend.open_socket(), make_context(ca_certificate), address.host).close()
