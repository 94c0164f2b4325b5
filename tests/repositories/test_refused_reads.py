"""A read that GitLab refuses or aborts: for a missing scope, too many requests, or an outage."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from portal.connections.models import Connection, ConnectionState
from portal.errors import Card, Layer
from portal.gitlab.answers import GitLabRateLimited
from portal.gitlab.client import TRIES, GitLabClient
from portal.jobs.models import JobState
from portal.jobs.testing import run_pending
from portal.net import NetworkPolicy, OutboundClient, parse_address
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import GitLabGroup
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.vault import Secret
from tests.gitlab.test_malformed_pages import skip_waits
from tests.support.connected import connect
from tests.support.people import Cast

GROUPS, PROJECTS = "/api/v4/groups", "/api/v4/projects"
LIMITED = {"status": 429, "body": "Retry later\n"}


@pytest.fixture
def backend() -> str:
    """What people read about a failure is the same on each database."""
    return "sqlite"


def test_scope_that_was_taken_away_is_named(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    connection_id = connect(runtime, sandbox, cast.owner, enqueue=True)
    body = {"error": "insufficient_scope", "error_description": "Higher privileges needed.", "scope": "api read_api"}
    sandbox.faults.add("/api/v4/*", status=403, body=body)

    (job,) = run_pending(runtime)

    card = Card.from_json(job.failure)
    assert (job.state, card.layer, card.code) == (JobState.FAILED, Layer.SCOPE, "insufficient_scope")
    assert card.params["scopes"] == "api, read_api"
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

    with OutboundClient(NetworkPolicy(exempt=address)).session(address) as line:
        pages = list(GitLabClient(line, Secret(sandbox.token("gatehouse")), sleep=waits.append).group_pages())

    assert pages
    assert len(waits) == 1
    assert least <= waits[0] <= most


def test_read_that_is_told_to_wait_long_is_handed_back_to_the_queue(sandbox: RunningSandbox) -> None:
    sandbox.faults.add(GROUPS, **LIMITED, headers={"Retry-After": "999999"})
    waits: list[float] = []
    address = parse_address(sandbox.url, allow_http=True)

    with (
        OutboundClient(NetworkPolicy(exempt=address)).session(address) as line,
        pytest.raises(GitLabRateLimited) as caught,
    ):
        list(GitLabClient(line, Secret(sandbox.token("gatehouse")), sleep=waits.append).group_pages())

    assert waits == []
    assert sandbox.requests.count(GROUPS) == 1
    assert caught.value.retry_after_seconds == 3600


@pytest.mark.parametrize("fault", [{"drop": "after"}, {"truncate": 40}, {"status": 502, "html": True}])
def test_answer_that_breaks_off_is_like_a_gitlab_that_is_away(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    skip_waits(monkeypatch)
    connection_id = connect(runtime, sandbox, cast.owner, enqueue=True)
    sandbox.faults.add(PROJECTS, **fault, times=TRIES * 2)

    jobs = run_pending(runtime)

    assert [job.state for job in jobs] == [JobState.QUEUED, JobState.QUEUED, JobState.SUCCEEDED]
    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).state == ConnectionState.CONNECTED


@pytest.mark.parametrize("path", [GROUPS, PROJECTS])
def test_one_page_of_something_else_ends_no_read(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    skip_waits(monkeypatch)
    connect(runtime, sandbox, cast.owner, enqueue=True)
    sandbox.faults.add(path, html=True, times=1)

    (job,) = run_pending(runtime)

    assert (job.state, job.attempts) == (JobState.SUCCEEDED, 1)


def test_something_else_that_keeps_answering_is_told_in_the_end(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_waits(monkeypatch)
    connection_id = connect(runtime, sandbox, cast.owner, enqueue=True)
    sandbox.faults.add(PROJECTS, html=True)

    jobs = run_pending(runtime)

    assert (jobs[-1].state, jobs[-1].failure["code"], jobs[-1].attempts) == (JobState.FAILED, "not_gitlab", 3)
    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).attention["code"] == "not_gitlab"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"status": 403, "body": {"message": "403 Forbidden"}}, "forbidden_by_role"),
        ({"status": 502, "html": True}, "gitlab_unavailable"),
        ({"drop": "after"}, "answer_broken"),
    ],
)
def test_groups_that_do_not_come_keep_no_repository_away(
    runtime: Runtime,
    sandbox: RunningSandbox,
    cast: Cast,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
    code: str,
) -> None:
    skip_waits(monkeypatch)
    connection_id = connect(runtime, sandbox, cast.owner)
    assert read_catalogue(runtime, connection_id, "job", lambda *_: None).groups_seen > 20
    sandbox.faults.add(GROUPS, **fault)

    run = read_catalogue(runtime, connection_id, "job", lambda *_: None)

    assert (run.complete, run.projects_seen, run.groups_seen) == (True, 57, 0)
    assert run.defects == [{"list": "groups", "failure": code}]
    with runtime.database.reading() as session:
        assert len(session.exec(select(GitLabGroup)).all()) > 20
