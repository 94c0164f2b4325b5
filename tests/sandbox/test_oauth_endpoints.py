"""token/info, revoke, introspect, OpenID Connect, and the lesser grants."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from portal.sandbox.oauth import texts
from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.sandbox.consent import Registered


def get(url: str, token: str = "", **query: str) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.get(url, headers=headers, params=query, trust_env=False)


@pytest.fixture
def pair(root: Person, registered: Registered) -> dict[str, Any]:
    body: dict[str, Any] = registered.exchange(registered.code(root, scope="api openid email", nonce="n-1")).json()
    return body


def test_token_info_tells_person_scopes_and_application(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.clock.advance(200)

    body = get(f"{sandbox.url}/oauth/token/info", pair["access_token"]).json()

    assert body.pop("expires_in") == body.pop("expires_in_seconds")
    assert body == {
        "resource_owner_id": 1,
        "scope": ["api", "openid", "email"],
        "application": {"uid": registered.application.uid},
        "created_at": pair["created_at"],
        "scopes": ["api", "openid", "email"],
    }
    assert get(f"{sandbox.url}/oauth/token/info", access_token=pair["access_token"]).status_code == 200


def test_token_info_of_a_bad_token_is_a_bad_request(sandbox: RunningSandbox) -> None:
    answer = get(f"{sandbox.url}/oauth/token/info", "nonsense")

    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_request", "error_description": texts.INVALID_REQUEST}
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="Doorkeeper", error="invalid_request"')


@pytest.mark.parametrize("half", ["access_token", "refresh_token"])
def test_revoking_either_half_kills_both(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any], half: str
) -> None:
    answer = registered.post("revoke", token=pair[half], **registered.credentials)

    assert (answer.status_code, answer.json()) == (200, {})
    assert get(f"{sandbox.url}/oauth/token/info", pair["access_token"]).status_code == 400
    assert registered.refresh(pair["refresh_token"]).status_code == 400


@pytest.mark.parametrize("token", ["unknown", None])
def test_revoking_nothing_is_fine(registered: Registered, token: str | None) -> None:
    answer = registered.post("revoke", token=token, **registered.credentials)

    assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize("changes", [{"client_secret": "bad"}, {"client_id": None, "client_secret": None}])
def test_revoking_without_right_client_is_forbidden(
    registered: Registered, pair: dict[str, Any], changes: dict[str, str | None]
) -> None:
    form: dict[str, str | None] = {**registered.credentials, **changes}

    answer = registered.post("revoke", token=pair["access_token"], **form)

    assert answer.status_code == 403
    assert answer.json() == {
        "error": "unauthorized_client",
        "error_description": "You are not authorized to revoke this token",
    }


def test_introspection_refuses_unknown_callers(registered: Registered, pair: dict[str, Any]) -> None:
    visitor = registered.post("introspect", token=pair["access_token"])
    wrong = registered.post("introspect", token=pair["access_token"], client_id="nobody", client_secret="bad")
    dead = registered.post("introspect", token="dead", **registered.credentials)

    assert (visitor.status_code, visitor.json()["error"]) == (400, "invalid_request")
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    assert dead.json() == {"active": False}


def test_id_token_is_signed_and_names_the_person(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    keys = KeySet.import_key_set(get(f"{sandbox.url}/oauth/discovery/keys").json())

    claims = jwt.decode(pair["id_token"], keys, algorithms=["RS256"]).claims

    assert claims["iss"] == sandbox.world.settings.external_url
    assert (claims["sub"], claims["aud"], claims["nonce"]) == ("1", registered.application.uid, "n-1")


def test_userinfo_needs_the_openid_scope(
    sandbox: RunningSandbox, root: Person, registered: Registered, pair: dict[str, Any]
) -> None:
    plain = registered.exchange(registered.code(root, scope="api")).json()

    body = get(f"{sandbox.url}/oauth/userinfo", pair["access_token"]).json()

    assert (body["sub"], body["preferred_username"], body["email_verified"]) == ("1", "root", True)
    assert get(f"{sandbox.url}/oauth/userinfo", plain["access_token"]).status_code == 403


def test_userinfo_says_why_in_a_header_only(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    new = registered.refresh(pair["refresh_token"]).json()
    unknown, revoked = (get(f"{sandbox.url}/oauth/userinfo", text) for text in ("nonsense", pair["access_token"]))
    sandbox.world.clock.advance(7201)
    expired = get(f"{sandbox.url}/oauth/userinfo", new["access_token"])

    assert [(a.status_code, a.content) for a in (unknown, revoked, expired)] == [(401, b"")] * 3
    reasons = [a.headers["WWW-Authenticate"].partition("error_description=")[2] for a in (unknown, revoked, expired)]
    assert reasons == [
        '"The access token is invalid"',
        '"The access token was revoked"',
        '"The access token expired"',
    ]


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/oauth/token/info", "/users/sign_in"])
def test_every_answer_has_rails_headers_and_says_that_it_is_the_sandbox(sandbox: RunningSandbox, path: str) -> None:
    headers = get(f"{sandbox.url}{path}").headers

    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Permitted-Cross-Domain-Policies"] == "none"
    assert headers["X-Gitlab-Meta"] == f'{{"correlation_id":"{headers["X-Request-Id"]}","version":"1"}}'
    assert headers["X-Gatehouse-Sandbox"] == "demo"


def test_discovery_tells_the_configured_address_and_this_releases_scopes(
    sandbox: RunningSandbox, old_sandbox: RunningSandbox
) -> None:
    new = get(f"{sandbox.url}/.well-known/openid-configuration").json()
    old = get(f"{old_sandbox.url}/.well-known/openid-configuration").json()

    external = sandbox.world.settings.external_url
    assert new["issuer"] == external
    assert new["token_endpoint"] == f"{external}/oauth/token"
    assert {"read_api", "admin_mode"} <= set(new["scopes_supported"])
    assert "read_api" not in old["scopes_supported"]
    assert "self_rotate" not in new["scopes_supported"]


def test_client_credentials_give_a_token_that_stands_for_nobody(
    sandbox: RunningSandbox, registered: Registered
) -> None:
    answer = registered.post("token", grant_type="client_credentials", **registered.credentials)

    body = answer.json()
    assert answer.status_code == 200
    assert "refresh_token" not in body
    assert sandbox.world.oauth.find_access_token(body["access_token"]) is None


def test_password_grant_checks_the_client_then_the_person(sandbox: RunningSandbox, registered: Registered) -> None:
    form = {"grant_type": "password", "username": "root", "password": "wrong"}

    assert registered.post("token", **form).status_code == 401
    assert registered.post("token", **form, **registered.credentials).json()["error"] == "invalid_grant"
