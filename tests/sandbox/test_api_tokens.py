"""Personal access tokens and applications over REST."""

from __future__ import annotations

from datetime import date, timedelta

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api, with_token
from tests.sandbox.test_api_credentials import REVOKED, oauth_token

WRONG_DAY = "400 Bad request - Expiration date "
CALLBACK = "https://portal.example.com/oauth/callback/x"


def in_days(sandbox: RunningSandbox, days: int) -> str:
    return str(sandbox.world.now().date() + timedelta(days=days))


@pytest.mark.parametrize("scope", ["api", "read_repository", "self_rotate"])
def test_token_tells_about_itself_whatever_its_scope(sandbox: RunningSandbox, scope: str) -> None:
    expires_at = date(2099, 1, 2)
    with with_token(sandbox, sandbox.token("gatehouse", scope, expires_at=expires_at)) as client:
        body = client.get("/personal_access_tokens/self").json()

    assert (body["scopes"], body["expires_at"], body["active"], body["revoked"]) == ([scope], "2099-01-02", True, False)
    assert body["user_id"] == sandbox.world.user_by_username("gatehouse").id


def test_oauth_token_is_the_wrong_kind_here(sandbox: RunningSandbox) -> None:
    with with_token(sandbox, oauth_token(sandbox)) as client:
        answer = client.get("/personal_access_tokens/self")

    assert answer.status_code == 400
    assert answer.json()["message"].startswith("400 Bad request - This endpoint requires token type")


def test_token_revokes_itself(sandbox: RunningSandbox) -> None:
    with api(sandbox, "gatehouse", "read_user") as client:
        assert client.delete("/personal_access_tokens/self").status_code == 204
        assert client.get("/user").json()["error"] == "invalid_token"


def test_rotation_kills_the_old_token_at_once(sandbox: RunningSandbox) -> None:
    with api(sandbox, "gatehouse", "api", "self_rotate") as client:
        body = client.post("/personal_access_tokens/self/rotate").json()
        old = client.get("/user")
    with with_token(sandbox, body["token"]) as client:
        new = client.get("/user")

    assert (old.status_code, new.status_code) == (401, 200)
    assert body["expires_at"] == str(sandbox.world.now().date() + timedelta(days=7))
    assert body["scopes"] == ["api", "self_rotate"]


def test_spent_token_that_is_rotated_again_ends_the_family(sandbox: RunningSandbox) -> None:
    first = sandbox.token("gatehouse")
    with with_token(sandbox, first) as client:
        second = client.post("/personal_access_tokens/self/rotate").json()["token"]
        ordinary = client.get("/user")
        with with_token(sandbox, second) as newer:
            third = newer.post("/personal_access_tokens/self/rotate").json()["token"]
        with with_token(sandbox, third) as newest:
            alive = newest.get("/user")
            reused = client.post("/personal_access_tokens/self/rotate")
            ended = newest.get("/user")

    assert (ordinary.status_code, alive.status_code, reused.status_code, ended.status_code) == (401, 200, 401, 401)
    assert reused.json()["error_description"] == ended.json()["error_description"] == REVOKED


def test_lost_answer_of_a_rotation_leaves_a_successor_no_one_knows(sandbox: RunningSandbox) -> None:
    with with_token(sandbox, sandbox.token("gatehouse")) as client:
        sandbox.faults.lose_rotation(before=True)
        with pytest.raises(httpx2.HTTPError):
            client.post("/personal_access_tokens/self/rotate")
        assert client.get("/user").status_code == 200
        sandbox.faults.lose_rotation()
        with pytest.raises(httpx2.HTTPError):
            client.post("/personal_access_tokens/self/rotate")
        assert client.get("/user").status_code == 401

    user = sandbox.world.user_by_username("gatehouse")
    assert [token.is_revoked for token in sandbox.world.personal_tokens_of(user)] == [True, False]


@pytest.mark.parametrize(
    ("version", "settings", "days", "refused"),
    [
        ("15.11.0", {}, 4000, ""),
        ("16.0.0", {}, 366, "must be before"),
        ("18.5.0", {}, 0, "can't be in the past"),
        ("18.5.0", {"longer_token_lifetimes": True}, 400, ""),
        ("17.5.0", {"longer_token_lifetimes": True}, 400, "must be before"),
        ("18.5.0", {"longer_token_lifetimes": True}, 401, "must be before"),
        ("18.5.0", {"max_token_lifetime_days": 30}, 31, "must be before"),
    ],
)
def test_expiry_has_limits(
    sandbox: RunningSandbox, version: str, settings: dict[str, object], days: int, refused: str
) -> None:
    sandbox.world.change_settings(version=version, **settings)
    user = sandbox.world.user_by_username("gatehouse")
    with api(sandbox, "root") as root:
        body = {"name": "Portal", "scopes": ["api"], "expires_at": in_days(sandbox, days)}
        answer = root.post(f"/users/{user.id}/personal_access_tokens", json=body)

    assert answer.status_code == (400 if refused else 201)
    assert answer.json().get("message", "").startswith(WRONG_DAY + refused if refused else "")


def test_rotation_by_version_and_kind(sandbox: RunningSandbox) -> None:
    """A project's token rotates itself at its project too, but only there; an OAuth token is none of them."""
    world = sandbox.world
    project, other = world.project("web/shop/storefront"), world.project("web/api-gateway")
    token = world.create_project_token(project, scopes=["read_api", "self_rotate"])
    path = "/projects/{}/access_tokens/self/rotate"
    with with_token(sandbox, token) as bot, api(sandbox) as person, with_token(sandbox, oauth_token(sandbox)) as oauth:
        sandbox.world.settings.version = "17.8.0"
        before = bot.post(path.format(project.id)), bot.post("/personal_access_tokens/self/rotate")
        sandbox.world.settings.version = "17.9.0"
        elsewhere = [bot.post(path.format(other.id)), person.post(path.format(project.id))]
        wrong_kind = oauth.post("/personal_access_tokens/self/rotate")
        rotated = bot.post(path.format(project.id), json={"expires_at": in_days(sandbox, 90)})

    assert [answer.status_code for answer in before] == [404, 403]
    assert [answer.status_code for answer in elsewhere] == [404, 405]
    assert (wrong_kind.status_code, wrong_kind.json()) == (405, {"message": "405 Method Not Allowed"})
    assert (rotated.status_code, rotated.json()["expires_at"]) == (200, in_days(sandbox, 90))
    assert rotated.json()["access_level"] == 40


def test_tokens_of_a_place_are_made_by_who_manages_it(sandbox: RunningSandbox) -> None:
    project = sandbox.world.project("web/shop/storefront")
    path, body = f"/projects/{project.id}/access_tokens", {"name": "Portal", "scopes": ["api"], "access_level": 40}
    with api(sandbox) as maintainer, api(sandbox, "dev") as developer:
        made = maintainer.post(path, json=body)
        too_high = maintainer.post(path, json=body | {"access_level": 50})
        refused = (
            developer.post(path, json=body),
            maintainer.post(f"/groups/{project.group_id}/access_tokens", json=body),
        )
        with with_token(sandbox, made.json()["token"]) as bot:
            assert bot.get("/user").json()["username"].startswith(f"project_{project.id}_bot_")
            assert bot.post(path, json=body).status_code == 400
            listed = maintainer.get(path).json()
            assert maintainer.delete(f"{path}/{listed[0]['id']}").status_code == 204
            assert bot.get("/user").status_code == 401

    assert (made.status_code, made.json()["access_level"], "token" in listed[0]) == (201, 40, False)
    assert too_high.json()["message"].endswith("contains permissions not held by the creating user")
    assert [answer.json()["message"] for answer in refused] == [
        f"400 Bad request - User does not have permission to create {kind} access token"
        for kind in ("project", "group")
    ]


def test_service_account_is_a_bot_without_end_or_sign_in(sandbox: RunningSandbox) -> None:
    world = sandbox.world
    world.settings.service_token_expiry_required = False
    group, below = world.group("web"), world.group("web/shop")
    accounts = f"/groups/{group.id}/service_accounts"
    wanted = {"name": "P", "scopes": ["api"]}
    with api(sandbox, "root") as root, api(sandbox) as person:
        account = root.post("/service_accounts", json={"username": "portal-bot"}).json()
        refused = person.post("/service_accounts"), root.post(f"/groups/{below.id}/service_accounts")
        own = root.post(accounts).json()
        issued = root.post(f"{accounts}/{own['id']}/personal_access_tokens", json=wanted)
        strange = root.post(f"{accounts}/{account['id']}/personal_access_tokens", json=wanted)
    with with_token(sandbox, issued.json()["token"]) as bot:
        user = bot.get("/user").json()

    assert account["username"] == "portal-bot"
    assert own["username"].startswith(f"service_account_group_{group.id}_")
    assert [answer.status_code for answer in (*refused, strange)] == [403, 400, 404]
    assert (issued.json()["expires_at"], user["bot"], user["username"]) == (None, True, own["username"])
    assert world.sign_in("portal-bot", "sandbox-portal-bot") is None


def test_sudo_acts_as_somebody_else(sandbox: RunningSandbox) -> None:
    with api(sandbox, "root", "api", "sudo") as root, api(sandbox, "root") as plain, api(sandbox, "dev", "sudo") as dev:
        found = root.get("/user", headers={"Sudo": "dev"}), root.get("/user?sudo=2")
        stranger = root.get("/user", headers={"Sudo": "stranger"})
        narrow = plain.get("/user", headers={"Sudo": "dev"})
        person = dev.get("/user", headers={"Sudo": "root"})

    assert [answer.json()["username"] for answer in found] == ["dev", "dev"]
    assert stranger.json() == {"message": "404 User with ID or username 'stranger' Not Found"}
    assert (narrow.status_code, narrow.json()["scope"]) == (403, "sudo")
    assert person.status_code == 403


def test_prefixes_by_version_and_setting(sandbox: RunningSandbox) -> None:
    world = sandbox.world
    texts = []
    for changes in (
        {"version": "14.4.0", "token_prefix": "acme-", "instance_token_prefix": "inst"},
        {"version": "17.9.0"},
        {"version": "17.10.0"},
    ):
        world.change_settings(**changes)
        texts.append(sandbox.token("dev"))

    assert [text.partition("acme-")[0] for text in texts] == [texts[0], "", "inst-"]
    assert world.other_secret("deploy").startswith("inst-gldt-")
    with with_token(sandbox, world.other_secret("trigger")) as client:
        assert client.get("/user").json() == {"message": "401 Unauthorized"}


def test_administrator_issues_a_token_for_somebody(sandbox: RunningSandbox) -> None:
    user = sandbox.world.user_by_username("gatehouse")
    body = {"name": "Portal", "scopes": ["read_api"], "expires_at": in_days(sandbox, 365)}
    with api(sandbox, "root") as root, api(sandbox) as client:
        issued = root.post(f"/users/{user.id}/personal_access_tokens", json=body)
        refused = root.post(f"/users/{user.id}/personal_access_tokens", json=body | {"scopes": ["everything"]})
        forbidden = client.post(f"/users/{user.id}/personal_access_tokens", json=body)
    with with_token(sandbox, issued.json()["token"]) as owner:
        assert owner.get("/user").json()["username"] == "gatehouse"

    assert (issued.status_code, refused.status_code, forbidden.status_code) == (201, 400, 403)


def test_application_lives_from_creation_to_deletion(sandbox: RunningSandbox) -> None:
    body = {"name": "Portal", "redirect_uri": CALLBACK, "scopes": "api read_user"}
    with api(sandbox, "root") as root:
        created = root.post("/applications", json=body)
        number = created.json()["id"]
        listed = root.get("/applications").json()
        renewed = root.post(f"/applications/{number}/renew-secret").json()
        deleted = root.delete(f"/applications/{number}")
        missing = root.delete(f"/applications/{number}")

    assert created.status_code == 201
    assert (created.json()["callback_url"], created.json()["confidential"]) == (CALLBACK, True)
    assert created.json()["secret"].startswith("gloas-")
    assert renewed["secret"] != created.json()["secret"]
    assert [row["application_id"] for row in listed] == [created.json()["application_id"]]
    assert "secret" not in listed[0]
    assert deleted.status_code == 204
    assert (missing.status_code, missing.json()) == (404, {"message": "404 Application Not Found"})


def test_application_made_by_api_is_not_trusted(sandbox: RunningSandbox) -> None:
    with api(sandbox, "root") as root:
        body = {"name": "Portal", "redirect_uri": CALLBACK, "scopes": "api", "trusted": True}
        number = root.post("/applications", json=body).json()["id"]

    assert sandbox.world.oauth.application(number).trusted is False


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"scopes": " "}, {"error": "scopes is empty"}),
        ({"redirect_uri": "portal"}, {"message": {"redirect_uri": ["must be an absolute URI."]}}),
        ({"scopes": "everything"}, {"message": {"scopes": ["doesn't match configured on the server."]}}),
    ],
)
def test_bad_application_is_refused(sandbox: RunningSandbox, change: dict[str, str], body: dict[str, object]) -> None:
    with api(sandbox, "root") as root:
        answer = root.post("/applications", json={"name": "P", "redirect_uri": CALLBACK, "scopes": "api"} | change)

    assert (answer.status_code, answer.json()) == (400, body)


def test_a_person_creates_applications_that_no_one_else_sees(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.version = "19.0.0"
    body = {"name": "P", "redirect_uri": CALLBACK, "scopes": "read_api read_user"}
    with api(sandbox, "dev") as dev, api(sandbox, "gatehouse") as other, api(sandbox, "root") as root:
        created = dev.post("/user/applications", json=body)
        path = f"/user/applications/{created.json()['id']}"
        seen = [len(client.get("/user/applications").json()) for client in (dev, other, root)]
        instance_wide = root.get("/applications").json()
        foreign, gone = other.delete(path), dev.delete(path)

    assert (created.status_code, created.json()["secret"][:6]) == (201, "gloas-")
    assert (seen, instance_wide) == ([1, 0, 0], [])
    assert (foreign.status_code, gone.status_code) == (404, 204)


def test_applications_are_for_administrators_with_admin_mode_when_it_is_on(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.admin_mode = True
    with api(sandbox) as person, api(sandbox, "root") as held_back, api(sandbox, "root", "api", "admin_mode") as root:
        assert person.get("/applications").json() == {"message": "403 Forbidden"}
        assert held_back.get("/applications").status_code == 403
        assert root.get("/applications").status_code == 200
