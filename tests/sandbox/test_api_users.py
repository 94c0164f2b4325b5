"""People over REST."""

from __future__ import annotations

import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api, ids

NEWCOMER = {"name": "Gate House", "username": "portal", "email": "portal@example.com", "password": "long-enough"}


def test_only_administrators_are_told_about_themselves_as_such(sandbox: RunningSandbox) -> None:
    with api(sandbox, "dev") as dev, api(sandbox, "root") as root:
        person, administrator = dev.get("/user").json(), root.get("/user").json()

    assert "is_admin" not in person
    assert administrator["is_admin"] is True
    assert (person["username"], person["state"], person["external"], person["bot"]) == ("dev", "active", False, False)


def test_users_are_found_by_username(sandbox: RunningSandbox) -> None:
    with api(sandbox, "dev", "read_user") as client:
        (found,) = client.get("/users", params={"username": "GATEHOUSE"}).json()
        same = client.get(f"/users/{found['id']}").json()
        missing = client.get("/users/9999")

    assert found["username"] == same["username"] == "gatehouse"
    assert "email" not in found
    assert (missing.status_code, missing.json()) == (404, {"message": "404 User Not Found"})


def test_administrator_creates_a_user_who_then_needs_groups(sandbox: RunningSandbox) -> None:
    with api(sandbox, "root") as root:
        answer = root.post("/users", json=NEWCOMER | {"skip_confirmation": True})
    user = sandbox.world.user_by_username("portal")
    with api(sandbox, "portal") as client:
        before = ids(client.get("/projects", params={"membership": "true"}))
        sandbox.world.add_member(user, sandbox.world.group("web"), 40)
        after = ids(client.get("/projects", params={"membership": "true"}))

    assert (answer.status_code, answer.json()["is_admin"]) == (201, False)
    assert (before, len(after)) == ([], 17)


@pytest.mark.parametrize(
    ("change", "status", "body"),
    [
        ({"name": ""}, 400, {"error": "name is missing"}),
        ({"email": "dev@example.com"}, 409, {"message": "Email has already been taken"}),
        ({"username": "Dev"}, 409, {"message": "Username has already been taken"}),
        ({"password": "short"}, 400, {"message": {"password": ["is too short (minimum is 8 characters)"]}}),
    ],
)
def test_user_that_cannot_be_created(
    sandbox: RunningSandbox, change: dict[str, str], status: int, body: dict[str, object]
) -> None:
    with api(sandbox, "root") as root:
        answer = root.post("/users", json=NEWCOMER | change)

    assert (answer.status_code, answer.json()) == (status, body)


def test_others_create_no_users(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        answer = client.post("/users", json=NEWCOMER)

    assert (answer.status_code, answer.json()) == (403, {"message": "403 Forbidden"})


def test_user_created_without_confirmation_may_not_act_yet(sandbox: RunningSandbox) -> None:
    with api(sandbox, "root") as root:
        root.post("/users", json=NEWCOMER)
    with api(sandbox, "portal") as client:
        assert "not confirmed" in client.get("/user").json()["message"]
