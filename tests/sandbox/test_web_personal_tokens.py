"""User settings, Personal access tokens."""

from __future__ import annotations

import re

import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person

PAGE = "/-/user_settings/personal_access_tokens"


def token_of(text: str) -> str:
    found = re.search(r'id="created_token"[^>]* value="([^"]+)"', text)
    return found[1] if found else ""


def test_address_prefills_the_form_and_drops_unknown_scopes(root: Person) -> None:
    page = root.get(PAGE, name="Portal", scopes="api,read_repository,nonsense")

    assert 'name="name" type="text" value="Portal"' in page.text
    assert re.findall(r'value="(\w+)" aria-describedby="\w+" checked', page.text) == ["api", "read_repository"]


def test_created_token_is_shown_once_and_listed(root: Person) -> None:
    created = root.press(root.get(PAGE, name="Portal", scopes="api"), "Create token")

    again = root.get(PAGE)
    assert token_of(created.text).startswith("glpat-")
    assert token_of(again.text) == ""
    assert "Active personal access tokens (1)" in again.text


def test_revoked_token_leaves_the_list(root: Person) -> None:
    created = root.press(root.get(PAGE, name="Portal", scopes="api"), "Create token")

    root.press(created, "Revoke")

    assert "Active personal access tokens (0)" in root.get(PAGE).text


def test_fine_grained_token_is_made_by_hand(sandbox: RunningSandbox, root: Person) -> None:
    """No address fills in its form."""
    assert root.get(f"{PAGE}/granular/new").status_code == 404
    sandbox.world.settings.version = "19.6.0"
    form = root.get(f"{PAGE}/granular/new", name="Portal")
    nameless = root.press(form, "Generate token")
    made = root.press(
        form,
        "Generate token",
        name="Portal",
        permissions=["User:read_user", "Group and project:read_project"],
        access="selected_memberships",
        places=["Group:1"],
    )

    assert nameless.status_code == 422
    headers = {"PRIVATE-TOKEN": token_of(made.text)}
    answers = [root.client.get(f"{sandbox.api}{path}", headers=headers).status_code for path in ("/user", "/version")]
    assert answers == [200, 403]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "Name can&#39;t be blank"),
        ({"scopes": None}, "Scopes can&#39;t be blank"),
        ({"expires_at": ""}, "Expiration date can&#39;t be blank"),
        ({"expires_at": "2001-01-01"}, "Expiration date can&#39;t be in the past"),
        ({"expires_at": "2999-01-01"}, "Expiration date must be before"),
    ],
)
def test_invalid_token_is_refused(root: Person, changes: dict[str, str | None], message: str) -> None:
    answer = root.press(root.get(PAGE, name="Portal", scopes="api"), "Create token", **changes)

    assert answer.status_code == 422
    assert message in answer.text


def test_switched_off_tokens_have_no_page(sandbox: RunningSandbox, root: Person) -> None:
    sandbox.world.settings.personal_tokens_enabled = False

    assert root.get(PAGE).status_code == 404


def test_older_path_leads_to_the_page_with_its_prefill(root: Person) -> None:
    answer = root.get("/-/profile/personal_access_tokens", name="Portal", scopes="api")

    assert answer.headers["Location"] == f"{PAGE}?name=Portal&scopes=api"
