"""Why there is no answer. What people read is in `portal.failures`: no text from the peer (S53).

OutboundError
├── AddressForbidden      policy
├── NameNotResolved       DNS
├── ConnectFailed         TCP
├── TLSFailed             TLS: expired, authority_expired, wrong_name, not_yet_valid, self_signed, unknown_ca,
│                         other_authority, incomplete_chain, client_certificate_required,
│                         client_certificate_refused, weak, old_protocol, not_tls, failed
├── ProxyFailed           proxy: unreachable, authentication, denied, name, target, not_a_proxy
├── DeadlinePassed        the layer where the time was spent
├── AnswerTooLarge        HTTP
├── AnswerBroken          HTTP: closed early, wrong length, broken compression, not HTTP
├── AnswerEncoded         HTTP: compressed in a way that was not asked for
└── RedirectRefused       HTTP
"""

from __future__ import annotations

from typing import Any

from portal.errors import Card, Layer
from portal.foreign import Words

PROXY_CASES = frozenset({"unreachable", "authentication", "denied", "name", "target", "not_a_proxy"})
TLS_CASES = frozenset(
    {
        *("expired", "authority_expired", "not_yet_valid", "wrong_name", "self_signed", "unknown_ca", "weak"),
        *("other_authority", "incomplete_chain", "client_certificate_required", "client_certificate_refused"),
        *("old_protocol", "not_tls", "failed"),
    }
)
# Only names that a registry knows are repeated (RFC 9110 §8.4.1).
ENCODINGS = frozenset({"br", "zstd", "deflate", "compress"})
SLOW_LAYERS = {Layer.DNS: "dns", Layer.TCP: "tcp", Layer.TLS: "tls", Layer.PROXY: "proxy"}


class OutboundError(Exception):
    """There is no answer.

    Attributes:
        code: stable.
        params: what the texts of the failure name.
        may_have_been_processed: whether the peer may have done what was asked although no answer came; this decides
            whether a request that is not idempotent may be sent again.
    """

    code = "http_failed"

    def __init__(self, *, may_have_been_processed: bool = False, **params: Any) -> None:
        self.may_have_been_processed = may_have_been_processed
        self.params = params
        super().__init__(self.sentence)

    @property
    def layer(self) -> Layer:
        """Where on the way it failed."""
        return self.card().layer

    @property
    def sentence(self) -> str:
        """What is wrong, wherever it is read."""
        return self.card().sentence

    def card(self) -> Card:
        """Return the failure as it is stored and shown."""
        return Card(self.code, self.params)


class AddressForbidden(OutboundError):
    """The address policy refuses the target; nothing was sent. `code` names the rule."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__()


class NameNotResolved(OutboundError):
    """No name server knows the host, or none answered."""

    code = "name_not_resolved"


class ConnectFailed(OutboundError):
    """No TCP connection: refused, unreachable, or no one answered in time."""

    code = "connect_failed"


class TLSFailed(OutboundError):
    """The TLS handshake failed; no request was sent. `case` is one of TLS_CASES."""

    def __init__(self, case: str, *, may_have_been_processed: bool = False, **params: Any) -> None:
        self.case = case if case in TLS_CASES else "failed"
        self.code = f"tls_{self.case}"
        super().__init__(may_have_been_processed=may_have_been_processed, **params)


class ProxyFailed(OutboundError):
    """The proxy cannot be reached, or opens no tunnel.

    `case` says why: unreachable, authentication (407), denied (403), name (it does not know GitLab's name), target (it
    does not reach GitLab), not_a_proxy.
    """

    code = "proxy_failed"

    def __init__(self, case: str = "") -> None:
        self.case = case if case in PROXY_CASES else ""
        super().__init__()
        self.params = {"case": self.case} if self.case else {}


class DeadlinePassed(OutboundError):
    """The whole exchange took longer than its wall-clock deadline; `layer` is how far it had got."""

    code = "deadline_passed"

    def __init__(self, layer: Layer = Layer.HTTP, *, may_have_been_processed: bool = False) -> None:
        case = {"case": SLOW_LAYERS[layer]} if layer in SLOW_LAYERS else {}
        super().__init__(may_have_been_processed=may_have_been_processed, **case)


class AnswerTooLarge(OutboundError):
    """The decoded answer is larger than any legitimate one."""

    code = "answer_too_large"


class AnswerBroken(OutboundError):
    """The answer ended early, was compressed wrongly, or is not HTTP."""

    code = "answer_broken"


class AnswerEncoded(OutboundError):
    """The answer is compressed in a way that was not asked for."""

    code = "answer_encoding"

    def __init__(self, encoding: str) -> None:
        known = {"case": "known", "encoding": encoding} if encoding in ENCODINGS else {}
        super().__init__(may_have_been_processed=True, **known)


class RedirectRefused(OutboundError):
    """The server answered with a redirect; credentials are never carried to another address (S50)."""

    code = "redirect_refused"

    def __init__(self, status: int, target: str) -> None:
        self.status = status
        # Shown as text only, never as a link.
        self.target = Words(target)
        # Something may have answered this after GitLab had acted.
        super().__init__(may_have_been_processed=True)

    def card(self) -> Card:
        """Return the failure with the target, the only text from the peer."""
        return Card(self.code, words=self.target)
