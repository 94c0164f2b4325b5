"""Only what is needed must be right in a single answer: a null or wrong value elsewhere only loses that field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portal.gitlab.answers import Discovery, MalformedAnswer, Metadata, TokenInfo, User, read_answer
from portal.net import HostSession
from tests.gitlab.malformed import ScriptedServer, response

GOOD: dict[type[Any], dict[str, Any]] = {
    User: {"id": 7, "username": "gatehouse", "name": "G", "state": "active", "is_admin": False, "external": False},
    Metadata: {"version": "18.5.0-ee", "revision": "abc", "enterprise": True},
    Discovery: {
        "issuer": "https://gitlab.example.com",
        "authorization_endpoint": "https://gitlab.example.com/oauth/authorize",
        "scopes_supported": ["api"],
        "authorization_response_iss_parameter_supported": True,
    },
    TokenInfo: {"resource_owner_id": 7, "scope": ["api"], "expires_in": 7200},
}
# No scope named is not the same as none left.
NEEDED = {"id", "username", "version", "issuer", "authorization_endpoint", "resource_owner_id", "scope"}


@pytest.mark.parametrize("shape", GOOD, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("wrong", [None, {"a": [1]}, 10**30])
def test_field_that_is_wrong_costs_the_answer_only_if_it_is_needed(
    server: ScriptedServer, http: HostSession, shape: type[Any], wrong: Any
) -> None:
    for name in GOOD[shape]:
        server.answer = response(json.dumps({**GOOD[shape], name: wrong}).encode())
        answer = http.fetch("GET", "/anything")
        if name in NEEDED:
            with pytest.raises(MalformedAnswer):
                read_answer(answer, shape)
        else:
            found = read_answer(answer, shape)
            assert getattr(found, name) in {None, "", False, ()}
            others = GOOD[shape].keys() - {name}
            assert all(getattr(found, other) in (GOOD[shape][other], ("api",)) for other in others)
