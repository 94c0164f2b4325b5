"""authlib's client goes through the same transport, with the same guards."""

from __future__ import annotations

import json

import pytest
from authlib.integrations.httpx_client import OAuth2Client

from portal.net import AnswerTooLarge, DeadlinePassed, HostSession, RedirectRefused
from tests.net.lines import line_to
from tests.net.servers import Server, always, response, silent, zeros_gzipped

TOKEN = json.dumps({"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expires_in": 7200}).encode()


def exchange(http: HostSession, **options: object) -> dict[str, object]:
    with (
        http.deadline(0.5),
        OAuth2Client("id", "secret", transport=http.transport, trust_env=False, **options) as client,
    ):
        token = client.fetch_token(http.address.url + "/oauth/token", code="c", grant_type="authorization_code")
    return dict(token)


def test_code_is_exchanged_through_the_line() -> None:
    with Server(always(response(TOKEN))) as server, line_to(server) as http:
        assert exchange(http)["access_token"] == "a"

    assert server.requests[0].startswith(b"POST /oauth/token ")


def test_bomb_is_capped_before_the_client_sees_it() -> None:
    bomb = response(zeros_gzipped(64), content_encoding="gzip")
    with Server(always(bomb)) as server, line_to(server) as http, pytest.raises(AnswerTooLarge):
        exchange(http)


def test_redirect_is_not_followed_although_the_client_would() -> None:
    with Server(always(response(TOKEN))) as elsewhere:
        answer = response(b"", "307 Same", location=f"http://127.0.0.1:{elsewhere.port}/oauth/token")
        with Server(always(answer)) as server, line_to(server) as http, pytest.raises(RedirectRefused):
            exchange(http, follow_redirects=True)

    assert elsewhere.connections == 0


def test_deadline_holds_for_the_client() -> None:
    with Server(silent) as server, line_to(server) as http, pytest.raises(DeadlinePassed) as caught:
        exchange(http)

    assert caught.value.may_have_been_processed
