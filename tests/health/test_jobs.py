from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import col, func, select

from portal.connections.models import Connection, ConnectionState
from portal.db import utc_now
from portal.health.checks import check_connection, due_connections
from portal.health.jobs import MAX_CHANGES, delete_old
from portal.health.models import HealthCheck, HealthWatch, Incident, IncidentPhase
from portal.health.status import strip_of
from portal.jobs import enqueue
from portal.jobs.models import ItemState, JobItem, JobState
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.conftest import START, Watched
from tests.support.connected import connect
from tests.support.people import Cast


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def check_all(runtime: Runtime) -> JobState:
    with runtime.database.transaction() as session:
        enqueue(session, "health.check", organization_id=None, title="Check connections", key="every:health.check")
    return JobState(run_pending(runtime)[0].state)


def test_all_connections_that_are_due_are_checked_whatever_becomes_of_one(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = [connect(runtime, sandbox, cast.owner, slug=f"gitlab-{number}") for number in range(6)]
    with runtime.database.transaction() as session:
        session.get_one(Connection, found[0]).api_url = "no address at all"
        session.get_one(Connection, found[1]).state = ConnectionState.DISCONNECTED

    assert check_all(runtime) == JobState.SUCCEEDED

    with runtime.database.reading() as session:
        watched = set(session.exec(select(HealthWatch.connection_id)))
        items = {item.ref: item.state for item in session.exec(select(JobItem))}
    assert watched == set(found[2:])
    assert items[f"connection:{found[0]}"] == ItemState.FAILED
    assert due_connections(runtime) == [found[0]]
    assert set(found[2:]) <= set(due_connections(runtime, utc_now() + timedelta(minutes=7)))


def test_gitlab_that_has_asked_to_wait_is_left_alone_and_alarms_no_one(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    connection_id = connect(runtime, sandbox, cast.owner)
    sandbox.faults.add("/api/v4/*", status=429, headers={"Retry-After": "100"}, times=1)

    for _ in range(4):
        check_connection(runtime, connection_id, is_background=True)
    asked = sandbox.requests.count("/api/v4/*")
    check_connection(runtime, connection_id)

    assert asked == sandbox.requests.count("/api/v4/*") == 1
    with runtime.database.reading() as session:
        (incident,) = session.exec(select(Incident))
        check = session.exec(select(HealthCheck).where(HealthCheck.key == "gitlab", HealthCheck.is_current)).one()
    assert (incident.phase, incident.count) == (IncidentPhase.SUSPECTED, 2)
    assert check.card["code"] == "gitlab_rate_limited"


def test_incidents_of_a_disconnected_connection_end_without_a_word(watched: Watched, runtime: Runtime) -> None:
    watched.change(lambda connection: setattr(connection, "service_username", "somebody-else"))
    watched.look()
    watched.change(lambda connection: setattr(connection, "state", ConnectionState.DISCONNECTED))
    check_all(runtime)

    incident = watched.incidents[0]
    assert incident.phase == IncidentPhase.CLOSED
    assert incident.end_mailed_at is not None


def test_history_stays_small(watched: Watched, runtime: Runtime) -> None:
    watched.look()
    old = START - timedelta(days=400)
    with runtime.database.transaction() as session:
        for number in range(MAX_CHANGES + 20):
            at = utc_now() - timedelta(minutes=number)
            session.add(_row(watched.connection_id, "name", at))
        session.add(_row(watched.connection_id, "port", old))
        session.add(_closed(watched.connection_id, old))

    deleted = delete_old(runtime)

    with runtime.database.reading() as session:
        counts = dict(session.exec(select(HealthCheck.key, func.count()).group_by(col(HealthCheck.key))).all())
    # The current row is older than the planted ones, and nothing deletes it.
    assert (deleted, counts["name"], counts["port"], len(watched.incidents)) == (22, MAX_CHANGES + 1, 1, 0)
    assert len(watched.checks()) == 14


def test_strip_shows_the_worst_of_each_hour(watched: Watched) -> None:
    rows = [_row(1, "gitlab", START + timedelta(minutes=minutes)) for minutes in (5, 70)]
    rows[1].state, rows[1].seen_at = "fail", START + timedelta(minutes=130)

    strip = strip_of(rows, START + timedelta(hours=3))

    assert [cell.state for cell in strip.hours[-4:]] == ["pass", "fail", "fail", ""]
    assert strip.summary == "Last 24 hours: failed in 2 hours, last in the one from 14:00 UTC"


def _row(connection_id: int, key: str, at) -> HealthCheck:  # type: ignore[no-untyped-def]
    return HealthCheck(connection_id=connection_id, key=key, at=at, seen_at=at, state="pass", is_current=False)


def _closed(connection_id: int, at) -> Incident:  # type: ignore[no-untyped-def]
    return Incident(
        connection_id=connection_id,
        cause="unreachable",
        check_key="reach",
        is_passing=True,
        layer="HTTP",
        phase=IncidentPhase.CLOSED,
        row_began_at=at,
        last_failed_at=at,
        opened_at=at,
        closed_at=at,
    )
