"""Pages of OAuth applications in the Admin area, of a group, and of a person."""

from __future__ import annotations

import re

import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person

FIELDS: dict[str, str | list[str]] = {
    "name": "Portal",
    "redirect_uri": "https://a.example/cb\r\nhttps://b.example/cb",
    "scopes": ["api", "read_user"],
    "trusted": "1",
}


def secret_of(text: str) -> str:
    found = re.search(r'id="application_secret"[^>]* value="([^"]+)"', text)
    return found[1] if found else ""


def test_saved_application_shows_its_secret_once(sandbox: RunningSandbox, root: Person) -> None:
    saved = root.press(root.get("/admin/applications/new"), "Save application", **FIELDS)

    [application] = sandbox.world.oauth.applications()
    secret = secret_of(saved.text)
    assert secret.startswith("gloas-")
    assert application.accepts_secret(secret)
    assert application.uid in saved.text
    assert application.redirect_uri == "https://a.example/cb\nhttps://b.example/cb"
    assert (application.trusted, application.confidential) == (True, True)
    assert application.scopes == ("api", "read_user")
    assert secret not in root.get(f"/admin/applications/{application.id}").text


def test_old_release_lets_the_secret_be_read_again(old_sandbox: RunningSandbox) -> None:
    with Person(old_sandbox.url) as person:
        person.sign_in("root")
        saved = person.press(person.get("/admin/applications/new"), "Save application", **(FIELDS | {"scopes": "api"}))

        [application] = old_sandbox.world.oauth.applications()
        assert len(secret_of(saved.text)) == 64
        assert secret_of(person.get(f"/admin/applications/{application.id}").text) == secret_of(saved.text)
        assert "Renew secret" not in saved.text


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "Name can&#39;t be blank"),
        ("redirect_uri", "", "Redirect URI can&#39;t be blank"),
        ("redirect_uri", "p.example/cb", "Redirect URI must be an absolute URI."),
        ("redirect_uri", "https://p.example/cb#x", "Redirect URI cannot contain a fragment."),
        ("scopes", None, "Scopes can&#39;t be blank"),
    ],
)
def test_invalid_form_keeps_the_input_and_tells_why(
    sandbox: RunningSandbox, root: Person, field: str, value: str | None, message: str
) -> None:
    answer = root.press(root.get("/admin/applications/new"), "Save application", **(FIELDS | {field: value}))

    assert answer.status_code == 422
    assert message in answer.text
    assert 'name="trusted" value="1" aria-describedby="trusted_help" checked' in answer.text
    assert sandbox.world.oauth.applications() == []


def test_renewing_shows_a_new_secret_and_ends_the_old_one(sandbox: RunningSandbox, root: Person) -> None:
    saved = root.press(root.get("/admin/applications/new"), "Save application", **FIELDS)

    renewed = root.press(saved, "Renew secret")

    [application] = sandbox.world.oauth.applications()
    assert application.accepts_secret(secret_of(renewed.text))
    assert not application.accepts_secret(secret_of(saved.text))


def test_application_can_be_edited_and_deleted(sandbox: RunningSandbox, root: Person) -> None:
    root.press(root.get("/admin/applications/new"), "Save application", **FIELDS)
    [application] = sandbox.world.oauth.applications()
    edit = root.get(f"/admin/applications/{application.id}/edit")

    edited = root.press(edit, "Save application", name="Renamed", trusted=None)
    assert (application.name, application.trusted) == ("Renamed", False)
    assert application.scopes == ("api", "read_user")
    root.press(root.follow(edited), "Delete")

    assert sandbox.world.oauth.applications() == []


def test_person_registers_an_own_application(sandbox: RunningSandbox, root: Person) -> None:
    page = root.get("/-/user_settings/applications")
    assert "Trusted" not in page.text

    saved = root.press(page, "Save application", **FIELDS)

    [application] = sandbox.world.oauth.applications("user", 1)
    assert secret_of(saved.text)
    assert not application.trusted
    assert root.get(f"/admin/applications/{application.id}").status_code == 404
    assert application.name in root.get(f"/oauth/applications/{application.id}").text


def test_switch_keeps_people_from_registering(sandbox: RunningSandbox, root: Person) -> None:
    page = root.get("/-/user_settings/applications")
    sandbox.world.settings.user_oauth_applications = False

    answer = root.press(page, "Save application", **FIELDS)

    assert answer.headers["Location"] == "/-/user_settings/applications"
    assert sandbox.world.oauth.applications("user", 1) == []
    assert "Save application" not in root.get("/-/user_settings/applications").text


def test_group_owner_registers_a_group_application(sandbox: RunningSandbox, root: Person) -> None:
    group = sandbox.world.top_level_groups()[0]
    base = f"/groups/{group.full_path}/-/settings/applications"

    root.press(root.get(f"{base}/new"), "Save application", **FIELDS)

    [application] = sandbox.world.oauth.applications("group", group.id)
    assert application.name in root.get(base).text
    assert root.get("/groups/no-such-group/-/settings/applications").status_code == 404


def test_older_release_keeps_settings_under_the_older_path(old_sandbox: RunningSandbox) -> None:
    with Person(old_sandbox.url) as person:
        person.sign_in("root")

        assert person.get("/profile/applications").status_code == 200
        assert person.get("/-/user_settings/applications").headers["Location"] == "/profile/applications"
