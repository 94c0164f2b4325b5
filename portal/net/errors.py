"""Why the door did not bring an answer. Sentences are fixed: no text of the peer ever reaches a page (S53).

OutboundError
├── AddressForbidden      policy
├── NameNotResolved       DNS
├── ConnectFailed         TCP
├── TLSFailed             TLS: expired, wrong_name, not_yet_valid, self_signed, unknown_ca, incomplete_chain,
│                         weak, old_protocol, not_tls, failed
├── ProxyFailed           proxy
├── DeadlinePassed        the layer where the time went
├── AnswerTooLarge        HTTP
├── AnswerBroken          HTTP: closed early, wrong length, broken compression, not HTTP
├── AnswerEncoded         HTTP: compressed in a way that was not asked for
└── RedirectRefused       HTTP
"""

from __future__ import annotations

from portal.errors import Card, Layer, Mender
from portal.foreign import Words

TLS_CASES = {
    "expired": ("The certificate has expired.", "Renew the certificate on the GitLab server."),
    "not_yet_valid": ("The certificate is not valid yet.", "Check the clocks of both servers."),
    "wrong_name": (
        "The certificate belongs to another host name.",
        "Enter the name the certificate is for, or have it reissued for this one.",
    ),
    "self_signed": (
        "The certificate is self-signed, so nobody vouches for it.",
        "Paste it as CA certificate if its fingerprint is the one your administrator tells you.",
    ),
    "unknown_ca": (
        "The certificate was issued by an authority this portal does not know.",
        "Paste the certificate of your company's authority as CA certificate.",
    ),
    "incomplete_chain": (
        "The server sent its certificate alone, without the one of the authority that issued it.",
        "If an intermediate authority issued it, have GitLab's administrator install the full chain (fullchain.pem): "
        "browsers find the missing certificate by themselves, programs do not. If your company's own authority did, "
        "paste that authority's certificate as CA certificate.",
    ),
    "weak": (
        "The certificate uses a key or a signature too weak to be trusted.",
        "Have it reissued with a key of at least 2048 bits (RSA) and a SHA-256 signature.",
    ),
    "old_protocol": ("The server speaks only TLS versions older than 1.2.", "Switch TLS 1.2 or newer on."),
    "not_tls": (
        "This port does not speak TLS; perhaps it is plain HTTP.",
        "Check the port, or enter the https address.",
    ),
    "failed": ("The TLS handshake failed.", "Ask who runs the server, naming the time of this try."),
}


class OutboundError(Exception):
    """The door brought no answer.

    Attributes:
        code: stable.
        may_have_been_processed: whether the peer may have done what was asked although no answer came; decides
            whether a request that is not idempotent may be sent again.
    """

    layer = Layer.HTTP
    code = "http_failed"
    sentence = "The request failed."
    remedy = "Try again; if it stays, ask whoever runs the server."
    mender = Mender.GITLAB_ADMIN

    def __init__(self, *, may_have_been_processed: bool = False) -> None:
        self.may_have_been_processed = may_have_been_processed
        super().__init__(self.sentence)

    def card(self) -> Card:
        """Return what a person reads."""
        return Card(self.code, self.layer, self.sentence, self.remedy, self.mender)


class AddressForbidden(OutboundError):
    """The address policy refuses the target; nothing was sent."""

    layer = Layer.POLICY
    code = "address_forbidden"
    remedy = "Enter the address of your GitLab. If it is right, the operator of this portal can allow its network."
    mender = Mender.OPERATOR

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence
        super().__init__()


class NameNotResolved(OutboundError):
    """No name server knows the host, or none answered."""

    layer = Layer.DNS
    code = "name_not_resolved"
    sentence = "The host name cannot be resolved from this portal's network."
    remedy = "Check the spelling. Names that only your own network knows need a name server this portal can ask."
    mender = Mender.NETWORK


class ConnectFailed(OutboundError):
    """No TCP connection: refused, unreachable, or nobody answered in time."""

    layer = Layer.TCP
    code = "connect_failed"
    sentence = "No connection: the port is closed or something between does not let this portal through."
    remedy = "Check the port and the firewall between this portal and GitLab."
    mender = Mender.NETWORK


class TLSFailed(OutboundError):
    """The TLS handshake failed; no request was sent. `case` is a key of TLS_CASES."""

    layer = Layer.TLS

    def __init__(self, case: str) -> None:
        self.case = case if case in TLS_CASES else "failed"
        self.code = f"tls_{self.case}"
        self.sentence, self.remedy = TLS_CASES[self.case]
        super().__init__()


class ProxyFailed(OutboundError):
    """The proxy refused, or could not be reached."""

    layer = Layer.PROXY
    code = "proxy_failed"
    sentence = "The proxy did not open a connection to GitLab."
    remedy = "Check the proxy's address, and whether it lets this portal CONNECT to GitLab's IP address and port."
    mender = Mender.NETWORK


_SLOW: dict[Layer, tuple[str, str, Mender]] = {
    Layer.DNS: (
        "The name servers did not answer in time.",
        "Check the name servers this portal asks.",
        Mender.NETWORK,
    ),
    Layer.TCP: (
        "Nobody answered at that port in time.",
        "Check the firewall between this portal and GitLab; it may drop what this portal sends.",
        Mender.NETWORK,
    ),
    Layer.TLS: (
        "The TLS handshake was not finished in time.",
        "Check that the port is the one of the https address.",
        Mender.GITLAB_ADMIN,
    ),
    Layer.PROXY: ("The proxy did not answer in time.", "Check the proxy's address and its load.", Mender.NETWORK),
}


class DeadlinePassed(OutboundError):
    """The whole exchange took longer than its wall-clock deadline; `layer` is where it was then."""

    code = "deadline_passed"
    sentence = "The server did not answer in time."
    remedy = "GitLab may be busy; try again in a minute."

    def __init__(self, layer: Layer = Layer.HTTP, *, may_have_been_processed: bool = False) -> None:
        self.layer = layer
        if layer in _SLOW:
            self.sentence, self.remedy, self.mender = _SLOW[layer]
        super().__init__(may_have_been_processed=may_have_been_processed)


class AnswerTooLarge(OutboundError):
    """The answer, decoded, is larger than any honest one."""

    code = "answer_too_large"
    sentence = "The answer was far larger than any of GitLab's."


class AnswerBroken(OutboundError):
    """The answer ended early, was compressed wrongly, or is not HTTP."""

    code = "answer_broken"
    sentence = "The connection broke before the answer was complete, or what came was not HTTP."


class AnswerEncoded(OutboundError):
    """The answer is compressed in a way that was not asked for."""

    code = "answer_encoding"
    sentence = "The answer is compressed in a way that this portal did not ask for."
    remedy = (
        "Have whoever runs the proxy in front of GitLab make it compress only what a request allows (Accept-Encoding)."
    )
    mender = Mender.NETWORK

    def __init__(self, encoding: str) -> None:
        # Only names that a registry knows are repeated (RFC 9110 §8.4.1).
        self.encoding = encoding if encoding in {"br", "zstd", "deflate", "compress"} else ""
        if self.encoding:
            self.sentence = (
                f"The answer is compressed as “{self.encoding}”, which this portal did not ask for: something in front "
                "of GitLab compresses on its own."
            )
        super().__init__(may_have_been_processed=True)


class RedirectRefused(OutboundError):
    """The server answered with a redirect; credentials are never carried to another address (S50)."""

    code = "redirect_refused"
    sentence = "The server sends this portal to another address instead of answering."
    remedy = "Enter the address it redirects to, if that is your GitLab."
    mender = Mender.YOU

    def __init__(self, status: int, target: str) -> None:
        self.status = status
        # Shown as text only, never as a link.
        self.target = Words(target)
        # Whoever answered so may have done it after GitLab had acted.
        super().__init__(may_have_been_processed=True)

    def card(self) -> Card:
        """Return what a person reads; the target is the only text of the peer."""
        return Card(self.code, self.layer, self.sentence, self.remedy, self.mender, words=self.target)
