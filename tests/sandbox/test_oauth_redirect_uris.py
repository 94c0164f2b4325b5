"""What may be registered as a redirect URI, and what a request may use of it."""

from __future__ import annotations

import pytest

from portal.sandbox.oauth.redirect_uris import matches, registration_errors


@pytest.mark.parametrize(
    ("registered", "requested", "expected"),
    [
        ("https://p.example/cb", "https://p.example/cb", True),
        ("https://p.example/cb", "https://p.example/cb/", False),
        ("https://p.example/cb", "http://p.example/cb", False),
        ("https://p.example/cb", "https://p.example:444/cb", False),
        ("https://p.example/cb", "https://p.example:443/cb", True),
        ("https://a.example/1\nhttps://b.example/2", "https://b.example/2", True),
        ("https://p.example/cb", "https://p.example/cb?extra=1", True),
        ("https://p.example/cb?a=1&b=2", "https://p.example/cb?b=2&a=1", True),
        ("https://p.example/cb?a=1", "https://p.example/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:8000/cb", True),
        ("http://127.0.0.1:3000/cb", "http://127.0.0.1:8000/cb", True),
        ("http://[::1]/cb", "http://[::1]:8000/cb", True),
        ("http://localhost/cb", "http://localhost:8000/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.2:8000/cb", False),
        ("https://p.example/cb", "https://p.example/cb#part", False),
        ("https://p.example/cb", "https://u:p@p.example/cb", False),
        ("https://p.example/cb", "not a uri", False),
        ("https://p.example/cb", "https://p.example:x/cb", False),
    ],
)
def test_request_uri_matches_registered_value(registered: str, requested: str, expected: bool) -> None:
    assert matches(registered, requested) is expected


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("https://p.example/cb", []),
        ("http://localhost:8000/cb\nmyapp://callback/done", []),
        ("", ["can't be blank"]),
        ("https://p.example/cb#x", ["cannot contain a fragment."]),
        ("p.example/cb", ["must be an absolute URI."]),
        ("localhost:8000/cb", ["must specify a scheme."]),
        ("https:///cb", ["must be a valid URI."]),
        ("https://[p.example/cb", ["must be a valid URI."]),
        ("javascript://p.example/x", ["is forbidden by the server."]),
        ("data:text/html,x", ["is forbidden by the server.", "must specify a scheme."]),
        ("https://p.example/a#x\nhttps://p.example/b#y", ["cannot contain a fragment."]),
    ],
)
def test_registration_tells_gitlabs_messages(text: str, messages: list[str]) -> None:
    assert registration_errors(text) == messages
