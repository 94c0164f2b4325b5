from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import col, select

from portal.capability import Capabilities, Capability, JobDefinition, PeriodicJob
from portal.db import utc_now
from portal.jobs import ItemState, Job, JobContext, JobItem, JobState
from portal.jobs.models import JobSchedule
from portal.jobs.schedule import enqueue_due, forget_finished
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from tests.accounts.at_once import crowd
from tests.jobs.sample_jobs import with_samples

Add = Callable[..., Job]


def tick(context: JobContext) -> None:
    context.progress(1)


TICK = PeriodicJob("test.tick", tick, "Tick", 600)


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    return with_jobs(runtime, TICK)


def with_jobs(runtime: Runtime, *jobs: PeriodicJob) -> Runtime:
    """Return a runtime whose periodic jobs are these; it knows the other jobs of the tests as well."""
    others = [job for job in with_samples(runtime).capabilities.jobs.values() if not isinstance(job, PeriodicJob)]
    forget = JobDefinition("jobs.forget", forget_finished)
    return replace(runtime, capabilities=Capabilities((Capability("test", jobs=(*others, forget, *jobs)),)))


def let_time_pass(runtime: Runtime, seconds: float) -> None:
    with runtime.database.transaction() as session:
        for row in session.exec(select(JobSchedule)):
            row.enqueued_at -= timedelta(seconds=seconds)


def test_periodic_job_is_due_at_the_first_start_and_then_once_per_period(runtime: Runtime) -> None:
    first = enqueue_due(runtime)
    run_pending(runtime)
    again = enqueue_due(runtime)
    let_time_pass(runtime, 600)

    assert (first, again, enqueue_due(runtime)) == (["test.tick"], [], ["test.tick"])


def test_periodic_job_that_has_nothing_to_do_is_not_enqueued_and_asked_again(runtime: Runtime) -> None:
    answers = [False, False, True]
    seldom = PeriodicJob("test.seldom", tick, "Seldom", 600, lambda runtime: answers.pop(0))
    runtime = with_jobs(runtime, TICK, seldom)

    assert [enqueue_due(runtime) for _ in range(4)] == [["test.tick"], [], ["test.seldom"], []]


def test_periodic_job_that_still_runs_is_not_enqueued_twice(runtime: Runtime) -> None:
    enqueue_due(runtime)
    let_time_pass(runtime, 600)
    enqueue_due(runtime)

    assert len(run_pending(runtime)) == 1


@pytest.mark.parametrize("is_first", [True, False])
def test_periodic_job_is_enqueued_by_one_of_several_workers(runtime: Runtime, is_first: bool) -> None:
    if not is_first:
        enqueue_due(runtime)
        run_pending(runtime)
        let_time_pass(runtime, 600)

    names = sorted(crowd(runtime.database, "job_schedule", *[lambda: enqueue_due(runtime)] * 4))

    assert names == [[], [], [], ["test.tick"]]


def test_old_jobs_are_forgotten_with_their_items(runtime: Runtime, add: Add) -> None:
    def ended(days: float, owner: int | None = 1) -> Job:
        finished_at = utc_now() - timedelta(days=days)
        return Job(
            name="x",
            title="X",
            lane="x",
            state=JobState.SUCCEEDED,
            finished_at=finished_at,
            organization_id=owner,
        )

    with runtime.database.transaction() as session:
        jobs = [ended(31), ended(29), ended(2, None), ended(0.5, None)]
        session.add_all(jobs)
        session.flush()
        session.add_all([JobItem(job_id=job.id or 0, ref="a", state=ItemState.SUCCEEDED) for job in jobs])
    add("sample.refused")
    add("jobs.forget")

    run_pending(runtime)

    with runtime.database.reading() as session:
        kept = session.exec(select(Job.id).where(col(Job.name) == "x").order_by(col(Job.id))).all()
        assert kept == [jobs[1].id, jobs[3].id]
        assert sorted(session.exec(select(JobItem.job_id))) == kept
