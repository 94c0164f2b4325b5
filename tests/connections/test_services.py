"""Steps 3 and 7: services, and the scopes they need."""

from __future__ import annotations

import pytest

from portal.connections.models import ConnectionState
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.connections.drafts import connection_named
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize

SOME = {"services": ["issues"]}
ALL = {"services": ["repositories", "merge_requests", "issues"]}


def test_services_cannot_be_empty(
    owner: Visitor, runtime: Runtime, sandbox: RunningSandbox, prepared: Prepared
) -> None:
    authorize(owner, sandbox, prepared.slug)

    refused = owner.post(f"/connections/{prepared.slug}/setup/services", {})
    accepted = owner.post(f"/connections/{prepared.slug}/setup/services", {"services": ["repositories"]})

    assert refused.status_code == 422
    assert accepted.headers["Location"].endswith("/setup/repositories")
    assert connection_named(runtime, "GitLab").services == ["repositories"]


def choose(owner: Visitor, slug: str, form: dict[str, object]) -> str:
    """Save step 7; return where it leads."""
    answer = owner.post(f"/connections/{slug}/setup/services", form)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].rpartition("/")[2]


def test_services_that_were_granted_all_along_need_nothing_new(
    runtime: Runtime, owner: Visitor, live: Prepared
) -> None:
    assert choose(owner, live.slug, SOME) == "repositories"
    assert choose(owner, live.slug, ALL) == "repositories"

    assert connection_named(runtime, "GitLab").attention is None


def test_services_narrowed_again_end_the_attention(runtime: Runtime, owner: Visitor, live: Prepared) -> None:
    assert choose(owner, live.slug, {**ALL, "hooks_wanted": "1"}) == "authorize"
    wider = connection_named(runtime, "GitLab")
    assert choose(owner, live.slug, ALL) == "repositories"

    assert (wider.state, wider.attention["code"]) == (ConnectionState.NEEDS_ATTENTION, "missing_scopes")
    assert "not granted: api." in wider.attention["sentence"]
    narrowed = connection_named(runtime, "GitLab")
    assert (narrowed.state, narrowed.attention) == (ConnectionState.CONNECTED, None)


def test_wide_scope_covers_what_it_includes(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    made = prepared.application
    wide = ("api", "read_user", "read_repository")
    sandbox.world.oauth.update_application(made.id, made.name, made.redirect_uri, wide, True, True)
    owner.post(f"/connections/{prepared.slug}/setup/application/preset", {"preset": "full"})
    authorize(owner, sandbox, prepared.slug)

    assert choose(owner, prepared.slug, ALL) == "repositories"
    assert connection_named(runtime, "GitLab").attention is None


@pytest.mark.parametrize("preset", ["", "none", "x" * 5000])
def test_preset_that_there_is_not_is_422_on_its_page(owner: Visitor, prepared: Prepared, preset: str) -> None:
    answer = owner.post(f"/connections/{prepared.slug}/setup/application/preset", {"preset": preset})

    assert answer.status_code == 422
    assert "Choose one of these sets of services." in answer.text
    assert "Redirect URI" in answer.text
