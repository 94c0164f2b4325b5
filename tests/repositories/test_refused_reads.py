"""A read that GitLab refuses: for a scope that is missing, or because it was asked too often."""

from __future__ import annotations

import pytest

from portal.connections.models import Connection, ConnectionState
from portal.gitlab.client import GitLabClient
from portal.gitlab.errors import GitLabRateLimited
from portal.jobs.models import JobState
from portal.jobs.testing import run_pending
from portal.net import Door, NetworkPolicy, parse_address
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.vault import Secret
from tests.support.connected import connect
from tests.support.people import Cast

GROUPS = "/api/v4/groups"
LIMITED = {"status": 429, "body": "Retry later\n"}


@pytest.fixture
def backend() -> str:
    """What is told of a failure is the same on each database."""
    return "sqlite"


def test_scope_that_was_taken_away_is_named(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    connection_id = connect(runtime, sandbox, cast.owner, enqueue=True)
    body = {"error": "insufficient_scope", "error_description": "Higher privileges needed.", "scope": "api read_api"}
    sandbox.faults.add(GROUPS, status=403, body=body)

    (job,) = run_pending(runtime)

    assert (job.state, job.failure["layer"], job.failure["code"]) == (JobState.FAILED, "Scope", "insufficient_scope")
    assert "api, read_api" in job.failure["sentence"]
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    assert connection.state == ConnectionState.NEEDS_ATTENTION
    assert connection.attention["code"] == "insufficient_scope"


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(None, 0.0, 1.0), ("7", 7.0, 9.0), ("soon", 0.0, 1.0), ("-1", 0.0, 1.0)]
)
def test_read_that_is_limited_waits_as_long_as_gitlab_asks(
    sandbox: RunningSandbox, asked: str | None, least: float, most: float
) -> None:
    headers = {} if asked is None else {"Retry-After": asked}
    sandbox.faults.add(GROUPS, **LIMITED, headers=headers, times=1)
    waits: list[float] = []
    address = parse_address(sandbox.url, allow_http=True)

    with Door(NetworkPolicy(exempt=address)).line(address) as line:
        pages = list(GitLabClient(line, Secret(sandbox.token("gatehouse")), sleep=waits.append).group_pages())

    assert pages
    assert len(waits) == 1
    assert least <= waits[0] <= most


def test_read_that_is_told_to_wait_long_is_handed_back_to_the_queue(sandbox: RunningSandbox) -> None:
    sandbox.faults.add(GROUPS, **LIMITED, headers={"Retry-After": "999999"})
    waits: list[float] = []
    address = parse_address(sandbox.url, allow_http=True)

    with (
        Door(NetworkPolicy(exempt=address)).line(address) as line,
        pytest.raises(GitLabRateLimited) as caught,
    ):
        list(GitLabClient(line, Secret(sandbox.token("gatehouse")), sleep=waits.append).group_pages())

    assert waits == []
    assert sandbox.requests.count(GROUPS) == 1
    assert caught.value.retry_after_seconds == 3600
