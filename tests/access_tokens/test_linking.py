"""Testing a token, linking the account, and what the guide says, on GitLabs of different ages."""

from __future__ import annotations

from datetime import timedelta
from html import unescape

import pytest
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.connections import limits
from portal.connections.models import Connection, ConnectionState
from portal.credentials.models import Credential
from portal.db import utc_now
from portal.gitlab.access_tokens import TRIED_PROJECTS
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.access_tokens.drafts import FINE_GRAINED, fine_grained, token_draft, words_of
from tests.access_tokens.test_wrong_tokens import stored
from tests.support.people import Cast
from tests.support.visitor import Visitor

IN_90_DAYS = utc_now().date() + timedelta(days=90)


def row(runtime: Runtime, slug: str) -> tuple[Connection, Credential | None]:
    """Return a connection and its credential as they are stored."""
    with runtime.database.reading() as session:
        connection = session.exec(select(Connection).where(Connection.slug == slug)).one()
        return connection, session.exec(select(Credential).where(Credential.connection_id == connection.id)).first()


def acts_as(runtime: Runtime, slug: str) -> str:
    """Return the user whose token a connection holds."""
    credential = row(runtime, slug)[1]
    return credential.gitlab_username if credential else ""


@pytest.mark.parametrize(
    ("version", "scopes", "told"),
    [
        ("12.1.0", "api", "GitLab says so since 15.5"),
        ("12.5.0", "api", "This GitLab does not say whether the token has read_repository."),
        ("15.4.0", "read_api read_repository", "This GitLab does not say whether the token has read_repository."),
        ("15.11.0", "read_api read_repository", "This token can do everything you chose"),
        ("17.11.0", "api", "read_api, read_user, read_repository would be enough"),
        ("18.10.0", "read_user read_api read_repository write_repository", "write_repository · leave it out"),
    ],
)
def test_token_of_a_person_is_tested_without_a_trace_and_then_linked(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast, version: str, scopes: str, told: str
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner)
    token = sandbox.token("gatehouse", *scopes.split(), expires_at=IN_90_DAYS)
    page = f"/connections/{slug}/setup/token"

    tested = owner.post(page, {"access_token": f" {token}\n", "do": "test"}, htmx=True)
    text = words_of(tested.text)

    assert tested.status_code == 200
    for part in (told, "Legacy personal access token", "@gatehouse, not an admin", "57 projects in 32 groups"):
        assert part in text
    is_told = "since 15.5" not in text
    assert ("in 90 days" in text) == is_told
    assert stored(runtime) == 0

    linked = owner.post(page, {"access_token": token, "do": "link"})

    connection, credential = row(runtime, slug)
    assert linked.headers["Location"].endswith(f"/connections/{slug}/setup/repositories")
    assert credential is not None
    assert (connection.state, connection.version_seen) == (ConnectionState.CONNECTED, f"{version}-ee")
    assert (credential.method, credential.gitlab_username) == ("access_token", "gatehouse")
    assert set(credential.scopes) == (set(scopes.split()) if is_told else set())


# It is the first that tells the permissions of a token.
@pytest.mark.parametrize("version", ["19.6.0"])
def test_each_kind_of_token_is_named(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(limits.PER_MINUTE, limits.TOKENS, 100)
    slug, world, scopes = token_draft(runtime, sandbox, cast.owner), sandbox.world, ("read_api", "read_repository")
    handbook, level = world.project("platform/handbook"), 20
    tokens = {
        "Fine-grained personal access token": fine_grained(sandbox),
        "Legacy group access token": world.create_group_token(world.group("platform"), level, scopes=scopes),
        "Legacy project access token": world.create_project_token(handbook, level, scopes=scopes),
        "Legacy token of a service account": world.create_service_account_token({"platform": level}, scopes=scopes),
        "Pipeline: Create · leave it out": fine_grained(sandbox, [*FINE_GRAINED, "create_pipeline"]),
        "that needs Personal Access Token: Read": fine_grained(
            sandbox, [name for name in FINE_GRAINED if name != "read_personal_access_token"]
        ),
    }

    found = {}
    for told, token in tokens.items():
        answer = owner.post(f"/connections/{slug}/setup/token", {"access_token": token, "do": "test"}, htmx=True)
        found[told] = told in words_of(answer.text)

    assert found == dict.fromkeys(tokens, True)


def test_public_projects_say_nothing_about_a_permission(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast
) -> None:
    slug, world = token_draft(runtime, sandbox, cast.owner), sandbox.world
    user = world.user_by_username("gatehouse")
    newest = [project for project in world.visible_projects(user) if world.access_level(user, project)]
    for project in sorted(newest, key=lambda project: project.created)[-TRIED_PROJECTS:]:
        world.change_project(project.id, visibility="public")
    token = fine_grained(sandbox, [name for name in FINE_GRAINED if name != "read_merge_request"])

    answer = owner.post(f"/connections/{slug}/setup/token", {"access_token": token, "do": "test"}, htmx=True)

    assert "One permission is missing: Merge Request: Read" in words_of(answer.text)


def test_what_a_token_cannot_do_may_be_left_out(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner, hooks_wanted=True)
    token = fine_grained(sandbox, [name for name in FINE_GRAINED if name != "read_merge_request"])
    page = f"/connections/{slug}/setup/token"

    with monkeypatch.context() as patch:
        patch.setitem(limits.PER_MINUTE, limits.TOKENS, 0)
        limited = owner.post(page, {"access_token": token, "do": "link"})
    refused = owner.post(page, {"access_token": token, "do": "link"})

    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "60")
    assert refused.status_code == 422
    assert "2 permissions are missing: Merge Request: Read, Webhook: Read" in refused.text
    assert "Link without merge requests and webhooks" in refused.text
    assert "GET /projects/" in refused.text
    assert stored(runtime) == 0
    with runtime.database.reading() as session:
        told = session.exec(select(AuditEvent).where(AuditEvent.action == "access_token.tested")).one()
    assert (told.result, told.details["missing"]) == ("failed", ["Merge Request: Read", "Webhook: Read"])

    linked = owner.post(page, {"access_token": token, "do": "without"})

    connection, credential = row(runtime, slug)
    assert linked.status_code == 303
    assert credential is not None
    assert (connection.services, connection.hooks_wanted) == (["repositories", "issues"], False)


def test_token_is_replaced_by_one_of_the_same_user_or_of_another_only_if_someone_agrees(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner)
    setup = f"/connections/{slug}/setup"
    owner.post(
        f"{setup}/token", {"access_token": sandbox.token("gatehouse", "read_api", "read_repository"), "do": "link"}
    )

    wider = owner.post(f"{setup}/services", {"services": "repositories", "hooks_wanted": "1"})
    page = owner.get(wider.headers["Location"])
    replaced = owner.post(f"{setup}/token", {"access_token": sandbox.token("gatehouse", "api"), "do": "link"})

    assert wider.headers["Location"].endswith("/setup/token")
    assert "Replace the access token" in page.text
    assert 'name="domain"' not in page.text
    assert replaced.status_code == 303
    before = row(runtime, slug)[1]
    assert before is not None
    assert before.scopes == ["api"]

    other = sandbox.token(sandbox.service_user("other").username, "api")
    asked = owner.post(f"{setup}/token", {"access_token": other, "do": "link"})

    assert asked.status_code == 422
    assert "This token belongs to @other" in asked.text
    assert acts_as(runtime, slug) == "gatehouse"

    agreed = owner.post(f"{setup}/token", {"access_token": other, "agreed_username": "other", "do": "agree"})

    assert agreed.status_code == 303
    assert acts_as(runtime, slug) == "other"


def test_another_domain_is_checked_before_it_gets_the_token(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner)
    sandbox.requests.clear()
    data = {"domain": f"{sandbox.url}/elsewhere", "access_token": sandbox.token("gatehouse"), "do": "link"}

    answer = owner.post(f"/connections/{slug}/setup/token", data)

    assert answer.status_code == 422
    assert "it was not GitLab" in unescape(answer.text)
    assert sandbox.requests.count("*/personal_access_tokens/self") == 0
    assert row(runtime, slug)[1] is None
    assert owner.get(f"/connections/{slug}/setup/token").headers["Location"].endswith("/setup/instance")


@pytest.mark.parametrize(
    ("version", "there", "missing"),
    [
        ("12.5.0", ["Fine-grained tokens need GitLab 18.10", "lets you leave it empty"], ["granular/new", "A project"]),
        ("15.4.0", ["scopes=read_api", "Group or project token"], ["granular/new", "service account"]),
        ("17.11.0", ["365 days", "400 if the administrator", "service account"], ["granular/new"]),
        ("18.10.0", ["granular/new", "beta", "Merge Request: Read"], ["recommended"]),
        ("19.5.0", ["granular/new", "recommended", "Personal Access Token: Read", "require fine-grained"], ["beta"]),
        ("", ["granular/new", "from 18.10", "From GitLab 16.0 on"], []),
    ],
)
def test_guide_is_about_this_version(
    runtime: Runtime,
    sandbox: RunningSandbox,
    owner: Visitor,
    cast: Cast,
    version: str,
    there: list[str],
    missing: list[str],
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner)
    with runtime.database.transaction() as session:
        session.exec(select(Connection).where(Connection.slug == slug)).one().version_seen = version

    text = owner.get(f"/connections/{slug}/setup/token").text
    guide = unescape(" ".join(text[text.index('id="guide"') :].split()))

    assert [part for part in there if part not in guide] == []
    assert [part for part in missing if part in guide] == []
