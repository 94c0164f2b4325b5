"""Tokens and accounts: the three kinds of 401, scopes, and accounts that may not act."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import anonymous, api, with_token

UNKNOWN = {"message": "401 Unauthorized"}
EXPIRED = "Token is expired. You can either do re-authorization or token refresh."
REVOKED = "Token was revoked. You have to re-authorize from the user."


def oauth_token(sandbox: RunningSandbox, username: str = "gatehouse", scopes: tuple[str, ...] = ("api",)) -> str:
    application, _ = sandbox.world.oauth.create_application("Portal", "http://127.0.0.1/cb", ("api", "read_user"))
    user = sandbox.world.user_by_username(username)
    return sandbox.world.oauth.create_token(application.id, user.id, scopes).access_token


@pytest.mark.parametrize("path", ["/user", "/version", "/groups?per_page=1", "/projects?per_page=1"])
def test_unknown_token_is_refused_even_where_none_is_needed(sandbox: RunningSandbox, path: str) -> None:
    with with_token(sandbox, "glpat-nonsense") as client:
        answer = client.get(path)

    assert (answer.status_code, answer.json()) == (401, UNKNOWN)


def test_missing_token_is_refused_on_protected_endpoints_only(sandbox: RunningSandbox) -> None:
    with anonymous(sandbox) as client:
        assert client.get("/version").json() == UNKNOWN
        assert client.get("/projects").status_code == 200


def test_expired_and_revoked_tokens_say_so(sandbox: RunningSandbox) -> None:
    with with_token(sandbox, oauth_token(sandbox)) as client:
        assert client.get("/user").status_code == 200
        sandbox.world.clock.advance(7201)
        expired = client.get("/user")
    token = oauth_token(sandbox)
    sandbox.world.oauth.revoke_token(sandbox.world.oauth.find_access_token(token))
    with with_token(sandbox, token) as client:
        revoked = client.get("/user")

    assert (expired.status_code, expired.json()) == (401, {"error": "invalid_token", "error_description": EXPIRED})
    assert (revoked.status_code, revoked.json()) == (401, {"error": "invalid_token", "error_description": REVOKED})
    assert 'error="invalid_token"' in revoked.headers["WWW-Authenticate"]


def test_personal_tokens_expire_at_the_begin_of_their_day(sandbox: RunningSandbox) -> None:
    today = sandbox.world.now().date()
    with with_token(sandbox, sandbox.token("gatehouse", expires_at=today)) as client:
        assert client.get("/user").json()["error_description"] == EXPIRED
    with with_token(sandbox, sandbox.token("gatehouse", expires_at=today + timedelta(days=1))) as client:
        assert client.get("/user").status_code == 200


def test_private_token_header_takes_personal_tokens_only(sandbox: RunningSandbox) -> None:
    with anonymous(sandbox) as client:
        personal = client.get("/user", headers={"PRIVATE-TOKEN": sandbox.token("gatehouse")})
        oauth = client.get("/user", headers={"PRIVATE-TOKEN": oauth_token(sandbox)})

    assert personal.status_code == 200
    assert (oauth.status_code, oauth.json()) == (401, UNKNOWN)


def test_tokens_may_travel_in_the_query(sandbox: RunningSandbox) -> None:
    with anonymous(sandbox) as client:
        assert client.get("/user", params={"private_token": sandbox.token("dev")}).json()["username"] == "dev"
        assert client.get("/user", params={"access_token": oauth_token(sandbox)}).json()["username"] == "gatehouse"


def test_switched_off_personal_tokens_are_unknown(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.personal_tokens_enabled = False
    with api(sandbox) as client:
        assert (client.get("/user").status_code, client.get("/user").json()) == (401, UNKNOWN)


def test_impersonation_token_depends_on_the_setting(sandbox: RunningSandbox) -> None:
    with with_token(sandbox, sandbox.token("dev", impersonation=True)) as client:
        assert client.get("/user").json()["username"] == "dev"
        sandbox.world.settings.impersonation_enabled = False
        answer = client.get("/user")

    assert answer.status_code == 401
    assert answer.json()["error_description"].startswith("Token is an impersonation token")


@pytest.mark.parametrize(
    ("scope", "method", "path", "accepted"),
    [
        ("read_user", "GET", "/projects", "api read_api"),
        ("read_repository", "GET", "/user", "api read_api read_user"),
        ("read_api", "POST", "/projects/1/hooks", "api"),
    ],
)
def test_scope_too_narrow_tells_which_would_do(
    sandbox: RunningSandbox, scope: str, method: str, path: str, accepted: str
) -> None:
    with api(sandbox, "gatehouse", scope) as client:
        answer = client.request(method, path)

    assert answer.status_code == 403
    assert answer.json() == {
        "error": "insufficient_scope",
        "error_description": "The request requires higher privileges than provided by the access token.",
        "scope": accepted,
    }
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("scope", ["api", "read_api", "read_user"])
def test_each_of_these_scopes_reads_the_version(sandbox: RunningSandbox, scope: str) -> None:
    with api(sandbox, "gatehouse", scope) as client:
        assert client.get("/version").status_code == client.get("/user").status_code == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": "blocked"}, "Your account has been blocked."),
        ({"state": "blocked_pending_approval"}, "Your account is pending approval"),
        ({"state": "deactivated"}, "Your account has been deactivated by your administrator."),
        ({"confirmed": False}, "Your primary email address is not confirmed."),
        ({"password_expired": True}, "Your password expired."),
    ],
)
def test_account_that_may_not_act_is_told_why(sandbox: RunningSandbox, change: dict[str, object], words: str) -> None:
    user = sandbox.world.user_by_username("gatehouse")
    for name, value in change.items():
        setattr(user, name, value)
    with api(sandbox) as client:
        answer = client.get("/user")

    assert answer.status_code == 403
    assert answer.json()["message"].startswith(f"403 Forbidden - {words}")


def test_terms_of_service_must_be_accepted_when_enforced(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.terms_enforced = True
    sandbox.world.user_by_username("gatehouse").terms_accepted = False
    with api(sandbox) as client:
        message = client.get("/user").json()["message"]

    assert message.startswith("403 Forbidden - You (@gatehouse) must accept the Terms of Service")


def test_answers_carry_what_support_asks_for(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        good, bad = client.get("/version"), client.get("/projects/999999")

    for answer in (good, bad):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"] in answer.headers["x-gitlab-meta"]
        assert "x-runtime" in answer.headers
    assert good.headers["x-request-id"] != bad.headers["x-request-id"]


def test_date_header_follows_gitlabs_clock(sandbox: RunningSandbox) -> None:
    sandbox.world.clock.advance(86400 * 365)
    with anonymous(sandbox) as client:
        assert str(sandbox.world.now().year) in client.get("/projects").headers["date"]


def test_bots_of_group_and_project_tokens_see_their_place_only(sandbox: RunningSandbox) -> None:
    world = sandbox.world
    project = world.project("web/shop/storefront")
    for token, expected in (
        (world.create_project_token(project), {"web/shop/storefront"}),
        (world.create_group_token(world.group("mobile/ios")), {"mobile/ios/ios-app"}),
    ):
        with with_token(sandbox, token) as client:
            found = {row["path_with_namespace"] for row in client.get("/projects?membership=true&active=true").json()}
            assert found == expected
            assert client.get("/user").json()["bot"] is True


def test_connection_stays_open_between_requests(sandbox: RunningSandbox) -> None:
    with httpx2.Client(base_url=sandbox.api, trust_env=False) as client:
        first, second = client.get("/projects"), client.head("/projects")

    assert (first.http_version, second.content) == ("HTTP/1.1", b"")
    assert "connection" not in first.headers
