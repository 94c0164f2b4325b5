"""Environments of an enabled repository, and promotions: shown first, then a commit or a merge request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlmodel import col, select

from portal.actor import Principal
from portal.audit.models import AuditEvent
from portal.errors import Conflict, InvalidInput, NotFound
from portal.gitops.environments import (
    Line,
    create_environment,
    delete_environment,
    find_enabled,
    list_environments,
    stop_environment,
)
from portal.gitops.promotions import load_workflow, preview, promote, version_in, with_version
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.sandbox.options import SandboxOptions
from portal.sandbox.people import SERVICE_USER_ID
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.support.walkthrough import principal_of
from tests.sync.synced import enabled_repository

PATH = "platform/infrastructure/terraform-modules"
STAGING = "service: gateway\nimage: registry.example.com/platform/gateway:4.19.0\nreplicas: 2\n"
PRODUCTION = 'service: gateway\r\nimage: "registry.example.com/platform/gateway:4.18.2" # see docs\r\nreplicas: 6\r\n'


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """A simulated GitLab for this test alone."""
    with RunningSandbox(SandboxOptions(with_service_user=True, project_count=10)) as running:
        running.world.add_project_member(running.world.project(PATH).id, SERVICE_USER_ID, 40)
        yield running


@pytest.fixture
def repository(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Repository:
    """An enabled repository with environments, and files that say what runs there."""
    found = enabled_repository(runtime, sandbox, cast, PATH)
    files = {"deploy/staging.yaml": STAGING.encode(), "deploy/production.yaml": PRODUCTION.encode()}
    sandbox.world.git.commit(found.gitlab_project_id, files)
    return found


@pytest.fixture
def owner(runtime: Runtime, cast: Cast) -> Principal:
    """Who does it."""
    return principal_of(runtime, cast.owner)


def lines_of(runtime: Runtime, owner: Principal, repository: Repository) -> list[Line]:
    found = list_environments(runtime, find_enabled(runtime, owner, repository.id or 0))
    assert found.card is None
    return found.lines


def actions(runtime: Runtime) -> list[str]:
    with runtime.database.reading() as session:
        found = session.exec(select(AuditEvent.action).order_by(col(AuditEvent.number)))
        return [action for action in found if action.startswith("environment.")]


def test_environments_from_the_first_look_to_a_deleted_one(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Principal, repository: Repository
) -> None:
    number = repository.id or 0
    lines = lines_of(runtime, owner, repository)
    assert [line.environment.tier for line in lines[:2]] == ["production", "staging"]
    assert lines[0].environment.last_deployment is not None
    assert lines[0].environment.last_deployment.version.startswith("v4.")
    assert lines[-1].state[2] == "Stopped"
    assert lines[0].host == "terraform-modules.production.example.com"

    create_environment(runtime, owner, number, "testing", "https://t.example.com", "")
    with pytest.raises(InvalidInput, match="has already been taken"):
        create_environment(runtime, owner, number, "testing", "", "testing")
    for name, url, tier in (("", "", ""), ("a", "javascript:alert(1)", ""), ("a", "", "first")):
        with pytest.raises(InvalidInput):
            create_environment(runtime, owner, number, name, url, tier)
    made = next(line.environment for line in lines_of(runtime, owner, repository) if line.environment.name == "testing")
    with pytest.raises(Conflict, match="is not stopped"):
        delete_environment(runtime, owner, number, made.id)
    assert stop_environment(runtime, owner, number, made.id) == "testing"
    assert delete_environment(runtime, owner, number, made.id) == "testing"
    with pytest.raises(Conflict, match="no longer has"):
        stop_environment(runtime, owner, number, made.id)
    assert actions(runtime) == [
        "environment.creation_requested",
        "environment.creation_requested",
        "environment.stop_requested",
        "environment.deletion_requested",
    ]
    # What GitLab refuses, and a GitLab that does not answer, are told, and nothing is pretended.
    sandbox.world.settings.maintenance = True
    with pytest.raises(Conflict, match="It was not stopped"):
        stop_environment(runtime, owner, number, lines[0].environment.id)
    sandbox.world.settings.maintenance = False
    sandbox.faults.add(f"/api/v4/projects/{repository.gitlab_project_id}/environments", status=502, body="", times=None)
    unread = list_environments(runtime, find_enabled(runtime, owner, number))
    assert unread.card is not None
    assert (unread.card.code, unread.lines) == ("gitlab_unavailable", [])
    # A lead without this group, and an auditor, can't do any of it; nothing is sent to GitLab.
    count = sandbox.requests.count()
    for actor in (cast.lead, cast.auditor):
        with pytest.raises(NotFound):
            create_environment(runtime, principal_of(runtime, actor), number, "b", "", "")
    assert sandbox.requests.count() == count


def test_a_promotion_is_shown_and_then_a_merge_request(
    runtime: Runtime, sandbox: RunningSandbox, owner: Principal, repository: Repository
) -> None:
    row, number = find_enabled(runtime, owner, repository.id or 0), repository.id or 0
    workflow = load_workflow(runtime, row, lines_of(runtime, owner, repository))
    assert workflow is not None
    assert [(stage.name, stage.version, stage.earlier) for stage in workflow.stages] == [
        ("staging", "4.19.0", ""),
        ("production", "4.18.2", "4.19.0"),
    ]
    assert workflow.is_protected
    shown = preview(runtime, row, workflow, "production", "4.19.0")
    assert shown.diff == [
        (" ", "service: gateway"),
        ("-", 'image: "registry.example.com/platform/gateway:4.18.2" # see docs'),
        ("+", 'image: "registry.example.com/platform/gateway:4.19.0" # see docs'),
        (" ", "replicas: 6"),
    ]
    for name, version, error in (
        ("production", "4.18.2", Conflict),
        ("review", "4.19.0", Conflict),
        ("production", "a b", InvalidInput),
    ):
        with pytest.raises(error):
            preview(runtime, row, workflow, name, version)

    git, project = sandbox.world.git, sandbox.world.project(PATH)
    url = promote(runtime, owner, number, workflow, "production", "4.19.0", shown.known)
    assert url.endswith("/-/merge_requests/10001")
    written = git.output(project, "show", "gatehouse/production-4.19.0:deploy/production.yaml").decode()
    assert written == PRODUCTION.replace("4.18.2", "4.19.0")
    assert git.run(project, "log", "-1", "--format=%an", "gatehouse/production-4.19.0") == owner.name
    # Sent twice, or taken up after a kill: one branch, one merge request.
    assert promote(runtime, owner, number, workflow, "production", "4.19.0", shown.known) == url
    assert len(git.proposals[project.id]) == 1
    again = load_workflow(runtime, row, lines_of(runtime, owner, repository))
    assert again is not None
    assert (workflow.proposed, again.proposed) == ("", url)

    git.commit(project.id, {"deploy/production.yaml": b"image: gateway:5.0.0\n"})
    with pytest.raises(Conflict, match="has changed since"):
        promote(runtime, owner, number, workflow, "production", "4.20.0", shown.known)
    assert actions(runtime) == ["environment.promotion_requested"] * 2


def test_a_promotion_is_a_commit_where_nothing_is_protected(
    runtime: Runtime, sandbox: RunningSandbox, owner: Principal, repository: Repository
) -> None:
    sandbox.world.git.unprotected.add(repository.gitlab_project_id)
    row = find_enabled(runtime, owner, repository.id or 0)
    workflow = load_workflow(runtime, row, lines_of(runtime, owner, repository))
    assert workflow is not None
    assert not workflow.is_protected
    shown = preview(runtime, row, workflow, "staging", "4.20.0-rc2")
    assert promote(runtime, owner, row.repository.id or 0, workflow, "staging", "4.20.0-rc2", shown.known) == ""
    project = sandbox.world.project(PATH)
    assert ":4.20.0-rc2\n" in sandbox.world.git.run(project, "show", "main:deploy/staging.yaml")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("image: registry:5000/app:1.2.3\n", "1.2.3"),
        ("    - image: app:v1\n", "v1"),
        ('{\n  "version": "2.0",\n}\n', "2.0"),
        ("VERSION=7\n", "7"),
        ("image: app\n", "app"),
        ("image: registry/app\n", ""),
        ("image: app@sha256:" + "a" * 64 + "\n", "a" * 64),
        ("tag: " + "a:" * 5000 + "\n", ""),
        ("", ""),
    ],
)
def test_the_first_version_of_a_file(text: str, version: str) -> None:
    assert version_in(text) == version
    if version:
        assert with_version(text, "9") == text.replace(version, "9", 1)
    else:
        assert with_version(text, "9") == text
