"""Personal access tokens and applications over REST."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api, with_token
from tests.sandbox.test_api_credentials import oauth_token

CALLBACK = "https://portal.example.com/oauth/callback/x"


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


def test_administrator_issues_a_token_for_somebody(sandbox: RunningSandbox) -> None:
    user = sandbox.world.user_by_username("gatehouse")
    body = {"name": "Portal", "scopes": ["read_api"], "expires_at": "2099-01-01"}
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
