"""What a connection is used for, and the scopes that needs."""

from __future__ import annotations

import pytest

from portal.connections.models import ConnectionState
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.connections.drafts import connection_named
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, prepare

SOME = {"services": ["issues"]}
ALL = {"services": ["repositories", "merge_requests", "issues"]}


def test_services_cannot_be_empty(
    owner: Visitor, runtime: Runtime, sandbox: RunningSandbox, prepared: Prepared
) -> None:
    authorize(owner, sandbox, prepared.slug)

    refused = owner.post(f"/connections/{prepared.slug}/setup/services", {})
    accepted = owner.post(f"/connections/{prepared.slug}/setup/services", {"services": ["repositories"]})

    assert refused.status_code == 422
    assert accepted.headers["Location"] == f"/connections/{prepared.slug}"
    assert connection_named(runtime, "GitLab").services == ["repositories"]


def choose(owner: Visitor, slug: str, form: dict[str, object]) -> str:
    """Save the services; return where that leads."""
    answer = owner.post(f"/connections/{slug}/setup/services", form)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].rpartition("/")[2]


def test_services_that_were_granted_all_along_need_nothing_new(
    runtime: Runtime, owner: Visitor, live: Prepared
) -> None:
    assert choose(owner, live.slug, SOME) == live.slug
    assert choose(owner, live.slug, ALL) == live.slug

    assert connection_named(runtime, "GitLab").attention is None


def test_services_narrowed_again_end_the_attention(runtime: Runtime, owner: Visitor, live: Prepared) -> None:
    assert choose(owner, live.slug, {**ALL, "hooks_wanted": "1"}) == "authorize"
    wider = connection_named(runtime, "GitLab")
    assert choose(owner, live.slug, ALL) == live.slug

    assert (wider.state, wider.attention["code"]) == (ConnectionState.NEEDS_ATTENTION, "missing_scopes")
    assert wider.attention["params"] == {"scopes": "api"}
    narrowed = connection_named(runtime, "GitLab")
    assert (narrowed.state, narrowed.attention) == (ConnectionState.CONNECTED, None)


def test_wide_scope_covers_what_it_includes(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    made = prepared.application
    wide = ("api", "read_user", "read_repository")
    sandbox.world.oauth.update_application(made.id, made.name, made.redirect_uri, wide, True, True)
    purpose = {"display_name": "GitLab", "method": "oauth", **ALL, "hooks_wanted": "1"}
    owner.post(f"/connections/{prepared.slug}/setup/purpose", purpose)
    authorize(owner, sandbox, prepared.slug)

    assert choose(owner, prepared.slug, ALL) == prepared.slug
    assert connection_named(runtime, "GitLab").attention is None


def test_gitlab_without_read_api_is_asked_for_the_scope_it_has(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast
) -> None:
    sandbox.world.settings.version = "12.9.5"
    prepared = prepare(runtime, sandbox, cast.owner)

    page = owner.get(f"/connections/{prepared.slug}/setup/application").text
    authorize(owner, sandbox, prepared.slug)
    run_pending(runtime)

    assert "<code>api</code>" in page
    assert "this GitLab has no narrower scope" in page
    assert "<code>read_api</code>" not in page
    connection = connection_named(runtime, "GitLab")
    assert (connection.state, connection.attention) == (ConnectionState.CONNECTED, None)
    assert choose(owner, prepared.slug, {**ALL, "hooks_wanted": "1"}) == prepared.slug


def test_fine_grained_authorization_is_judged_by_requests_and_not_by_names(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    sandbox.world.settings.version = "19.5.0"
    sandbox.world.make_granular(prepared.application.id, ["read_user", "read_metadata", "read_group"])

    authorize(owner, sandbox, prepared.slug)
    run_pending(runtime)

    connection = connection_named(runtime, "GitLab")
    assert connection.authorized_at is not None
    assert (connection.attention["code"], connection.attention["words"]) == (
        "insufficient_permission",
        "Access denied: This operation requires a fine-grained oauth access token with the following user permissions: "
        "[Project: Read].",
    )
    assert choose(owner, prepared.slug, {**ALL, "hooks_wanted": "1"}) == prepared.slug


@pytest.mark.parametrize("services", [[], ["everything"]])
def test_purpose_without_a_service_there_is_is_422_on_its_page(owner: Visitor, services: list[str]) -> None:
    form = {"display_name": "Second", "method": "oauth", "services": services}

    answer = owner.post("/connections/new", form)

    assert answer.status_code == 422
    assert 'value="Second"' in answer.text


def test_draft_may_change_its_purpose_and_keeps_the_rest(owner: Visitor, runtime: Runtime, prepared: Prepared) -> None:
    path = f"/connections/{prepared.slug}/setup/purpose"
    assert 'value="GitLab"' in owner.get(path).text

    answer = owner.post(
        path, {"display_name": "Renamed", "method": "oauth", "services": ["issues"], "hooks_wanted": "1"}
    )

    assert answer.headers["Location"].endswith("/setup/instance")
    changed = connection_named(runtime, "Renamed")
    assert (changed.services, changed.hooks_wanted) == (["issues"], True)
    page = owner.get(f"/connections/{prepared.slug}/setup/application").text
    assert "<code>api</code>" in page
    assert "<code>read_api</code>" not in page
