"""*Create it for me*: from a token to an application, a service user and its groups, whatever GitLab answers."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from portal.connections.models import ConnectionState
from portal.provisioning.models import ProvisioningRun
from tests.provisioning.conftest import SETUP, Draft

DONE = [
    ("token", "done"),
    ("application", "done"),
    ("service_user", "done"),
    ("groups", "done"),
    ("read_back", "done"),
    ("revoke", "done"),
]
# Requests without a token by which GitLab is recognised: in step 2, before the token is sent, before the Secret is.
IDENTIFIES = 3


@pytest.mark.parametrize(
    ("sandbox_options", "last"),
    [
        ({"version": "12.10.14"}, "by_hand"),
        ({"version": "15.11.13"}, "done"),
        ({"version": "17.11.3"}, "done"),
        ({"version": "19.5.0"}, "done"),
    ],
)
def test_everything_is_created_and_the_token_is_revoked_where_gitlab_can(draft: Draft, last: str) -> None:
    token = draft.sandbox.token("root")

    answer = draft.create(token, groups="web, data")

    assert (answer.status_code, answer.headers["Location"]) == (303, f"{SETUP}/create")
    assert draft.outcomes() == [*DONE[:-1], ("revoke", last)]
    connection, stored, world = draft.connection(), draft.application(), draft.sandbox.world
    (made,) = world.oauth.applications()
    user = world.user_by_username("gatehouse")
    assert (made.uid, made.redirect_uri, made.confidential, made.trusted) == (
        stored.client_id,
        f"{draft.runtime.settings.base_url}/oauth/callback/gitlab",
        True,
        False,
    )
    assert stored.checked_at is not None
    assert (user.admin, user.confirmed, user.email) == (False, True, "gatehouse@localhost")
    assert sorted(world.group_paths_of(user)) == ["data", "web"]
    assert {level for _, level in world.memberships_of(user)} == {20}
    assert connection.service_username == "gatehouse"
    assert connection.state == ConnectionState.AWAITING_AUTHORIZATION
    assert (world.personal_access_tokens.find(token).is_revoked) == (last == "done")
    page = draft.page()
    # What is planned is listed with its result, the request without the token too.
    made_calls = {(call["method"], call["path"]): call for result in draft.run().results for call in result["calls"]}
    assert made_calls["POST", "/oauth/token"]["verdict"] == "accepted"
    assert re.search(r"POST /oauth/token</code><span [^>]*>accepted · [0-9.]+ s", page)
    assert f'href="{SETUP}/authorize"' in page
    assert f"{draft.sandbox.url}/admin/applications/{made.id}" in page
    assert ("Revoke the token in GitLab" in page) == (last == "by_hand")
    assert "to your groups" not in page


def test_user_that_is_in_no_group_is_said(draft: Draft) -> None:
    draft.create(draft.sandbox.token("root"), groups="")

    assert draft.run().state == "done"
    assert "Add @gatehouse to your groups" in draft.page()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Paste the token"),
        ("gloas-" + "0" * 64, "Secret of an OAuth application"),
        ("https://gitlab.example.com/-/user_settings/personal_access_tokens", "This is an address"),
        ("glpat-0123456789\tabcdefghij", "a space or a line break"),
    ],
)
def test_what_cannot_be_a_token_is_sent_nowhere_and_never_repeated(draft: Draft, text: str, sentence: str) -> None:
    draft.sandbox.requests.clear()

    answer = draft.create(text)

    assert (answer.status_code, len(draft.sandbox.requests.all())) == (422, 0)
    assert sentence in answer.text
    assert not text or text not in answer.text


@pytest.mark.parametrize(
    ("case", "failure"),
    [
        ("unknown", "one_time_token/unknown"),
        ("revoked", "one_time_token/revoked"),
        ("not_admin", "one_time_token/not_admin"),
        ("scope", "one_time_token/scope"),
        ("admin_mode", "one_time_token/refused"),
    ],
)
def test_token_that_cannot_do_it_is_named_and_nothing_is_made(draft: Draft, case: str, failure: str) -> None:
    sandbox, world = draft.sandbox, draft.sandbox.world
    token = {
        "unknown": lambda: "glpat-0123456789abcdefghij",
        "not_admin": lambda: sandbox.token("dev"),
        "scope": lambda: sandbox.token("root", "read_api"),
    }.get(case, lambda: sandbox.token("root"))()
    world.settings.admin_mode = case == "admin_mode"
    if case == "revoked":
        world.personal_access_tokens.find(token).revoked_at = world.now()

    draft.create(token)

    assert draft.failure() == failure
    assert (world.oauth.applications(), world.user_by_username("gatehouse")) == ([], None)
    page = draft.page()
    assert "This is how far it got" in page
    assert "Make these calls" in page


def test_application_whose_answer_was_lost_is_found_and_gets_another_secret(draft: Draft) -> None:
    draft.sandbox.faults.add("/api/v4/applications", "POST", drop="after", times=1)

    draft.create(draft.sandbox.token("root"))

    (made,) = draft.sandbox.world.oauth.applications()
    assert draft.outcomes()[1] == ("application", "renewed")
    assert draft.sandbox.requests.count("/api/v4/applications", "POST") == 1
    assert (draft.application().client_id, draft.run().state) == (made.uid, "done")
    assert draft.application().checked_at is not None


@pytest.mark.parametrize("sandbox_options", [{"version": "12.10.14"}])
def test_lost_secret_that_this_version_cannot_renew_is_said(draft: Draft) -> None:
    draft.sandbox.faults.add("/api/v4/applications", "POST", drop="after", times=1)

    draft.create(draft.sandbox.token("root"))
    draft.create(draft.sandbox.token("root"))

    assert draft.failure() == "secret_not_given_again"
    assert len(draft.sandbox.world.oauth.applications()) == 1


@pytest.mark.parametrize(
    ("path", "fault", "failure"),
    [
        ("/api/v4/applications", {"status": 503, "html": True}, "gitlab_unavailable"),
        ("/api/v4/applications", {"drop": "before"}, "answer_broken"),
        ("/api/v4/users", {"status": 400, "body": {"message": {"email": ["is not allowed"]}}}, "provisioning_refused"),
        ("/api/v4/users", {"status": 429, "body": "Retry later\n"}, "gitlab_rate_limited"),
        ("/api/v4/groups/*/members", {"status": 403, "body": {"message": "403 Forbidden"}}, "one_time_token/refused"),
        ("/oauth/token", {"status": 403, "html": True}, "oauth_blocked"),
    ],
)
def test_a_failed_step_ends_the_run_and_the_next_run_continues_from_what_exists(
    draft: Draft, path: str, fault: dict[str, object], failure: str
) -> None:
    sandbox, world, token = draft.sandbox, draft.sandbox.world, draft.sandbox.token("root")
    sandbox.faults.add(path, "POST", **fault)

    draft.create(token, groups="web")
    failed = draft.outcomes()
    code = draft.failure()
    page = draft.page()
    sandbox.faults.clear()
    created = sandbox.requests.count("/api/v4/applications", "POST") if len(failed) > 2 else 0
    draft.create(token, groups="web")

    assert (code, failed[-1][1]) == (failure, "failed")
    assert "not done" in page
    assert "GitLab has not" in page  # … forgotten the token.
    assert [step for step, _ in draft.outcomes()] == [step for step, _ in DONE]
    assert draft.run().state == "done"
    assert len(world.oauth.applications()) == 1
    assert sandbox.requests.count("/api/v4/applications", "POST") == (created or 2)
    assert world.group_paths_of(world.user_by_username("gatehouse")) == ["web"]
    assert world.personal_access_tokens.find(token).is_revoked


@pytest.mark.parametrize("path", ["/api/v4/users", "/api/v4/groups/*/members", "/api/v4/personal_access_tokens/self"])
@pytest.mark.parametrize("fault", [{"drop": "after"}, {"status": 502, "html": True, "processed": True}])
def test_change_whose_answer_was_lost_is_looked_for_and_not_sent_again(
    draft: Draft, path: str, fault: dict[str, object]
) -> None:
    token = draft.sandbox.token("root")
    method = "DELETE" if path.endswith("self") else "POST"
    draft.sandbox.faults.add(path, method, times=1, **fault)

    draft.create(token, groups="web")

    world = draft.sandbox.world
    assert draft.run().state == "done"
    assert draft.sandbox.requests.count(path.replace("*", str(world.group("web").id)), method) == 1
    assert world.group_paths_of(world.user_by_username("gatehouse")) == ["web"]
    assert world.personal_access_tokens.find(token).is_revoked


def test_outcome_that_nobody_can_find_out_is_said_and_the_next_run_looks_first(draft: Draft) -> None:
    faults, token = draft.sandbox.faults, draft.sandbox.token("root")
    faults.add("/api/v4/users", "POST", drop="after", times=1)
    faults.add("/api/v4/users", "GET", status=502, html=True, times=1)

    draft.create(token)
    code = draft.failure()
    draft.create(token)

    assert code == "provisioning_unknown"
    assert draft.outcomes()[2] == ("service_user", "existed")


@pytest.mark.parametrize(
    ("details", "failure"),
    [
        ({"username": "gatehouse"}, ""),
        ({"username": "gatehouse", "admin": True}, "service_user_unusable/admin"),
        ({"username": "gatehouse", "external": True}, "service_user_unusable/external"),
        ({"username": "gatehouse", "kind": "service_account"}, "service_user_unusable/bot"),
        ({"username": "gatehouse", "state": "blocked"}, "service_user_unusable"),
        ({"username": "other", "email": "gatehouse@localhost"}, "service_user_email_taken"),
    ],
)
def test_user_that_is_there_is_used_if_somebody_could_authorize_as_it(
    draft: Draft, details: dict[str, object], failure: str
) -> None:
    state = details.pop("state", "active")
    draft.sandbox.world.create_user(name="Someone", **details).state = state

    draft.create(draft.sandbox.token("root"))

    if failure:
        assert draft.failure() == failure
        assert draft.connection().service_username == ""
    else:
        assert draft.outcomes()[2] == ("service_user", "existed")
        assert "@gatehouse existed already, so it was used" in draft.page()


def test_role_that_is_there_is_neither_raised_nor_lowered(draft: Draft) -> None:
    world = draft.sandbox.world
    roles = {"web": 40, "data": 10}
    user = world.create_user(name="Gatehouse", username="gatehouse", roles=roles)

    draft.create(draft.sandbox.token("root"), groups="data web mobile")

    assert {group.full_path: level for group, level in world.memberships_of(user)} == {**roles, "mobile": 20}
    assert draft.outcomes()[3] == ("groups", "differs")
    page = draft.page()
    assert "in web it was already Maintainer and stays that way" in page
    assert "Raise its role there in GitLab." in page


@pytest.mark.parametrize("path", ["nowhere", "12", "web/api-gateway"])
def test_group_that_is_not_there_is_named(draft: Draft, path: str) -> None:
    draft.create(draft.sandbox.token("root"), groups=f"web {path}")

    assert draft.failure() == "group_not_there"
    assert f"GitLab has no group {path}." in draft.page()
    assert draft.run().results[-1]["facts"]["made"] == ["web"]


def test_token_is_not_sent_to_what_does_not_answer_as_gitlab(draft: Draft) -> None:
    draft.sandbox.faults.add("/api/v4/version", status=200, html=True)

    draft.create(draft.sandbox.token("root"), groups="web")

    assert draft.failure() == "not_gitlab"
    assert draft.sandbox.requests.all("/api/v4/user") == []
    assert draft.sandbox.requests.count("/api/v4/*") == draft.sandbox.requests.count("/api/v4/version")


def test_nothing_is_made_that_the_page_did_not_list(draft: Draft) -> None:
    token = draft.sandbox.token("root")
    form = {"one_time_token": token, "service_username": "other", "groups": "web", "shown": "0" * 64}

    answer = draft.owner.post(f"{SETUP}/create", form)

    assert answer.status_code == 422
    assert "The list below has changed" in answer.text
    assert "Create user @other" in answer.text
    assert token not in answer.text
    assert draft.sandbox.world.oauth.applications() == []


def test_groups_are_listed_for_choosing_with_and_without_javascript(draft: Draft) -> None:
    form = {"one_time_token": draft.sandbox.token("root"), "service_username": "gatehouse", "groups": ""}

    fragment = draft.owner.post(f"{SETUP}/create/groups", form, htmx=True).text
    page = draft.owner.post(f"{SETUP}/create/groups", form).text

    for text in (fragment, page):
        assert 'name="group" value="web"' in text
        assert "Make it Reporter in 7 groups" in text
        assert "web/shop" not in text
    assert "Gatehouse has forgotten the token." in page
    assert form["one_time_token"] not in fragment + page


def test_of_two_at_once_one_is_refused_and_a_silent_one_is_replaced(draft: Draft) -> None:
    token = draft.sandbox.token("root")
    draft.create(token, service_username="root")
    with draft.runtime.database.transaction() as session:
        row = session.get_one(ProvisioningRun, draft.run().id)
        row.state, row.results = "running", row.results[:1]
    shown = draft.page()
    with draft.runtime.database.transaction() as session:
        session.get_one(ProvisioningRun, row.id).updated_at -= timedelta(minutes=5)
    silent = draft.page()
    answer = draft.create(token)

    assert "Gatehouse is making the calls" in shown
    assert "The portal was stopped in the middle of this." in silent
    assert answer.status_code == 303
    assert draft.run().state == "done"


def test_the_audit_log_has_every_call_and_never_the_token(draft: Draft) -> None:
    token = draft.sandbox.token("root")

    draft.create(token, groups="web")

    events = [event for event in draft.events() if event.action == "provisioning.called"]
    calls = [call for event in events for call in event.details["calls"]]
    assert [event.details["step"] for event in events] == [step for step, _ in DONE]
    assert "POST /applications 201" in calls
    assert "DELETE /personal_access_tokens/self 204" in calls
    assert "POST /oauth/token accepted" in calls
    requests = draft.sandbox.requests
    assert len(calls) == requests.count("/api/v4/*") - IDENTIFIES + requests.count("/oauth/token")
    assert token not in repr([event.model_dump() for event in draft.events()])
