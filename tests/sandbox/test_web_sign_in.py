"""Signing in and out of the sandbox."""

from __future__ import annotations

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person


def test_one_click_button_signs_in(sandbox: RunningSandbox) -> None:
    with Person(sandbox.url) as person:
        answer = person.sign_in("root")

        assert answer.headers["Location"] == "/"
        assert answer.headers["Set-Cookie"].startswith("_gitlab_session=")
        assert "Domain" not in answer.headers["Set-Cookie"]
        assert "@root" in person.follow(answer).text


def test_wrong_password_is_told(sandbox: RunningSandbox) -> None:
    with Person(sandbox.url) as person:
        page = person.get("/users/sign_in")

        answer = person.press(page, "Sign in", **{"user[login]": "root", "user[password]": "wrong"})

        assert answer.status_code == 422
        assert "Invalid login or password." in answer.text
        assert 'value="root"' in answer.text


def test_blocked_person_is_told_and_a_running_session_ends(sandbox: RunningSandbox, root: Person) -> None:
    sandbox.world.people.by_username("root").state = "blocked"

    assert root.get("/admin/users").headers["Location"] == "/users/sign_in"
    answer = root.sign_in("root")

    assert answer.status_code == 403
    assert "Your account has been blocked." in answer.text


def test_signing_out_ends_the_session(root: Person) -> None:
    answer = root.press(root.get("/"), "Sign out")

    assert answer.headers["Location"] == "/users/sign_in"
    assert root.get("/").status_code == 302


def test_nobody_signs_out_by_a_link(root: Person) -> None:
    assert root.get("/users/sign_out").status_code == 404
    assert root.get("/").status_code == 200


def test_address_that_leads_nowhere_asks_strangers_to_sign_in(sandbox: RunningSandbox, root: Person) -> None:
    with Person(sandbox.url) as stranger:
        answers = [stranger.get(path) for path in ("/no/such/page", "/users/sign_out", "/oauth/token")]
        posted = stranger.client.post(f"{sandbox.url}/no/such/page")

    assert [(answer.status_code, answer.headers["Location"]) for answer in answers] == [(302, "/users/sign_in")] * 3
    assert posted.status_code == 404
    assert root.get("/no/such/page").status_code == 404


def test_forms_without_session_token_are_refused(sandbox: RunningSandbox, root: Person) -> None:
    form = {"user[login]": "root", "user[password]": "wrong"}

    assert root.client.post(f"{sandbox.url}/users/sign_in", data=form).status_code == 422
    assert root.client.post(f"{sandbox.url}/admin/users/root/block").status_code == 422


def test_admin_area_does_not_exist_for_others(sandbox: RunningSandbox) -> None:
    regular = next(user for user in sandbox.world.people.all() if not user.admin and user.state == "active")
    with Person(sandbox.url) as person:
        person.sign_in(regular.username)

        for path in ("/admin/users", "/admin/applications", "/admin/applications/new"):
            assert person.get(path).status_code == 404


def test_pages_below_a_relative_root_stay_below_it(rooted_sandbox: RunningSandbox) -> None:
    with Person(rooted_sandbox.url) as person:
        answer = person.sign_in("root")

        assert "Path=/gitlab" in answer.headers["Set-Cookie"]
        assert answer.headers["Location"] == "/gitlab/"
        page = person.get("/admin/applications")
        assert 'href="/gitlab/assets/sandbox.css"' in page.text
        assert 'href="/gitlab/admin/applications/new"' in page.text
