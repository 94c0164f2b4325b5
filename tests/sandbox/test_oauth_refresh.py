"""Refreshing: one use, both halves of the old pair die at once, and the order of refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from authlib.integrations.httpx_client import OAuth2Client, OAuthError

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.sandbox.consent import CALLBACK, VERIFIER, Registered


@pytest.fixture
def pair(root: Person, registered: Registered) -> dict[str, Any]:
    body: dict[str, Any] = registered.exchange(registered.code(root, scope="api read_user")).json()
    return body


def token_info(registered: Registered, access_token: str) -> int:
    headers = {"Authorization": f"Bearer {access_token}"}
    return httpx2.get(f"{registered.base}/oauth/token/info", headers=headers, trust_env=False).status_code


def outcome(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", "")


def test_refresh_answers_a_new_pair_and_kills_the_old_one(registered: Registered, pair: dict[str, Any]) -> None:
    answer = registered.refresh(pair["refresh_token"])

    new = answer.json()
    assert answer.status_code == 200
    assert new.keys() == pair.keys()
    assert (new["scope"], new["expires_in"]) == ("api read_user", 7200)
    assert {new["access_token"], new["refresh_token"]}.isdisjoint({pair["access_token"], pair["refresh_token"]})
    assert outcome(registered.refresh(pair["refresh_token"])) == (400, "invalid_grant")
    assert token_info(registered, pair["access_token"]) == 400
    assert token_info(registered, new["access_token"]) == 200


def test_refresh_works_after_the_access_token_expired(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.clock.advance(7201)

    assert token_info(registered, pair["access_token"]) == 400
    assert registered.refresh(pair["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"refresh_token": None}, (400, "invalid_request")),
        ({"refresh_token": None, "client_secret": "bad"}, (400, "invalid_request")),
        ({"refresh_token": "dead"}, (400, "invalid_grant")),
        ({"refresh_token": "dead", "client_secret": "bad"}, (400, "invalid_grant")),
        ({"client_secret": "bad"}, (401, "invalid_client")),
        ({"client_id": "nobody"}, (401, "invalid_client")),
        ({"client_id": None, "client_secret": None}, (400, "invalid_grant")),
        ({"scope": "api sudo"}, (400, "invalid_scope")),
    ],
)
def test_refresh_refusals_leave_the_pair_alive(
    registered: Registered, pair: dict[str, Any], changes: dict[str, str | None], expected: tuple[int, str]
) -> None:
    answer = registered.refresh(**({"refresh_token": pair["refresh_token"]} | changes))

    assert outcome(answer) == expected
    assert registered.refresh(pair["refresh_token"]).status_code == 200


def test_token_of_another_application_is_refused(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    other, secret = sandbox.world.oauth.create_application("Other", CALLBACK, ["api"])

    answer = registered.refresh(pair["refresh_token"], client_id=other.uid, client_secret=secret)

    assert outcome(answer) == (400, "invalid_grant")


def test_narrower_scope_is_granted(registered: Registered, pair: dict[str, Any]) -> None:
    assert registered.refresh(pair["refresh_token"], scope="read_user").json()["scope"] == "read_user"


def test_two_refreshes_at_once_have_one_winner(registered: Registered, pair: dict[str, Any]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: registered.refresh(pair["refresh_token"]), range(8)))

    assert sorted(map(outcome, answers)) == [(200, ""), *[(400, "invalid_grant")] * 7]


def test_lazy_mode_keeps_the_old_pair_until_the_new_one_is_used(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.settings.lazy_refresh = True

    new = registered.refresh(pair["refresh_token"]).json()
    before_use = token_info(registered, pair["access_token"])
    assert sandbox.world.oauth.find_access_token(new["access_token"]) is not None

    assert before_use == 200
    assert token_info(registered, pair["access_token"]) == 400


def test_renewed_secret_refuses_the_old_one(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    renewed = sandbox.world.oauth.renew_secret(registered.application.id)

    assert outcome(registered.refresh(pair["refresh_token"])) == (401, "invalid_client")
    assert registered.refresh(pair["refresh_token"], client_secret=renewed).status_code == 200


def test_deleted_application_takes_its_tokens_along(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.oauth.delete_application(registered.application.id)

    assert sandbox.world.oauth.find_access_token(pair["access_token"]) is None
    assert outcome(registered.refresh(pair["refresh_token"])) == (400, "invalid_grant")


def test_revoking_the_application_among_authorized_ones_kills_the_tokens(
    sandbox: RunningSandbox, root: Person, registered: Registered, pair: dict[str, Any]
) -> None:
    page = root.get("/-/user_settings/applications")

    root.press(page, "Revoke")

    token = sandbox.world.oauth.find_access_token(pair["access_token"])
    assert token is not None
    assert token.is_revoked
    assert outcome(registered.refresh(pair["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_client_passes_the_whole_flow(root: Person, registered: Registered, method: str) -> None:
    client = OAuth2Client(
        registered.application.uid,
        registered.secret,
        token_endpoint_auth_method=method,
        scope="api",
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        trust_env=False,
    )
    base = registered.base
    url, state = client.create_authorization_url(f"{base}/oauth/authorize", code_verifier=VERIFIER)
    answer = root.press(root.get(url), "Authorize Portal")

    first = client.fetch_token(
        f"{base}/oauth/token",
        authorization_response=answer.headers["Location"],
        state=state,
        code_verifier=VERIFIER,
    )
    second = client.refresh_token(f"{base}/oauth/token", refresh_token=first["refresh_token"])
    active = client.introspect_token(f"{base}/oauth/introspect", token=second["access_token"]).json()
    revoked = client.revoke_token(f"{base}/oauth/revoke", token=second["access_token"])
    inactive = client.introspect_token(f"{base}/oauth/introspect", token=second["access_token"]).json()

    assert active["active"] is True
    assert active["client_id"] == registered.application.uid
    assert (revoked.status_code, revoked.json()) == (200, {})
    assert inactive == {"active": False}
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.refresh_token(f"{base}/oauth/token", refresh_token=first["refresh_token"])
    client.close()
