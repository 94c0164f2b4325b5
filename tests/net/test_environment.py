"""The environment has no effect: a proxy is a setting, a credential is an argument (S51)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.net.lines import HOST, line_to
from tests.net.servers import Server, always, header_of, response


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
def test_proxy_variables_are_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(always(response())) as server, Server(always(response())) as proxy, line_to(server) as line:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        line.fetch("GET", "/")

    assert len(server.requests) == 1
    assert proxy.connections == 0


def test_netrc_does_not_replace_the_bearer_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine {HOST} login someone password else\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with Server(always(response())) as server, line_to(server) as line:
        line.fetch("GET", "/", headers={"Authorization": "Bearer t0ken"})
        line.fetch("GET", "/")

    assert header_of(server.requests[0], "authorization") == "Bearer t0ken"
    assert header_of(server.requests[1], "authorization") == ""
