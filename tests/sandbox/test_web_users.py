"""Admin area, Users: creating, impersonating, blocking."""

from __future__ import annotations

import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person

SERVICE_USER = {
    "name": "Gatehouse",
    "username": "portal-service",
    "email": "portal-service@example.com",
    "password": "a-long-password",
}


def test_new_user_gets_the_suggested_roles(sandbox: RunningSandbox, root: Person) -> None:
    answer = root.press(root.get("/admin/users/new"), "Create user", **SERVICE_USER)

    assert answer.headers["Location"] == "/admin/users/portal-service"
    user = sandbox.world.people.by_username("portal-service")
    assert (user.admin, user.external, user.confirmed) == (False, False, True)
    suggested = {group.id: group.suggested_access_level for group in sandbox.world.top_level_groups()}
    given = {group.id: level for group, level in sandbox.world.memberships_of(user)}
    assert given == {group_id: level for group_id, level in suggested.items() if level}
    assert 40 in given.values()
    with Person(sandbox.url) as person:
        page = person.get("/users/sign_in")
        signed_in = person.press(
            page, "Sign in", **{"user[login]": "portal-service", "user[password]": SERVICE_USER["password"]}
        )
        assert signed_in.status_code == 302


def test_chosen_role_and_access_level_are_kept(sandbox: RunningSandbox, root: Person) -> None:
    group = sandbox.world.top_level_groups()[0]
    fields = SERVICE_USER | {"groups": str(group.id), f"role_{group.id}": "20", "access_level": "admin"}

    root.press(root.get("/admin/users/new"), "Create user", **fields)

    user = sandbox.world.people.by_username("portal-service")
    assert user.admin
    assert [(found.id, level) for found, level in sandbox.world.memberships_of(user)] == [(group.id, 20)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"username": "root"}, "Username has already been taken"),
        ({"username": "no spaces"}, "Username can contain only"),
        ({"email": "nonsense"}, "Email is invalid"),
        ({"name": ""}, "Name can&#39;t be blank"),
        ({"password": "short"}, "Password is too short (minimum is 8 characters)"),
    ],
)
def test_invalid_user_is_refused(sandbox: RunningSandbox, root: Person, changes: dict[str, str], message: str) -> None:
    before = len(sandbox.world.people.all())

    answer = root.press(root.get("/admin/users/new"), "Create user", **(SERVICE_USER | changes))

    assert answer.status_code == 422
    assert message in answer.text
    assert len(sandbox.world.people.all()) == before


def test_impersonation_acts_as_the_person_until_stopped(root: Person) -> None:
    root.press(root.get("/admin/users/new"), "Create user", **SERVICE_USER)

    home = root.follow(root.press(root.get("/admin/users/portal-service"), "Impersonate"))
    assert "You are now impersonating <strong>portal-service</strong>" in home.text
    assert root.get("/admin/users").status_code == 404
    stopped = root.press(home, "Stop impersonating")

    assert stopped.headers["Location"] == "/admin/users/portal-service"
    assert root.get("/admin/users").status_code == 200


def test_signing_out_while_impersonating_signs_out_both(root: Person) -> None:
    root.press(root.get("/admin/users/new"), "Create user", **SERVICE_USER)
    home = root.follow(root.press(root.get("/admin/users/portal-service"), "Impersonate"))

    root.press(home, "Sign out")

    assert root.get("/admin/users").headers["Location"] == "/users/sign_in"


def test_blocking_and_unblocking(sandbox: RunningSandbox, root: Person) -> None:
    root.press(root.get("/admin/users/new"), "Create user", **SERVICE_USER)
    user = sandbox.world.people.by_username("portal-service")

    blocked = root.follow(root.press(root.get("/admin/users/portal-service"), "Block"))
    assert user.state == "blocked"
    assert "Impersonate" not in blocked.text
    root.press(blocked, "Unblock")

    assert user.state == "active"


def test_search_finds_by_name(root: Person) -> None:
    page = root.get("/admin/users", search_query="ROOT")

    assert "@root</span>" in page.text
    assert "No users match." in root.get("/admin/users", search_query="zzz").text


def test_network_page_switches_local_hooks(sandbox: RunningSandbox, root: Person) -> None:
    page = root.get("/admin/application_settings/network")

    root.press(page, "Save changes", allow_local_requests="1")
    assert sandbox.world.settings.allow_local_hooks is True
    root.press(page, "Save changes", allow_local_requests=None)

    assert sandbox.world.settings.allow_local_hooks is False
