"""What GitLab says of a fresh token: how long it lives and of which kind it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portal.gitlab import oauth
from portal.gitlab.errors import MalformedAnswer
from portal.net import Line
from portal.vault import Secret
from tests.gitlab.malformed import ScriptedServer, response

APPLICATION = oauth.ClientCredentials("client", Secret("a secret of the tests"))
CALLBACK = "http://127.0.0.1:8000/oauth/callback/gitlab"
GOOD = {"access_token": "a" * 64, "refresh_token": "b" * 64, "token_type": "Bearer", "expires_in": 7200}


def exchange(line: Line, server: ScriptedServer, body: str) -> oauth.TokenAnswer:
    server.answer = response(body.encode())
    return oauth.exchange_code(line, APPLICATION, "code", CALLBACK, oauth.new_verifier())


@pytest.mark.parametrize(
    ("told", "seconds"), [("7200", 7200), ('"7200"', 7200), ("7200.0", 7200), ("1", 1), ("null", None)]
)
def test_lifetime_is_a_whole_number_of_seconds_or_none(
    line: Line, server: ScriptedServer, told: str, seconds: int | None
) -> None:
    body = json.dumps(GOOD).replace("7200", told)

    assert exchange(line, server, body).expires_in == seconds


def test_lifetime_may_be_absent(line: Line, server: ScriptedServer) -> None:
    body = json.dumps({name: value for name, value in GOOD.items() if name != "expires_in"})

    assert exchange(line, server, body).expires_in is None


@pytest.mark.parametrize("told", ["-1", "0", "1e308", "99999999999", '"-1"', '"soon"', "true", "[]", "{}", "1e999"])
def test_lifetime_that_makes_no_sense_is_a_malformed_answer(line: Line, server: ScriptedServer, told: str) -> None:
    with pytest.raises(MalformedAnswer):
        exchange(line, server, json.dumps(GOOD).replace("7200", told))


@pytest.mark.parametrize(
    "change",
    [
        {"token_type": "mac"},
        {"token_type": ""},
        {"access_token": ""},
        {"access_token": "a b\r\nX: y"},
        {"access_token": "a" * 5000},
        {"refresh_token": "ü"},
    ],
    ids=str,
)
def test_token_that_cannot_be_one_is_a_malformed_answer(
    line: Line, server: ScriptedServer, change: dict[str, Any]
) -> None:
    with pytest.raises(MalformedAnswer):
        exchange(line, server, json.dumps({**GOOD, **change}))
