"""A portal with nothing to do writes nothing, whatever its periodic jobs are.

A worker that has a job writes a heartbeat every few seconds, and none otherwise.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from dbos import DBOS
from sqlalchemy import Engine, event
from sqlmodel import select

from portal import create_app
from portal.jobs.models import Job, JobState
from portal.jobs.schedule import enqueue_due
from portal.jobs.testing import QUICK, run_pending, running_worker
from portal.runtime import Runtime
from tests.jobs.waiting import until

DAY = 86_400
# The schedule, the sweep and the engine's queue.
ASKED = ("FROM job_schedule", "FROM job \nWHERE job.finished_at IS NULL", "workflow_status")
BEGIN = datetime(2027, 3, 1, 6, 0, tzinfo=UTC)


def daily_jobs(runtime: Runtime) -> set[str]:
    """Return the jobs that even a portal with nothing to do enqueues."""
    return {job.name for job in runtime.capabilities.periodic_jobs if job.seconds >= DAY and job.is_due(runtime)}


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_idle_portal_makes_no_jobs_but_one_a_day_of_each_daily_kind(runtime: Runtime) -> None:
    daily = daily_jobs(runtime)
    with time_machine.travel(BEGIN, tick=False) as clock:
        for _ in range(3 * 24):
            enqueue_due(runtime)
            run_pending(runtime)
            clock.shift(timedelta(hours=1))
        with runtime.database.reading() as session:
            made = Counter(session.exec(select(Job.name)))
            made_in_all = max(session.exec(select(Job.id)))

    # And the job that deletes those of the day before.
    assert set(made) == daily | {"jobs.forget"}
    assert made_in_all <= 3 * (len(daily) + 2)


def test_idle_worker_and_web_process_write_no_row(runtime: Runtime) -> None:
    """Count, on every connection of this process including the engine's, what the database says it changed."""
    daily = daily_jobs(runtime)
    rounds: Counter[str] = Counter()
    written: list[str] = []

    def watch(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        rounds.update(name for name in ASKED if name in statement)
        if statement.lstrip().startswith(("INSERT", "UPDATE", "DELETE", "WITH")) and cursor.rowcount > 0:
            written.append(statement)

    def is_settled() -> bool:
        with runtime.database.reading() as session:
            states = dict(session.exec(select(Job.name, Job.state)).all())
        done = states.keys() >= daily and set(states.values()) == {JobState.SUCCEEDED}
        return done and not DBOS.list_workflows(status="PENDING")  # The engine records each end after us.

    web = create_app(runtime=runtime).test_client()
    with running_worker(runtime, replace(QUICK, schedule_seconds=0.1, sweep_seconds=0.1)):
        until(is_settled)
        event.listen(Engine, "after_cursor_execute", watch)
        try:
            until(lambda: len(rounds) == len(ASKED) and min(rounds.values()) >= 10)
            for path in ("/healthz", "/readyz"):
                assert web.get(path, base_url=runtime.settings.base_url).status_code == 200
        finally:
            event.remove(Engine, "after_cursor_execute", watch)

    assert written == []
