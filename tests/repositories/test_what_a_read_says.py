"""What people are told about a read with problems: on the connection, on its page, above the repositories."""

from __future__ import annotations

import pytest

from portal.connections.models import Connection, ConnectionState, is_failing
from portal.errors import Card
from portal.jobs.models import Job, JobState
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import read_catalogue
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor

PROJECTS = "/api/v4/projects"
PAGES = ("/connections/gitlab", "/repositories/?connection=gitlab")


@pytest.fixture
def backend() -> str:
    """What people read is the same on each database."""
    return "sqlite"


@pytest.fixture
def connection_id(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    """A connection that has been read once, and will be read again."""
    connection_id = connect(runtime, sandbox, cast.owner)
    assert read_catalogue(runtime, connection_id, "job", lambda *_: None).complete
    return connection_id


def read_again(runtime: Runtime, owner: Visitor) -> Job:
    owner.post("/connections/gitlab/catalogue", {})
    return run_pending(runtime)[-1]


def stored(runtime: Runtime, connection_id: int) -> Connection:
    with runtime.database.reading() as session:
        return session.get_one(Connection, connection_id)


def test_large_loss_is_said_until_a_later_read_is_fine(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, auditor: Visitor, connection_id: int
) -> None:
    user = sandbox.world.user_by_username("gatehouse")
    left = sandbox.world.memberships_of(user)[:4]
    for group, _ in left:
        sandbox.world.add_group_member(group.id, user.id, 0)

    job = read_again(runtime, owner)

    connection = stored(runtime, connection_id)
    sentence = Card.from_json(connection.attention).sentence
    assert (job.state, connection.attention["code"]) == (JobState.SUCCEEDED, "repositories_gone")
    assert job.message.endswith(" are gone")
    assert (connection.state, is_failing(connection)) == (ConnectionState.NEEDS_ATTENTION, False)
    assert all(sentence in owner.get(page).text for page in PAGES)
    assert sentence in owner.get("/connections/").text

    for group, level in left:
        sandbox.world.add_group_member(group.id, user.id, level)
    read_again(runtime, owner)

    assert stored(runtime, connection_id).attention is None
    assert not any(sentence in owner.get(page).text for page in PAGES)


def test_incomplete_read_is_tried_once_more_and_then_said(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, lead: Visitor, connection_id: int
) -> None:
    read_at = stored(runtime, connection_id).last_read_at
    sandbox.faults.add(PROJECTS, query_pattern="*sort=desc*")
    sandbox.faults.add(PROJECTS, max_rows=0)

    job = read_again(runtime, owner)

    connection = stored(runtime, connection_id)
    sentence = "The last read was incomplete: GitLab counts 57 repositories, and 0 arrived."
    assert (job.state, job.attempts, job.message) == (JobState.SUCCEEDED, 2, "Incomplete: 0 repositories read")
    assert Card.from_json(connection.attention).sentence == sentence
    assert connection.last_read_at == read_at
    assert all(sentence in owner.get(page).text for page in PAGES)
    # Team leads must not learn how much there is beyond their groups.
    assert sentence not in lead.get(PAGES[1]).text


def test_wrong_rows_are_named_and_need_nobody(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    wrong = {2: {"path_with_namespace": None}, 3: {"archived": "no"}, 4: {"archived": 1}}
    sandbox.faults.add(PROJECTS, rows=wrong)

    job = read_again(runtime, owner)

    assert (job.state, stored(runtime, connection_id).attention) == (JobState.SUCCEEDED, None)
    for page in PAGES:
        text = owner.get(page).text
        assert "the field path_with_namespace of id 2 is missing or not valid, so it was left out." in text
        assert "GET /api/v4/projects: the field archived of id 3, id 4 is missing or not valid, so its earlier" in text
