"""The other uses of a one-time token: the service user's own application, verifying one, renewing its Secret."""

from __future__ import annotations

import re
from typing import Any

import pytest

from portal.connections.store import open_client_credentials
from tests.provisioning.conftest import SETUP, SLUG, Draft
from tests.support.walkthrough import authorize

PAGE = f"/connections/{SLUG}/application"


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    return {"version": "19.5.0", "with_service_user": True}


def use(draft: Draft, do: str, token: str) -> str:
    """Press a button of the application's page; return the page afterwards."""
    answer = draft.owner.post(PAGE, {"do": do, "one_time_token": token, "revoke": "1"}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_service_user_creates_an_application_without_an_administrator(draft: Draft) -> None:
    token = draft.sandbox.token("gatehouse")

    draft.create(token, "create-own")

    world = draft.sandbox.world
    (made,) = world.oauth.applications("user", world.user_by_username("gatehouse").id)
    assert draft.outcomes() == [("token", "done"), ("application", "done"), ("read_back", "done"), ("revoke", "done")]
    assert (draft.application().client_id, draft.application().kind) == (made.uid, "user")
    assert draft.connection().service_username == "gatehouse"
    page = draft.page("create-own")
    assert f'href="{SETUP}/authorize"' in page
    assert "Trusted" not in page
    assert authorize(draft.owner, draft.sandbox, SLUG).status_code == 303
    verified = use(draft, "verify", draft.sandbox.token("gatehouse"))
    assert "redirect URI, scopes and Secret are as intended" in verified
    assert "GitLab’s API cannot renew the Secret" in verified


@pytest.mark.parametrize(
    ("sandbox_options", "username", "failure"),
    [
        ({"version": "19.5.0"}, "root", "one_time_token/admin"),
        ({"version": "17.11.3", "with_service_user": True}, "gatehouse", "no_applications_api/own"),
    ],
)
def test_what_keeps_a_user_from_it_is_named(draft: Draft, username: str, failure: str) -> None:
    draft.create(draft.sandbox.token(username), "create-own")

    assert draft.failure() == failure


def test_application_is_verified_and_what_differs_is_named(draft: Draft) -> None:
    draft.create(draft.sandbox.token("root"))
    authorize(draft.owner, draft.sandbox, SLUG)
    oauth = draft.sandbox.world.oauth
    (made,) = oauth.applications()

    same = use(draft, "verify", draft.sandbox.token("root"))
    oauth.update_application(made.id, "Gatehouse", made.redirect_uri, ("read_user",), True, False)
    narrowed = use(draft, "verify", draft.sandbox.token("root"))
    oauth.delete_application(made.id)
    gone = use(draft, "verify", draft.sandbox.token("root"))

    assert "redirect URI, scopes and Secret are as intended" in same
    assert "It lacks read_api, read_repository." in re.sub(r"\s+", " ", narrowed)
    assert "GitLab lists no application with this Application ID." in gone


@pytest.mark.parametrize(
    ("fault", "outcome", "posts"),
    [
        ({}, "renewed", 1),
        # The old Secret no longer works, so the lost one is replaced.
        ({"drop": "after"}, "renewed", 2),
        # It still works, so nothing happened, and nothing is sent again.
        ({"drop": "before"}, "failed", 1),
    ],
)
def test_secret_is_renewed_and_stored_even_if_an_answer_is_lost(
    draft: Draft, fault: dict[str, Any], outcome: str, posts: int
) -> None:
    draft.create(draft.sandbox.token("root"))
    authorize(draft.owner, draft.sandbox, SLUG)
    before = open_client_credentials(draft.runtime, draft.connection()).client_secret.reveal()
    if fault:
        draft.sandbox.faults.add("/api/v4/applications/*/renew-secret", "POST", times=1, **fault)

    use(draft, "renew", draft.sandbox.token("root"))

    after = open_client_credentials(draft.runtime, draft.connection()).client_secret.reveal()
    assert draft.outcomes()[1] == ("renew", outcome)
    assert (after != before) == (outcome == "renewed")
    assert draft.sandbox.requests.count("/api/v4/applications/*/renew-secret", "POST") == posts
    (made,) = draft.sandbox.world.oauth.applications()
    assert made.accepts_secret(after)
    assert draft.connection().attention is None
