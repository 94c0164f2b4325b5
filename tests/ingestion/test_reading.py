"""Activity is read completely, kept fresh with few requests, and nothing is doubled or lost whatever fails."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import func, select, update
from sqlmodel import col

from portal.db import utc_now
from portal.gitlab.answers import GitLabRateLimited
from portal.ingestion.capability import GATHER, use_events
from portal.ingestion.figures import LANES, cycle_of, is_production
from portal.ingestion.models import FigureBlock, Ingestion, Kind, Reading
from portal.ingestion.run import connections_due, time_left
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.happenings import Event
from tests.ingestion.ingested import PATHS, connect_and_enable, count_rows, expected, read, stored
from tests.support.people import Cast
from tests.support.walkthrough import principal_of

JSON = "application/json"
# The two databases differ in what happens to a row that is stored twice.
BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """A GitLab in which little has happened: every page is read many times here."""
    with RunningSandbox(with_service_user=True, history=0.4) as running:
        yield running


def change(sandbox: RunningSandbox, number: int = 40) -> None:
    sandbox.world.histories.change_many(number, [sandbox.world.project(path).id for path in PATHS])


@pytest.mark.parametrize("backend", BOTH)
def test_everything_is_stored_once_and_changes_cost_few_requests(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    connection_id = connect_and_enable(runtime, sandbox, cast.owner)
    assert [item.id for item in connections_due(runtime)] == [connection_id]
    result = read(runtime, connection_id)
    assert (result.repositories, result.failed) == (3, 0)
    assert stored(runtime) == expected(sandbox)
    assert connections_due(runtime) == []

    change(sandbox)
    push = sandbox.world.project(PATHS[0]).id
    with runtime.database.transaction() as session:
        use_events(session, connection_id, [Event(1, connection_id, utc_now(), push, "push")])
        due = select(func.count()).select_from(Reading).where(col(Reading.due_at).is_not(None))
        assert session.execute(due).scalar_one() == 2  # Commits and deployments, once the deliveries have come.
        everything = update(Reading).where(col(Reading.kind) == Kind.COMMITS)
        session.execute(everything.values(due_at=utc_now() - GATHER))
    assert [item.id for item in connections_due(runtime)] == [connection_id]
    sandbox.requests.clear()
    read(runtime, connection_id)
    now, wanted = stored(runtime), expected(sandbox)
    # What was deleted is noticed later.
    for name, rows in wanted.items():
        for number, expected_rows in rows.items():
            assert expected_rows <= now[name][number], name
    assert now["commits"] == wanted["commits"]
    # Old branches that are merged now take a look at older pages of commits.
    assert sandbox.requests.count("/api/v4/*") <= 2 + 6 * len(PATHS)

    state = update(Ingestion).values(read_at=utc_now() - timedelta(days=8))
    with runtime.database.transaction() as session:
        session.execute(state)
    read(runtime, connection_id)
    assert stored(runtime) == wanted
    with runtime.database.reading() as session:
        lanes = [array("Q", packed) for packed in session.execute(select(col(FigureBlock.lanes))).scalars()]
    assert sum(sum(block[LANES.index("merged") :: len(LANES)]) for block in lanes) == sum(
        len([row for row in rows if row[3]]) for rows in wanted["merge_requests"].values()
    )


def test_a_kill_at_any_page_doubles_nothing_and_loses_nothing(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    class Killed(BaseException):
        """What ends the process."""

    connection_id = connect_and_enable(runtime, sandbox, cast.owner)
    object.__setattr__(runtime.settings, "catalogue_lanes", 1)
    kills = 0
    for step in count(1):
        left = [step]

        def die(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        if step % 4 == 0:
            change(sandbox, 3)
        try:
            read(runtime, connection_id, die)
        except Killed:
            kills += 1
            continue
        break
    assert kills > 10
    read(runtime, connection_id)
    with runtime.database.transaction() as session:
        session.execute(update(Ingestion).values(read_at=utc_now() - timedelta(days=8)))
        session.execute(update(Reading).values(due_at=utc_now()))
    read(runtime, connection_id)
    assert stored(runtime) == expected(sandbox)


def test_a_repository_that_fails_stops_alone_and_a_busy_gitlab_is_asked_again_later(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    connection_id = connect_and_enable(runtime, sandbox, cast.owner)
    refused, gone = (sandbox.world.project(path).id for path in PATHS[:2])
    sandbox.faults.add(
        f"/api/v4/projects/{refused}/issues", status=403, body='{"message":"403 Forbidden"}', content_type=JSON
    )
    sandbox.world.delete_project(gone)
    assert read(runtime, connection_id).failed == 5 + 1
    whole = expected(sandbox, (PATHS[0], PATHS[2]))
    whole["issues"].pop(refused)
    assert stored(runtime) == whole
    with runtime.database.reading() as session:
        failed = select(Reading).where(col(Reading.card).is_not(None)).order_by(col(Reading.repository_id))
        readings = list(session.execute(failed).scalars())
    assert {row.card["code"] for row in readings if row.card} == {"forbidden_by_role", "gitlab_not_found"}
    assert all(row.due_at and row.due_at > utc_now() for row in readings)

    sandbox.faults.clear()
    sandbox.faults.add("/api/v4/projects/*", status=429, headers={"Retry-After": "3600"}, times=50)
    with runtime.database.transaction() as session:
        session.execute(update(Reading).values(due_at=utc_now()))
    with pytest.raises(GitLabRateLimited):
        read(runtime, connection_id)


def test_what_is_chosen_decides_what_is_kept(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    connection_id = connect_and_enable(runtime, sandbox, cast.owner)
    owner = principal_of(runtime, cast.owner)
    read(runtime, connection_id)
    first, second = (sandbox.world.project(path).id for path in PATHS[:2])
    with runtime.database.transaction() as session:
        ids = dict(session.execute(select(col(Repository.gitlab_project_id), col(Repository.id))).all())
        narrowed = update(Enablement).where(col(Enablement.repository_id) == ids[first])
        session.execute(narrowed.values(services=["issues"]))
    set_enabled(runtime, owner, [ids[second]], enabled=False)
    change(sandbox)
    read(runtime, connection_id)
    kept = stored(runtime)
    assert [first in kept[name] for name in ("issues", "merge_requests", "reviews", "commits")] == [True, *[False] * 3]
    assert second in kept["merge_requests"]  # As it was: enabling it again continues there.
    set_enabled(runtime, owner, [ids[second]], enabled=True)
    read(runtime, connection_id)
    with runtime.database.transaction() as session:
        session.execute(update(Ingestion).values(read_at=utc_now() - timedelta(days=8)))
    read(runtime, connection_id)
    assert stored(runtime)["reviews"][second] == expected(sandbox)["reviews"][second]
    assert stored(runtime)["merge_requests"][second] == expected(sandbox)["merge_requests"][second]

    # Less is kept if the setting says so, and nothing once the connection is erased.
    with runtime.database.transaction() as session:
        session.execute(update(Ingestion).values(months=1, read_at=utc_now() - timedelta(days=1, hours=1)))
    before = count_rows(runtime)
    read(runtime, connection_id)
    assert count_rows(runtime) < before / 4


def test_cycles_and_environments() -> None:
    assert cycle_of(100, 400, 40, 250) == (60, 150, 150, 0)
    assert cycle_of(100, 400, None, None).total == 300
    assert cycle_of(100, 400, 40, 500) == (60, 0, 0, 300)  # Said after the merge.
    assert [is_production(name) for name in ("production", "prod/eu", "live", "preprod", "review/live")] == [
        *(True, True, True, False, False)
    ]
    assert time_left(50, 100, 600) == ", about 10 minutes left"
    assert time_left(1, 100, 600) == ""
