"""Reads of what GitLab has updated: with few requests, and as a complete read would see it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from portal.connections.models import Connection
from portal.db import utc_now
from portal.jobs.models import Job, JobSchedule
from portal.jobs.schedule import enqueue_due
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import connections_to_read, read_catalogue, read_updates
from portal.repositories.models import CatalogueRun, Repository, RunKind
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect, let_through
from tests.support.people import Cast


@pytest.fixture
def connection_id(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    connection_id = connect(runtime, sandbox, cast.owner)
    assert read_catalogue(runtime, connection_id, "job", quiet).complete
    return connection_id


def quiet(_done: int, _total: int | None, _message: str) -> None:
    pass


def rows(runtime: Runtime) -> dict[int, Repository]:
    with runtime.database.reading() as session:
        return {row.gitlab_project_id: row for row in session.exec(select(Repository))}


def contents(runtime: Runtime) -> dict[int, tuple[object, ...]]:
    return {
        number: (row.path_with_namespace, row.access_level, row.archived, row.digest, row.missing_since)
        for number, row in rows(runtime).items()
    }


def test_changes_are_read_with_few_requests_and_as_a_complete_read_would(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    world = sandbox.world
    before = rows(runtime)
    numbers = sorted(before)
    for number in numbers[::2]:
        world.change_project(number, description=f"Now {number}")
    world.change_project(numbers[1], archived=True)
    world.change_project(numbers[3], path="renamed-here")
    user = world.user_by_username("gatehouse")
    group, _ = world.memberships_of(user)[0]
    made = world.add_project(f"{group.full_path}/brand-new")
    sandbox.requests.clear()

    seen, changed = read_updates(runtime, connection_id, "job", quiet)

    assert len(sandbox.requests.all()) <= 10
    assert changed >= len(numbers) // 2 + 2
    assert seen >= changed
    after = rows(runtime)
    assert after[made.id].path_with_namespace.endswith("/brand-new")
    assert after[numbers[1]].archived
    assert after[numbers[3]].path_with_namespace.endswith("/renamed-here")
    assert {row.id for row in before.values()} <= {row.id for row in after.values()}
    found = contents(runtime)
    assert read_catalogue(runtime, connection_id, "job", quiet).complete
    assert contents(runtime) == found


def test_nothing_new_writes_no_repository_and_marks_none_as_gone(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    before = contents(runtime)
    user = sandbox.world.user_by_username("gatehouse")
    for group, _ in sandbox.world.memberships_of(user):
        sandbox.world.add_group_member(group.id, user.id, 0)

    assert read_updates(runtime, connection_id, "job", quiet)[1] == 0
    assert contents(runtime) == before
    with runtime.database.reading() as session:
        kinds = [run.kind for run in session.exec(select(CatalogueRun))]
    assert kinds == [RunKind.COMPLETE, RunKind.UPDATES]


def test_gitlab_that_cannot_say_what_it_updated_is_read_completely_only(runtime: Runtime, cast: Cast) -> None:
    with RunningSandbox(with_service_user=True, version="15.9.0") as old:
        let_through(runtime, old)
        assert read_catalogue(runtime, connect(runtime, old, cast.owner), "job", quiet).complete
    age(runtime, timedelta(hours=2))

    assert connections_to_read(runtime) == {RunKind.COMPLETE: [], RunKind.UPDATES: []}


def age(runtime: Runtime, by: timedelta) -> None:
    with runtime.database.transaction() as session:
        for run in session.exec(select(CatalogueRun)):
            run.started_at = utc_now() - by


def test_clock_begins_what_is_due_and_nothing_else(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    def begun() -> list[str]:
        enqueue_due(runtime)
        names = [job.name for job in run_pending(runtime)]
        return [name for name in names if name.startswith("repositories.read_") and name != "repositories.read_again"]

    assert begun() == []
    age(runtime, timedelta(minutes=20))
    forget_schedule(runtime)
    assert begun() == ["repositories.read_updates"]
    age(runtime, timedelta(hours=25))
    forget_schedule(runtime)
    assert begun() == ["repositories.read_catalogue"]
    with runtime.database.transaction() as session:
        session.get_one(Connection, connection_id).state = "disconnected"
    age(runtime, timedelta(hours=25))
    assert not any(connections_to_read(runtime).values())


def forget_schedule(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        for job in session.exec(select(Job).where(Job.name == "repositories.read_again")):
            session.delete(job)
        for row in session.exec(select(JobSchedule).where(JobSchedule.name == "repositories.read_again")):
            session.delete(row)
