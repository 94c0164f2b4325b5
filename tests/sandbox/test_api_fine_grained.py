"""Fine-grained tokens: what they may do where, GitLab's words for what is missing, and legacy tokens switched off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api, ids, with_token

EVERYTHING = (
    *("read_metadata", "read_user", "read_personal_access_token", "rotate_personal_access_token"),
    *("read_project", "read_group", "read_repository", "read_branch", "read_webhook", "create_webhook"),
)
HOOK = {"url": "https://portal.example.com/"}


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox(version="19.6.0", with_service_user=True) as running:
        yield running


def fine_grained(sandbox: RunningSandbox, *permissions: str, on: tuple[str, ...] = ()) -> httpx2.Client:
    world = sandbox.world
    places = [world.group_by_path(path) or world.project(path) for path in on]
    user = world.user_by_username("gatehouse")
    return with_token(sandbox, world.create_fine_grained_token(user, permissions, on=places))


def test_refusal_names_what_is_missing(sandbox: RunningSandbox) -> None:
    with fine_grained(sandbox, "read_job") as client:
        for method, path, missing in (
            ("GET", "/version", "instance permissions: [Metadata: Read]"),
            ("GET", "/user", "user permissions: [User: Read]"),
            ("GET", "/personal_access_tokens/self", "user permissions: [Personal Access Token: Read]"),
            ("POST", "/personal_access_tokens/self/rotate", "user permissions: [Personal Access Token: Rotate]"),
            ("GET", "/projects", "user permissions: [Project: Read]"),
            ("GET", "/projects/web%2Fapi-gateway", "project permissions: [Project: Read]"),
            ("GET", "/projects/web%2Fapi-gateway/repository/tree", "project permissions: [Repository: Read]"),
            ("POST", "/projects/web%2Fapi-gateway/hooks", "project permissions: [Webhook: Create]"),
            ("GET", "/groups", "user permissions: [Group: Read]"),
            ("GET", "/groups/mobile", "group permissions: [Group: Read]"),
            ("POST", "/applications", "instance permissions: [OAuth Application: Create]"),
            ("POST", "/applications/1/renew-secret", "instance permissions: [OAuth Application: Renew Secret]"),
        ):
            answer = client.request(method, path, json=HOOK if method == "POST" else None)
            words = "Access denied: This operation requires a fine-grained personal access token with the following"

            expected = {"error": "insufficient_granular_scope", "error_description": f"{words} {missing}."}
            assert (answer.status_code, answer.json()) == (403, expected), path


def test_token_with_everything_works_and_tells_its_permissions(sandbox: RunningSandbox) -> None:
    with fine_grained(sandbox, *EVERYTHING) as client:
        told = client.get("/personal_access_tokens/self").json()
        project = client.get("/projects/web%2Fapi-gateway")
        hook = client.post(f"/projects/{project.json()['id']}/hooks", json=HOOK)
        rotated = client.post("/personal_access_tokens/self/rotate")

    assert (told["scopes"], told["granular"]) == (["granular"], True)
    assert [row["access"] for row in told["granular_scopes"]] == ["user", "instance", "all_memberships"]
    assert (project.status_code, hook.status_code, rotated.status_code) == (200, 201, 200)
    assert "granular_scopes" not in rotated.json()
    with with_token(sandbox, rotated.json()["token"]) as successor:
        assert successor.get("/user").status_code == 200


def test_list_may_show_what_the_token_may_not_open(sandbox: RunningSandbox) -> None:
    with fine_grained(sandbox, "read_project", on=("data",)) as client:
        listed = ids(client.get("/projects", params={"membership": "true", "per_page": "100"}))
        inside, outside = client.get("/projects/data%2Fdata-contracts"), client.get("/projects/web%2Fapi-gateway")
        group = client.get("/groups/data/projects"), client.get("/groups/mobile/projects")
        missing = (
            client.get("/nothing"),
            client.get("/projects/999999"),
            client.get("/projects/security%2Fkey-ceremony"),
        )

    assert len(listed) > 50
    assert (inside.status_code, outside.status_code) == (200, 403)
    assert [answer.status_code for answer in (*group, *missing)] == [200, 403, 404, 404, 404]


def test_public_projects_are_read_without_a_permission(sandbox: RunningSandbox) -> None:
    public = sandbox.world.project("web/design-system/icons")
    with fine_grained(sandbox, "read_job") as client:
        assert client.get(f"/projects/{public.id}").status_code == 200
        assert client.get(f"/projects/{public.id}/hooks").status_code == 403


def test_group_can_refuse_legacy_tokens_of_people(sandbox: RunningSandbox) -> None:
    world = sandbox.world
    world.settings.groups_requiring_fine_grained = frozenset({"web"})
    path = "/projects/web%2Fapi-gateway"
    bot = world.create_project_token(world.project("web/api-gateway"))
    with (
        api(sandbox) as legacy,
        with_token(sandbox, bot) as of_a_bot,
        with_token(sandbox, sandbox.access_token()) as oauth,
    ):
        answers = [legacy.get(path), legacy.get("/groups/data"), of_a_bot.get(path), oauth.get(path)]

    assert [answer.status_code for answer in answers] == [403, 200, 200, 200]
    assert answers[0].json()["error"] == "insufficient_granular_scope"


def test_legacy_tokens_end_on_the_day_the_instance_says(sandbox: RunningSandbox) -> None:
    world = sandbox.world
    world.settings.fine_grained_required_after = world.now().date() + timedelta(days=1)
    user = world.user_by_username("gatehouse")
    body = {"name": "Portal", "scopes": ["api"]}
    bot = world.create_project_token(world.project("web/api-gateway"))
    with api(sandbox, "root") as root, api(sandbox) as legacy, with_token(sandbox, bot) as of_a_bot:
        before = root.post(f"/users/{user.id}/personal_access_tokens", json=body)
        world.clock.advance(86400)
        created = root.post(f"/users/{user.id}/personal_access_tokens", json=body)
        rotated = legacy.post("/personal_access_tokens/self/rotate")
        answers = [legacy.get("/user"), of_a_bot.post("/personal_access_tokens/self/rotate")]

    refusal = "400 Bad request - Rotation of legacy personal access tokens is disabled"
    assert (before.status_code, created.status_code) == (201, 422)
    assert rotated.json()["message"].startswith(refusal)
    assert [answer.status_code for answer in answers] == [200, 200]


def test_application_with_fine_grained_permissions_depends_on_the_users_consent(sandbox: RunningSandbox) -> None:
    world, store = sandbox.world, sandbox.world.oauth
    application, _ = store.create_application("Portal", "https://portal.example.com/", ["api"])
    world.make_granular(application.id, ["read_project"], on=[world.group("data")])
    token = store.create_token(application.id, world.user_by_username("gatehouse").id, ["granular"])
    with with_token(sandbox, token.access_token) as client:
        inside, outside = client.get("/projects/data%2Fdata-contracts"), client.get("/projects/web%2Fapi-gateway")
        world.withdrawn_consents.add((application.id, token.user_id))
        withdrawn = client.get("/projects/data%2Fdata-contracts")

    assert [answer.status_code for answer in (inside, outside, withdrawn)] == [200, 403, 403]
    assert "fine-grained oauth access token with the following project permissions" in withdrawn.text


def test_earlier_versions_have_none(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.version = "18.9.0"
    with pytest.raises(ValueError, match="no fine-grained tokens"):
        sandbox.world.create_fine_grained_token(sandbox.world.user_by_username("dev"), ["read_user"])


def test_token_of_any_kind_by_remote_control() -> None:
    with RunningSandbox(version="19.6.0", control=True) as sandbox, httpx2.Client(trust_env=False) as client:
        issued = {}
        for body in (
            {"username": "dev", "scopes": ["read_user"], "expires_at": "2099-01-01"},
            {"kind": "project", "project": "web/api-gateway"},
            {"kind": "group", "group": "data", "access_level": 20},
            {"kind": "service_account", "roles": {"data": 40}},
            {"kind": "fine_grained", "username": "dev", "permissions": ["read_user"], "on": ["data"]},
        ):
            answer = client.post(f"{sandbox.url}/-/sandbox/tokens", json=body)
            headers = {"PRIVATE-TOKEN": answer.json()["token"]}
            issued[body.get("kind")] = client.get(f"{sandbox.api}/user", headers=headers).json()["bot"]
        other = client.post(f"{sandbox.url}/-/sandbox/tokens", json={"kind": "other", "name": "deploy"})
        wrong = client.post(f"{sandbox.url}/-/sandbox/tokens", json={"kind": "project", "project": "no/where"})

    assert issued == {None: False, "project": True, "group": True, "service_account": True, "fine_grained": False}
    assert (other.json()["token"][:5], wrong.status_code) == ("gldt-", 422)
