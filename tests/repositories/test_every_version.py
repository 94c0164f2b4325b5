"""One read of each version at which GitLab's lists changed, of more projects than fit a page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlmodel import select

from portal.connections.models import Connection, ConnectionState, Method
from portal.jobs.models import JobState
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import GitLabGroup, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect, let_through
from tests.support.people import Cast

GATEWAY_ROWS = 50


@pytest.fixture
def backend() -> str:
    """The requests to GitLab are the same on each database."""
    return "sqlite"


@pytest.fixture(scope="module")
def large() -> Iterator[RunningSandbox]:
    """Enough projects for several pages, and for ids to be split among lanes."""
    with RunningSandbox(project_count=450, with_service_user=True) as running:
        yield running


# Each with what it, or the previous version, lacks: docs/gitlab.md, "Differences between versions".
@pytest.mark.parametrize(
    ("version", "method", "asks_for_roles", "has_bounds", "rows_a_page"),
    [
        ("9.0.0", Method.OAUTH, False, False, None),
        ("10.8.7", Method.ACCESS_TOKEN, False, False, GATEWAY_ROWS),
        ("11.1.8", Method.OAUTH, False, False, None),
        ("11.2.0", Method.ACCESS_TOKEN, True, False, None),
        ("12.5.9", Method.OAUTH, True, False, GATEWAY_ROWS),
        ("12.6.0", Method.OAUTH, True, True, None),
        ("15.1.0", Method.ACCESS_TOKEN, True, True, GATEWAY_ROWS),
        ("19.0.0", Method.OAUTH, True, True, None),
    ],
)
def test_everything_is_read_whatever_the_version_ignores_or_refuses(
    runtime: Runtime,
    large: RunningSandbox,
    cast: Cast,
    version: str,
    method: Method,
    asks_for_roles: bool,
    has_bounds: bool,
    rows_a_page: int | None,
) -> None:
    let_through(runtime, large)
    connection_id = connect(runtime, large, cast.owner, method=method)
    large.world.settings.version = version
    large.reset_faults()
    if rows_a_page:
        large.faults.add("/api/v4/projects", max_rows=rows_a_page)

    run = read_catalogue(runtime, connection_id, "job", lambda *_: None)

    world, user = large.world, large.world.user_by_username("gatehouse")
    held = {item.id: world.access_level(user, item) for item in world.visible_projects(user)}
    with runtime.database.reading() as session:
        rows = {row.gitlab_project_id: row for row in session.exec(select(Repository))}
        groups = session.exec(select(GitLabGroup)).all()
    assert rows.keys() == {number for number, level in held.items() if level}
    assert (run.complete, run.defects, len(groups) > 20) == (True, [], True)
    for number, row in rows.items():
        if asks_for_roles:
            assert (row.access_level >= 20) == (held[number] >= 20)
        else:  # The role in the list is a minimum: a low one is not a reason against a repository.
            assert row.access_level is None or 20 <= row.access_level <= held[number]
            assert row.unavailable_reason != "role_too_low"
    asked = large.requests.all("/api/v4/projects")
    assert any("page" in item.query for item in asked) != has_bounds
    assert any("min_access_level" in item.query for item in asked) == asks_for_roles


def test_version_before_9_is_refused_with_what_to_do(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    connection_id = connect(runtime, sandbox, cast.owner, enqueue=True)
    sandbox.faults.add("/api/v4/metadata", status=404, body={"error": "404 Not Found"})
    sandbox.faults.add("/api/v4/version", body={"version": "8.17.4", "revision": "0000"})

    (job,) = run_pending(runtime)

    assert (job.state, job.failure["code"], job.failure["params"]["version"]) == (
        JobState.FAILED,
        "version_too_old",
        "8.17.4",
    )
    assert sandbox.requests.count("/api/v4/projects") == 0
    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).state == ConnectionState.NEEDS_ATTENTION
