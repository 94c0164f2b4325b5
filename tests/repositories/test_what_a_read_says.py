"""What people are told about a read with problems: on the connection, on its page, above the repositories."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlmodel import col, func, select

from portal.audit.models import AuditEvent
from portal.connections.models import Connection, ConnectionState, is_failing
from portal.errors import Card
from portal.jobs.models import Job, JobState
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import Namespace, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor

PROJECTS = "/api/v4/projects"
UNSEEN = "/connections/gitlab/unseen"
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


def leave(sandbox: RunningSandbox, groups: int) -> Callable[[], None]:
    """Take the service user out of some groups; return what puts it back."""
    world = sandbox.world
    user = world.user_by_username("gatehouse")
    left = world.memberships_of(user)[:groups]
    for group, _ in left:
        world.add_group_member(group.id, user.id, 0)

    def come_back() -> None:
        for group, level in left:
            world.add_group_member(group.id, user.id, level)

    return come_back


def gone(runtime: Runtime) -> int:
    with runtime.database.reading() as session:
        missing = col(Repository.missing_since).is_not(None)
        return session.exec(select(func.count()).select_from(Repository).where(missing)).one()


def test_some_loss_is_said_until_a_later_read_is_fine(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    object.__setattr__(runtime.settings, "catalogue_loss_percent", 100)
    come_back = leave(sandbox, 4)

    job = read_again(runtime, owner)

    connection = stored(runtime, connection_id)
    sentence = Card.from_json(connection.attention).sentence
    assert (job.state, connection.attention["code"]) == (JobState.SUCCEEDED, "repositories_gone")
    assert job.message.endswith(" are gone")
    assert (connection.state, is_failing(connection)) == (ConnectionState.NEEDS_ATTENTION, False)
    assert all(sentence in owner.get(page).text for page in PAGES)
    assert sentence in owner.get("/connections/").text

    come_back()
    read_again(runtime, owner)

    assert stored(runtime, connection_id).attention is None
    assert not any(sentence in owner.get(page).text for page in PAGES)


def test_so_large_a_loss_that_somebody_is_asked_marks_nothing(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, auditor: Visitor, connection_id: int
) -> None:
    come_back = leave(sandbox, 4)

    read_again(runtime, owner)

    sentence = Card.from_json(stored(runtime, connection_id).attention).sentence
    count = int(sentence.removeprefix("The last read no longer saw ").split()[0])
    assert (count >= 12, gone(runtime)) == (True, 0)
    assert all(sentence in owner.get(page).text for page in PAGES)
    page = owner.get(UNSEEN).text
    assert f"Mark {count} as gone" in page
    assert "None of them is enabled" in page
    assert "Decide" not in auditor.get(PAGES[1]).text
    assert owner.post(UNSEEN, {"do": "gone", "count": str(count + 1)}).status_code == 409
    assert owner.post(UNSEEN, {"do": "perhaps", "count": str(count)}).status_code == 400
    assert gone(runtime) == 0

    come_back()
    read_again(runtime, owner)

    assert stored(runtime, connection_id).attention is None
    assert "Nothing to decide" in owner.get(UNSEEN).text


def test_what_somebody_decided_about_a_loss_is_asked_once(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    leave(sandbox, 4)
    read_again(runtime, owner)
    count = int(owner.get(UNSEEN).text.partition('name="count" value="')[2].partition('"')[0])

    owner.post(UNSEEN, {"do": "keep", "count": str(count)})
    read_again(runtime, owner)
    assert (stored(runtime, connection_id).attention, gone(runtime)) == (None, 0)
    assert "you can still change that" in owner.get(UNSEEN).text

    leave(sandbox, 6)
    read_again(runtime, owner)
    assert stored(runtime, connection_id).attention["code"] == "repositories_unseen"
    more = int(owner.get(UNSEEN).text.partition('name="count" value="')[2].partition('"')[0])
    assert more > count
    assert owner.post(UNSEEN, {"do": "gone", "count": str(more)}).status_code == 303
    assert (stored(runtime, connection_id).attention, gone(runtime)) == (None, more)
    with runtime.database.reading() as session:
        counted = session.exec(select(func.sum(Namespace.total))).one()
        assert counted == session.exec(select(func.count()).select_from(Repository)).one()
        actions = set(session.exec(select(AuditEvent.action)))
    assert {"catalogue.unseen_kept", "catalogue.unseen_gone"} <= actions
    read_again(runtime, owner)
    assert stored(runtime, connection_id).attention is None


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
