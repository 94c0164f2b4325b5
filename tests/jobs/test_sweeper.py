"""Only what is running according to our tables but not the engine's is started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from dbos import DBOS
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from portal.db import Database, utc_now
from portal.jobs import Job, JobState
from portal.jobs.engine import Engine
from portal.jobs.engine_settings import Pace
from portal.jobs.models import QUEUE, Executor
from portal.jobs.runner import Runner
from portal.jobs.sweeper import Sweeper
from portal.jobs.testing import QUICK, running_worker
from portal.jobs.workers import beat, forget_silent, heard_within, leave
from portal.runtime import Runtime
from tests.jobs.conftest import reload
from tests.jobs.sample_jobs import noted
from tests.jobs.waiting import until

Add = Callable[..., Job]
# Together with `engine`: a worker that does not sweep by itself, so that each test sees only its own sweep.
STILL = Pace(poll_seconds=3600, sweep_seconds=3600, schedule_seconds=3600, heartbeat_seconds=3600, grace_seconds=1)


@pytest.fixture
def engine(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    # The housekeeping does its first round at once, whatever its settings.
    monkeypatch.setattr(Engine, "_keep_house", lambda engine: engine._stopping.wait())
    with running_worker(runtime, STILL) as engine:
        yield engine


@pytest.fixture
def sweeper(runtime: Runtime, engine: Engine) -> Sweeper:
    return Sweeper(runtime.database, STILL)


def delete_engine_rows(database: Database) -> None:
    schema = "" if database.is_sqlite else "dbos."
    with database.transaction() as session:
        for table in ("workflow_input", "workflow_status"):
            session.connection().execute(text(f"DELETE FROM {schema}{table}"))


def queued_at_engine() -> list[str]:
    return sorted(row.workflow_id for row in DBOS.list_workflows(status="ENQUEUED", queue_name=QUEUE))


def test_sweep_leaves_queued_jobs_alone(sweeper: Sweeper, runtime: Runtime, add: Add) -> None:
    job = add("sample.note")

    assert sweeper.revive_lost(0) == 0
    assert reload(runtime.database, job).dispatch == 0


def test_job_the_engine_lost_is_dispatched_again(sweeper: Sweeper, runtime: Runtime, add: Add) -> None:
    job = add("sample.note")
    delete_engine_rows(runtime.database)

    assert sweeper.revive_lost(60) == 0
    assert sweeper.revive_lost(0) == 1

    assert queued_at_engine() == [f"{job.public_id}.1"]


def test_running_job_whose_end_the_engine_noted_and_we_did_not_is_begun_again(
    sweeper: Sweeper, runtime: Runtime, add: Add
) -> None:
    job = add("sample.note")
    assert Runner(runtime)._claim(job)
    DBOS.cancel_workflow(job.workflow_id)

    assert sweeper.revive_lost(60) == 1

    revived = reload(runtime.database, job)
    assert (revived.state, revived.dispatch, revived.attempts) == (JobState.QUEUED, 1, 1)


def test_job_without_hand_over_is_handed_over_once(sweeper: Sweeper, runtime: Runtime, add: Add) -> None:
    job = add("sample.note")
    delete_engine_rows(runtime.database)
    with runtime.database.transaction() as session:
        session.merge(job).handed_over_at = None

    assert [sweeper.hand_over_waiting(), sweeper.hand_over_waiting()] == [1, 0]
    assert queued_at_engine() == [job.workflow_id]


def test_engine_rows_of_finished_jobs_are_forgotten_after_an_hour(sweeper: Sweeper, runtime: Runtime, add: Add) -> None:
    old, fresh, waiting = add("sample.note"), add("sample.note"), add("sample.note")
    DBOS.cancel_workflows([old.workflow_id, fresh.workflow_id])
    schema = "" if runtime.database.is_sqlite else "dbos."
    with runtime.database.transaction() as session:
        session.connection().execute(
            text(f"UPDATE {schema}workflow_status SET completed_at = completed_at - 3700000 WHERE workflow_uuid = :id"),
            {"id": old.workflow_id},
        )

    assert sweeper.forget_engine_rows() == 1
    assert {row.workflow_id for row in DBOS.list_workflows()} == {fresh.workflow_id, waiting.workflow_id}


def test_whole_database_restored_without_the_engines_rows_goes_on(runtime: Runtime, add: Add, log: str) -> None:
    for number in range(3):
        add("sample.note", log=log, line=str(number))
    delete_engine_rows(runtime.database)

    with running_worker(runtime):
        until(lambda: len(noted(log)) == 3)

    assert sorted(noted(log)) == ["0", "1", "2"]


def test_silent_worker_counts_as_dead_and_is_forgotten_after_a_week(runtime: Runtime) -> None:
    for name, silent in (("dead", timedelta(days=8)), ("silent", timedelta(seconds=31)), ("alive", timedelta(0))):
        beat(runtime.database, name)
        with runtime.database.transaction() as session:
            session.get_one(Executor, name).heartbeat_at = utc_now() - silent

    assert heard_within(runtime.database, 30) == {"alive"}
    forget_silent(runtime.database)
    with runtime.database.reading() as session:
        assert set(session.exec(select(Executor.executor_id))) == {"silent", "alive"}


def test_worker_that_was_struck_out_enters_itself_again(runtime: Runtime) -> None:
    beat(runtime.database, "one")
    leave(runtime.database, "one")

    beat(runtime.database, "one")

    assert heard_within(runtime.database, 30) == {"one"}


def test_worker_says_that_it_is_alive_while_it_has_a_job_and_only_then(
    runtime: Runtime, add: Add, log: str, gate: Path
) -> None:
    def heard() -> datetime:
        with runtime.database.reading() as session:
            return session.exec(select(Executor.heartbeat_at)).one()

    with running_worker(runtime, replace(QUICK, heartbeat_seconds=0.01)) as engine:
        at_start = heard()
        job = add("sample.gated", log=log, line="1", gate=str(gate))
        if not runtime.database.is_sqlite:  # There, the one worker has a lock instead.
            until(lambda: heard() > at_start)
        gate.touch()
        until(lambda: reload(runtime.database, job).is_finished and engine._active == 0)

        at_end = heard()
        engine._beat_while_busy()
        assert heard() == at_end


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
@pytest.mark.parametrize("hours", [-3, 3])
def test_orphans_and_ended_rows_are_told_by_the_clock_of_the_database(
    sweeper: Sweeper, runtime: Runtime, add: Add, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class WrongClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(hours=hours)

    for module in ("portal.jobs.sweeper", "portal.db"):
        monkeypatch.setattr(f"{module}.datetime", WrongClock, raising=False)
    orphan, just_taken, ended = (add("sample.note").workflow_id for _ in range(3))
    DBOS.cancel_workflow(ended)
    taken = text(
        "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = 'dead',"
        " started_at_epoch_ms = extract(epoch FROM now()) * 1000 - :ago WHERE workflow_uuid = :id"
    )
    with runtime.database.transaction() as session:
        for workflow_id, ago in ((orphan, 60_000), (just_taken, 0)):
            session.connection().execute(taken, {"id": workflow_id, "ago": ago})

    assert (sweeper.take_over_orphans(set()), sweeper.forget_engine_rows()) == (1, 0)
    assert queued_at_engine() == [orphan]


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_worker_that_froze_in_a_sweep_keeps_nobody_from_sweeping(runtime: Runtime, engine: Engine) -> None:
    swept: list[str] = []

    class Other(Sweeper):
        def take_over_orphans(self, alive: set[str]) -> int:
            swept.append("other")
            return 0

    class Freezing(Sweeper):
        def take_over_orphans(self, alive: set[str]) -> int:
            Other(runtime.database, STILL).sweep()
            swept.append("frozen")
            until(lambda: Other(runtime.database, STILL).sweep() or swept[-1] == "other", 20)  # type: ignore[func-returns-value]
            return 0

    with suppress(SQLAlchemyError):  # It wakes up and finds that its connection has ended.
        Freezing(runtime.database, replace(STILL, silent_seconds=1)).sweep()

    assert swept == ["frozen", "other"]
