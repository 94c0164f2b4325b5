"""For tests: run the queued jobs right here, or run a whole worker in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlmodel import col, select

from portal.jobs.engine import Engine
from portal.jobs.engine_settings import Pace
from portal.jobs.models import Job, JobState
from portal.jobs.runner import Runner
from portal.runtime import Runtime

MAX_JOBS = 1000
QUICK = Pace(poll_seconds=0.05, schedule_seconds=3600, sweep_seconds=1, grace_seconds=3, backoff_seconds=0.1)


def run_pending(runtime: Runtime) -> list[Job]:
    """Run every queued job in this thread, oldest first, and those that they enqueue, without waiting for backoffs.

    Returns:
        The jobs as they ended, in the order they were done.

    Raises:
        Exception: an unexpected one from a job; the job itself is queued for its next attempt.
    """
    runner = Runner(runtime, executor_id="inline", backoff_seconds=0)
    ended: list[Job] = []
    for _ in range(MAX_JOBS):
        with runtime.database.reading() as session:
            queued = select(Job).where(col(Job.state) == JobState.QUEUED).order_by(col(Job.id))
            job = session.exec(queued.limit(1)).first()
        if job is None:
            return ended
        error = runner.run(job.public_id, job.dispatch)
        if error is not None:
            raise error
        with runtime.database.reading() as session:
            ended.append(session.exec(select(Job).where(col(Job.id) == job.id)).one())
    raise AssertionError(f"more than {MAX_JOBS} jobs: some job enqueues itself again and again")


@contextmanager
def running_worker(runtime: Runtime, pace: Pace = QUICK) -> Iterator[Engine]:
    """Run a worker in this process while the block runs; at its end, running jobs are handed back.

    There can be one at a time in a process.
    """
    engine = Engine(runtime, pace)
    assert engine.start()
    try:
        yield engine
    finally:
        engine.stop()
