"""What an operator wants to know about: one line each, with no secret in it."""

from __future__ import annotations

import pytest

from portal.net import TLSFailed
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable
from tests.connections.drafts import draft
from tests.net.certificates import issue
from tests.net.lines import HOST, line_to
from tests.net.servers import Server, always, response
from tests.security.logged import Lines, catching_lines
from tests.support.visitor import Visitor

# Every line has these.
COMMON = {"event", "level", "logger", "timestamp", "request_id"}
SECRET = "glpat-canary-1b8d40a6"


def only_event(lines: Lines) -> dict[str, object]:
    (line,) = lines.named("security_event")
    assert line["level"] == "warning"
    assert SECRET not in lines.text
    return {key: value for key, value in line.items() if key not in COMMON}


def test_handshake_that_fails_writes_one_line_with_host_and_layer() -> None:
    tls = issue(HOST, HOST).server_context()
    with (
        catching_lines() as lines,
        Server(always(response()), tls=tls) as server,
        line_to(server, scheme="https") as line,
        pytest.raises(TLSFailed),
    ):
        line.fetch("POST", "/", headers={"Authorization": f"Bearer {SECRET}"})

    assert only_event(lines) == {"kind": "tls_failed", "host": HOST, "layer": "TLS", "error_code": "tls_self_signed"}


def test_look_at_a_certificate_nobody_vouches_for_writes_one_line() -> None:
    tls = issue(HOST, HOST).server_context()
    with (
        catching_lines() as lines,
        Server(always(response()), tls=tls) as server,
        line_to(server, scheme="https") as line,
    ):
        assert line.examine().failure

    assert only_event(lines)["kind"] == "tls_failed"


@pytest.mark.parametrize("field", ["domain", "proxy"])
def test_address_that_may_not_be_entered_writes_one_line(owner: Visitor, field: str) -> None:
    slug = draft(owner)

    with catching_lines() as lines:
        form = {"domain": "gitlab.example.com", field: "gitlab.example.com:22"}
        assert owner.post(f"/connections/{slug}/setup/instance", form).status_code == 422

    assert only_event(lines) == {
        "kind": "address_refused",
        "host": "gitlab.example.com",
        "port": 22,
        "layer": "Network policy",
        "error_code": "address_port",
    }


def test_ciphertext_that_cannot_be_opened_writes_one_line_with_its_place(runtime: Runtime) -> None:
    sealed = runtime.vault.seal(Secret(SECRET), Place("application", 1, "client_secret_sealed"))

    with catching_lines() as lines, pytest.raises(SecretUnreadable):
        runtime.vault.open(sealed, Place("application", 2, "client_secret_sealed"))

    event = only_event(lines)
    assert event.pop("reason")
    assert event == {
        "kind": "secret_unreadable",
        "layer": "Gatehouse",
        "table": "application",
        "row": 2,
        "column": "client_secret_sealed",
    }


@pytest.mark.parametrize("sealed", [b"", b"\x02no envelope", b"\x01\x04abcd cut off"])
def test_what_is_no_ciphertext_at_all_writes_one_line(runtime: Runtime, sealed: bytes) -> None:
    with catching_lines() as lines, pytest.raises(SecretUnreadable):
        runtime.vault.seal_again(sealed, Place("credential", 1, "access_token_sealed"))

    assert only_event(lines)["kind"] == "secret_unreadable"
