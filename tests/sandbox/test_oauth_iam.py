"""GitLab's IAM service: stateless access tokens, families of refresh tokens, and another server's behaviour."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.sandbox.consent import CALLBACK, CHALLENGE, VERIFIER, Registered
from tests.sandbox.rest import with_token

BARE = {"message": "401 Unauthorized"}


@pytest.fixture
def iam(sandbox: RunningSandbox, registered: Registered) -> Registered:
    sandbox.world.oauth.use_iam(registered.application.id)
    return registered


@pytest.fixture
def pair(root: Person, iam: Registered) -> dict[str, Any]:
    body: dict[str, Any] = iam.exchange(iam.code(root, scope="api openid")).json()
    return body


def user(sandbox: RunningSandbox, access_token: str) -> httpx2.Response:
    with with_token(sandbox, access_token) as client:
        return client.get("/user")


def outcome(answer: httpx2.Response) -> tuple[int, str]:
    assert "WWW-Authenticate" not in answer.headers
    return answer.status_code, answer.json().get("error", "")


def test_access_token_is_a_prefixed_jwt_that_the_published_keys_verify(
    sandbox: RunningSandbox, iam: Registered, pair: dict[str, Any]
) -> None:
    keys = KeySet.import_key_set(httpx2.get(f"{sandbox.url}/oauth/discovery/keys", trust_env=False).json())

    claims = jwt.decode(pair["access_token"].removeprefix("giat_"), keys, algorithms=["RS256"]).claims

    assert pair["access_token"].startswith("giat_")
    assert pair.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope", "id_token"}
    assert (pair["token_type"], pair["expires_in"], pair["scope"]) == ("bearer", 7200, "api openid")
    assert (claims["sub"], claims["scope"], claims["iss"]) == ("1", "api openid", sandbox.url)
    assert user(sandbox, pair["access_token"]).json()["username"] == "root"
    assert user(sandbox, pair["access_token"][:-2] + "xx").json() == BARE


def test_old_access_token_lives_on_after_its_refresh_to_its_own_end(
    sandbox: RunningSandbox, iam: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.clock.freeze()
    new = iam.refresh(pair["refresh_token"])
    after_refresh = user(sandbox, pair["access_token"])
    sandbox.world.clock.advance(7200)
    just_over = user(sandbox, pair["access_token"])
    sandbox.world.clock.advance(30)
    long_over = user(sandbox, pair["access_token"])

    assert (new.status_code, after_refresh.status_code) == (200, 200)
    assert (just_over.status_code, just_over.json()["error"]) == (401, "invalid_token")
    assert (long_over.status_code, long_over.json()) == (401, BARE)


def test_reuse_of_a_spent_refresh_token_ends_the_family(
    sandbox: RunningSandbox, root: Person, iam: Registered, pair: dict[str, Any]
) -> None:
    other_family = iam.exchange(iam.code(root, scope="api openid")).json()
    new = iam.refresh(pair["refresh_token"]).json()

    reused = iam.refresh(pair["refresh_token"])

    assert outcome(reused) == (400, "invalid_grant")
    assert outcome(iam.refresh(new["refresh_token"])) == (400, "invalid_grant")
    assert user(sandbox, new["access_token"]).status_code == 200
    assert outcome(iam.refresh(other_family["refresh_token"])) == (200, "")


def test_reuse_of_a_code_ends_the_family(root: Person, iam: Registered) -> None:
    code = iam.code(root)
    pair = iam.exchange(code).json()

    assert outcome(iam.exchange(code)) == (400, "invalid_grant")
    assert outcome(iam.refresh(pair["refresh_token"])) == (400, "invalid_grant")


def test_two_refreshes_at_once_have_one_winner_and_end_the_family(iam: Registered, pair: dict[str, Any]) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: iam.refresh(pair["refresh_token"]), range(4)))

    won = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    assert outcome(iam.refresh(won[0]["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"grant_type": None}, (400, "invalid_request")),
        ({"grant_type": "magic"}, (400, "unsupported_grant_type")),
        ({"client_secret": "bad"}, (401, "invalid_client")),
        ({"client_secret": None}, (401, "invalid_client")),
        # The client is checked first, so a dead token does not change the answer, nor does it count as reuse.
        ({"client_secret": "bad", "refresh_token": "dead"}, (401, "invalid_client")),
        ({"refresh_token": "dead"}, (400, "invalid_grant")),
        ({"refresh_token": None}, (400, "invalid_grant")),
        ({"scope": "api sudo"}, (400, "invalid_scope")),
    ],
)
def test_refusals_leave_the_pair_alive(
    iam: Registered, pair: dict[str, Any], changes: dict[str, str | None], expected: tuple[int, str]
) -> None:
    answer = iam.refresh(**({"refresh_token": pair["refresh_token"]} | changes))

    assert outcome(answer) == expected
    assert iam.refresh(pair["refresh_token"]).status_code == 200


def test_scope_that_the_application_lost_is_refused_until_it_is_back(
    sandbox: RunningSandbox, iam: Registered, pair: dict[str, Any]
) -> None:
    def allow(*scopes: str) -> None:
        sandbox.world.oauth.update_application(iam.application.id, "Portal", CALLBACK, scopes, True, False)

    allow("openid")
    refused = iam.refresh(pair["refresh_token"])
    allow("api", "openid")

    assert outcome(refused) == (400, "invalid_scope")
    assert iam.refresh(pair["refresh_token"]).json()["scope"] == "api openid"


@pytest.mark.parametrize("half", ["access_token", "refresh_token"])
def test_revoking_answers_nothing_and_kills_the_refresh_token_only(
    sandbox: RunningSandbox, iam: Registered, pair: dict[str, Any], half: str
) -> None:
    answer = iam.post("revoke", token=pair[half], **iam.credentials)
    unknown = iam.post("revoke", token="unknown", **iam.credentials)
    wrong = iam.post("revoke", token=pair[half], client_id=iam.application.uid, client_secret="bad")
    inactive = iam.post("introspect", token=pair["access_token"], **iam.credentials)

    assert [(a.status_code, a.content) for a in (answer, unknown)] == [(200, b"")] * 2
    assert outcome(wrong) == (401, "invalid_client")
    assert outcome(iam.refresh(pair["refresh_token"])) == (400, "invalid_grant")
    assert inactive.json() == {"active": False}
    assert user(sandbox, pair["access_token"]).status_code == 200


def test_deleted_application_leaves_its_access_tokens_alive(
    sandbox: RunningSandbox, iam: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.oauth.delete_application(iam.application.id)

    assert user(sandbox, pair["access_token"]).status_code == 200
    assert iam.refresh(pair["refresh_token"]).status_code == 400


def test_token_info_does_not_know_its_tokens(sandbox: RunningSandbox, iam: Registered, pair: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {pair['access_token']}"}

    by_application = httpx2.get(f"{sandbox.url}/oauth/token/info", headers=headers, trust_env=False)
    sandbox.world.settings.iam = True
    by_gitlab = httpx2.get(f"{sandbox.url}/oauth/token/info", headers=headers, trust_env=False)
    userinfo = httpx2.get(f"{sandbox.url}/oauth/userinfo", headers=headers, trust_env=False)

    assert (by_application.status_code, by_gitlab.status_code) == (400, 404)
    assert userinfo.json()["preferred_username"] == "root"


def test_challenge_of_the_code_is_checked(root: Person, iam: Registered) -> None:
    code = iam.code(root, code_challenge=CHALLENGE, code_challenge_method="S256")

    assert outcome(iam.exchange(code, code_verifier="x" * 43)) == (400, "invalid_grant")
    assert outcome(iam.exchange(code, code_verifier=VERIFIER)) == (200, "")


def test_applications_move_one_by_one(sandbox: RunningSandbox, root: Person, registered: Registered) -> None:
    before = registered.exchange(registered.code(root)).json()

    sandbox.world.oauth.use_iam(registered.application.id)
    refused = registered.refresh(before["refresh_token"])
    still = user(sandbox, before["access_token"])
    sandbox.world.oauth.use_iam(registered.application.id, False)

    assert (before["token_type"], len(before["access_token"])) == ("Bearer", 64)
    # The service never saw the engine's tokens; the API knows both kinds.
    assert outcome(refused) == (400, "invalid_grant")
    assert still.status_code == 200
    assert registered.refresh(before["refresh_token"]).status_code == 200


def test_option_puts_the_service_in_charge_of_everything() -> None:
    with RunningSandbox(iam=True) as sandbox, Person(sandbox.url) as person:
        person.sign_in("root")
        sandbox.world.settings.iam_token_prefix = "gliamat-"
        application, secret = sandbox.world.oauth.create_application("Portal", CALLBACK, ["api"])
        registered = Registered(application, secret, sandbox.url)

        pair = registered.exchange(registered.code(person)).json()
        unknown = person.get("/oauth/authorize", **registered.query(client_id="nobody"))
        unregistered = registered.refresh(pair["refresh_token"], client_id="nobody")

        assert pair["access_token"].startswith("gliamat-")
        assert user(sandbox, pair["access_token"]).status_code == 200
        assert unknown.status_code == 401
        assert outcome(unregistered) == (401, "invalid_client")
