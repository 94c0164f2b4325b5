"""OAuth tokens over time: unknown at first, ended early, refused with a reason or without, revoked in name only."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.sandbox.consent import CALLBACK, Registered
from tests.sandbox.rest import with_token

BARE = {"message": "401 Unauthorized"}
REVOKED = "Token was revoked. You have to re-authorize from the user."
EXPIRED = "Token is expired. You can either do re-authorization or token refresh."


@pytest.fixture
def pair(root: Person, registered: Registered) -> dict[str, Any]:
    body: dict[str, Any] = registered.exchange(registered.code(root, scope="api read_user")).json()
    return body


def user(sandbox: RunningSandbox, pair: dict[str, Any]) -> httpx2.Response:
    with with_token(sandbox, pair["access_token"]) as client:
        return client.get("/user")


def token_info(sandbox: RunningSandbox, pair: dict[str, Any]) -> httpx2.Response:
    query = {"access_token": pair["access_token"]}
    return httpx2.get(f"{sandbox.url}/oauth/token/info", params=query, trust_env=False)


def test_token_issued_a_moment_ago_is_unknown_for_a_while(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.clock.freeze()
    sandbox.world.settings.refuse_fresh_tokens_seconds = 2
    fresh = registered.refresh(pair["refresh_token"]).json()

    early, info = user(sandbox, fresh), token_info(sandbox, fresh)
    sandbox.world.clock.advance(2)

    assert (early.status_code, early.json()) == (401, BARE)
    assert "WWW-Authenticate" not in early.headers
    assert info.status_code == 400
    assert (user(sandbox, fresh).status_code, token_info(sandbox, fresh).status_code) == (200, 200)


def test_access_token_may_end_before_it_says(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.oauth.end_access_token(pair["access_token"])
    ended = user(sandbox, pair)
    sandbox.world.clock.freeze()
    sandbox.world.settings.end_tokens_after_seconds = 600
    renewed = registered.refresh(pair["refresh_token"]).json()
    alive = user(sandbox, renewed)
    sandbox.world.clock.advance(600)

    assert (ended.status_code, ended.json()["error_description"]) == (401, EXPIRED)
    assert (renewed["expires_in"], alive.status_code) == (7200, 200)
    assert user(sandbox, renewed).status_code == 401


def test_lifetime_is_what_new_tokens_say_and_live(
    sandbox: RunningSandbox, root: Person, registered: Registered
) -> None:
    sandbox.world.settings.token_lifetime_seconds = 60
    pair = registered.exchange(registered.code(root)).json()
    sandbox.world.clock.advance(61)

    assert pair["expires_in"] == 60
    assert user(sandbox, pair).json()["error_description"] == EXPIRED


def test_reasons_of_a_refusal(sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]) -> None:
    registered.refresh(pair["refresh_token"])
    revoked = user(sandbox, pair)
    sandbox.world.settings.bare_refusals = True
    bare = user(sandbox, pair)
    sandbox.world.settings.bare_refusals = False
    sandbox.world.clock.advance(7201)
    both = user(sandbox, pair)

    assert (revoked.status_code, revoked.json()["error_description"]) == (401, REVOKED)
    assert (bare.status_code, bare.json()) == (401, BARE)
    # GitLab checks the time first.
    assert (both.status_code, both.json()["error_description"]) == (401, EXPIRED)


@pytest.mark.parametrize(
    ("version", "half", "dies"),
    [
        ("16.11.10", "access_token", False),
        ("16.11.10", "refresh_token", False),
        ("18.5.0", "access_token", False),
        ("18.5.0", "refresh_token", True),
    ],
)
def test_revoking_an_expired_pair_answers_200_whether_or_not_it_does_anything(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any], version: str, half: str, dies: bool
) -> None:
    sandbox.world.settings.version = version
    sandbox.world.clock.advance(7201)

    answer = registered.post("revoke", token=pair[half], **registered.credentials)

    assert (answer.status_code, answer.json()) == (200, {})
    assert registered.refresh(pair["refresh_token"]).status_code == (400 if dies else 200)


def test_refresh_loses_the_scopes_that_the_application_lost_for_good(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    def allow(*scopes: str) -> None:
        sandbox.world.oauth.update_application(registered.application.id, "Portal", CALLBACK, scopes, True, False)

    allow("read_user", "email")
    narrowed = registered.refresh(pair["refresh_token"]).json()
    allow("email")
    nothing_left = registered.refresh(narrowed["refresh_token"]).json()
    allow("api", "read_user")
    widened = registered.refresh(nothing_left["refresh_token"]).json()

    assert narrowed["scope"] == "read_user"
    assert "scope" not in nothing_left
    assert "scope" not in widened
    assert token_info(sandbox, widened).json()["scope"] == []
    refused = user(sandbox, widened)
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")


def test_deleted_application_leaves_nothing_to_tell(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.oauth.delete_application(registered.application.id)

    refused, refresh = user(sandbox, pair), registered.refresh(pair["refresh_token"])
    revoked = registered.post("revoke", token=pair["access_token"], **registered.credentials)

    assert (refused.status_code, refused.json()) == (401, BARE)
    assert (refresh.status_code, refresh.json()["error"]) == (400, "invalid_grant")
    assert (revoked.status_code, revoked.json()["error"]) == (403, "unauthorized_client")


def test_proxy_takes_the_token_away(sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]) -> None:
    sandbox.world.settings.proxy_drops_authorization = True

    refused = user(sandbox, pair)

    assert (refused.status_code, refused.json()) == (401, BARE)
    assert registered.refresh(pair["refresh_token"]).status_code == 200
