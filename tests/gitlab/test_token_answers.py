"""A pair from GitLab comes only once: nothing else in the answer may lose the tokens (RFC 6749 §5.1)."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from portal.gitlab import oauth
from portal.gitlab.answers import MalformedAnswer
from portal.net import HostSession
from portal.vault import Secret
from tests.gitlab.malformed import ScriptedServer, response

APPLICATION = oauth.ClientCredentials("client", Secret("a secret of the tests"))
CALLBACK = "http://127.0.0.1:8000/oauth/callback/gitlab"
GOOD = {"access_token": "a" * 64, "refresh_token": "b" * 64, "token_type": "Bearer", "expires_in": 7200}


def exchange(http: HostSession, server: ScriptedServer, answer: bytes) -> oauth.TokenAnswer:
    server.answer = answer
    return oauth.exchange_code(http, APPLICATION, "code", CALLBACK, oauth.new_verifier())


def pair_of(found: oauth.TokenAnswer) -> tuple[str, str | None]:
    assert found.access_token is not None
    return found.access_token.reveal(), found.refresh_token.reveal() if found.refresh_token else None


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7200", 7200),
        ('"7200"', 7200),
        ("7200.0", 7200),
        ("7199.9", 7199),
        ("0.5", 1),
        ("1", 1),
        (str(400 * 86400), 400 * 86400),
        ("null", None),
        # GitLab's own lifetime instead of a value that makes no sense.
        *((odd, 7200) for odd in ("0", "-1", "1e308", "1e999", "9" * 30, '"-1"', '"soon"', "true", "[]", "{}", "NaN")),
    ],
)
def test_lifetime_is_a_number_of_seconds_that_makes_sense_and_never_loses_the_pair(
    http: HostSession, server: ScriptedServer, told: str, seconds: int | None
) -> None:
    found = exchange(http, server, response(json.dumps(GOOD).replace("7200", told).encode()))

    assert found.expires_in == seconds
    assert pair_of(found) == ("a" * 64, "b" * 64)


@pytest.mark.parametrize(
    ("told", "scopes"),
    [
        ({"scope": "read_api  read_user"}, ("read_api", "read_user")),
        ({"scope": ["read_api", "read_user"]}, ("read_api", "read_user")),
        ({"scope": ""}, ()),
        ({}, None),
        ({"scope": None}, None),
        ({"scope": 7}, None),
        ({"scope": ["read_api", 7]}, None),
    ],
)
def test_scopes_are_told_or_not_and_never_lose_the_pair(
    http: HostSession, server: ScriptedServer, told: dict[str, Any], scopes: tuple[str, ...] | None
) -> None:
    found = exchange(http, server, response(json.dumps({**GOOD, **told}).encode()))

    assert found.scopes == scopes
    assert pair_of(found) == ("a" * 64, "b" * 64)


@pytest.mark.parametrize(
    ("change", "refresh_token", "is_bearer"),
    [
        ({"token_type": "bearer"}, "b" * 64, True),
        ({"token_type": ""}, "b" * 64, True),
        ({"token_type": None}, "b" * 64, True),
        ({"token_type": "mac"}, "b" * 64, False),
        ({"refresh_token": None}, None, True),
        ({"refresh_token": "ü"}, None, True),
        ({"refresh_token": ["b"]}, None, True),
        ({"created_at": "yesterday", "id_token": 7, "more": {"a": [1]}}, "b" * 64, True),
    ],
    ids=str,
)
def test_access_token_is_found_whatever_the_other_members_are(
    http: HostSession,
    server: ScriptedServer,
    change: dict[str, Any],
    refresh_token: str | None,
    is_bearer: bool,
) -> None:
    found = exchange(http, server, response(json.dumps({**GOOD, **change}).encode()))

    assert pair_of(found) == ("a" * 64, refresh_token)
    assert found.is_bearer is is_bearer


BODY = json.dumps(GOOD).encode()
SHELLS = {
    "created": response(BODY, status="201 Created"),
    "text": response(BODY, content_type="text/plain"),
    "html": response(BODY, content_type="text/html; charset=utf-8"),
    "form": response(BODY, content_type="application/x-www-form-urlencoded"),
    "no type": response(BODY, content_type=""),
    "byte order mark": response(b"\xef\xbb\xbf" + BODY),
    "utf-16": response(json.dumps(GOOD).encode("utf-16")),
    "gzip": response(gzip.compress(BODY), headers=("Content-Encoding: gzip",)),
    "gzip unsaid": response(gzip.compress(BODY)),
    "deflate": response(zlib.compress(BODY), headers=("Content-Encoding: deflate",)),
    "said to be gzip": response(BODY, headers=("Content-Encoding: gzip",)),
    "said to be brotli": response(BODY, headers=("Content-Encoding: br",)),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_pair_is_found_whatever_it_is_said_to_come_as(http: HostSession, server: ScriptedServer, shell: str) -> None:
    assert pair_of(exchange(http, server, SHELLS[shell])) == ("a" * 64, "b" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"access_token": ""},
        {"access_token": None},
        {"access_token": "a b\r\nX: y"},
        {"access_token": "a" * 5000},
        {"access_token": {"token": "a"}},
    ],
    ids=str,
)
def test_answer_without_an_access_token_that_can_be_sent_keeps_the_other_half(
    http: HostSession, server: ScriptedServer, change: dict[str, Any]
) -> None:
    found = exchange(http, server, response(json.dumps({**GOOD, **change}).encode()))
    assert found.access_token is None
    assert found.stands_for_both.reveal() == "b" * 64

    with pytest.raises(MalformedAnswer):
        exchange(http, server, response(json.dumps({**GOOD, **change, "refresh_token": None}).encode()))


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"<!doctype html>", b"[" * 100_000, BODY[:-20]], ids=len)
def test_body_that_is_no_token_answer_is_malformed(http: HostSession, server: ScriptedServer, body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        exchange(http, server, response(body))
