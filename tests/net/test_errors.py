from __future__ import annotations

import pytest

from portal.errors import Layer, Responsible
from portal.net import (
    AddressForbidden,
    AnswerBroken,
    AnswerEncoded,
    AnswerTooLarge,
    ConnectFailed,
    DeadlinePassed,
    NameNotResolved,
    OutboundError,
    ProxyFailed,
    RedirectRefused,
    TLSFailed,
)

ERRORS = [
    (AddressForbidden("address_private"), Layer.POLICY, "address_private"),
    (NameNotResolved(), Layer.DNS, "name_not_resolved"),
    (ConnectFailed(), Layer.TCP, "connect_failed"),
    (TLSFailed("expired"), Layer.TLS, "tls_expired"),
    (ProxyFailed(), Layer.PROXY, "proxy_failed"),
    (DeadlinePassed(), Layer.HTTP, "deadline_passed"),
    (DeadlinePassed(Layer.DNS), Layer.DNS, "deadline_passed"),
    (DeadlinePassed(Layer.TCP), Layer.TCP, "deadline_passed"),
    (DeadlinePassed(Layer.TLS), Layer.TLS, "deadline_passed"),
    (DeadlinePassed(Layer.PROXY), Layer.PROXY, "deadline_passed"),
    (AnswerTooLarge(), Layer.HTTP, "answer_too_large"),
    (AnswerBroken(), Layer.HTTP, "answer_broken"),
    (AnswerEncoded("br"), Layer.HTTP, "answer_encoding"),
    (RedirectRefused(302, "https://other.test/"), Layer.HTTP, "redirect_refused"),
]


@pytest.mark.parametrize(("error", "layer", "code"), ERRORS)
def test_error_says_layer_code_sentence_remedy_and_mender(error: OutboundError, layer: Layer, code: str) -> None:
    card = error.card()

    assert (card.layer, card.code) == (layer, code)
    assert card.sentence.endswith(".")
    assert card.remedy.endswith(".")
    assert isinstance(card.responsible, Responsible)
    # A redirect or compression may come after GitLab has acted.
    assert error.may_have_been_processed == (code in {"redirect_refused", "answer_encoding"})


def test_only_a_redirect_carries_words_of_the_peer() -> None:
    assert [error.code for error, _, _ in ERRORS if error.card().words] == ["redirect_refused"]


def test_time_that_passed_elsewhere_reads_differently() -> None:
    layers = (Layer.DNS, Layer.TCP, Layer.TLS, Layer.PROXY, Layer.HTTP)

    assert len({DeadlinePassed(layer).sentence for layer in layers}) == 5
