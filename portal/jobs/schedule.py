"""Periodic work: what is due is enqueued once across all workers. And the one periodic job on jobs themselves."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from portal.capability import PeriodicJob
from portal.db import utc_now
from portal.jobs.context import JobContext
from portal.jobs.models import Job, JobItem, JobSchedule, JobState, enqueue
from portal.runtime import Runtime

KEEP_DAYS = 30
# Periodic work that no one asked for leaves a row each time.
KEEP_OWN_HOURS = 24
BATCH = 500


def enqueue_due(runtime: Runtime, longest: float = math.inf) -> list[str]:
    """Enqueue each periodic job that is due (or never ran) and has something to do.

    Args:
        runtime: of this process.
        longest: leave out jobs with a longer period, in seconds.

    Returns:
        Their names.
    """
    with runtime.database.reading() as session:
        known = {row.name: row.enqueued_at for row in session.exec(select(JobSchedule))}
    now = utc_now()
    names = []
    for job in runtime.capabilities.periodic_jobs:
        if job.seconds > longest:
            continue
        last = known.get(job.name)
        if (last is None or last <= now - timedelta(seconds=job.seconds)) and job.is_due(runtime):
            with runtime.database.transaction() as session:
                if _is_ours(session, job):
                    key = f"every:{job.name}"
                    enqueue(session, job.name, organization_id=None, title=job.title, key=key, lane=job.lane or None)
                    names.append(job.name)
    return names


def _is_ours(session: Session, job: PeriodicJob) -> bool:
    """Move the schedule forward, unless another worker did; whoever moves it enqueues."""
    now = utc_now()
    due = (col(JobSchedule.name) == job.name, col(JobSchedule.enqueued_at) <= now - timedelta(seconds=job.seconds))
    if session.connection().execute(update(JobSchedule).where(*due).values(enqueued_at=now)).rowcount:
        return True
    if session.get(JobSchedule, job.name) is not None:
        return False
    try:
        with session.begin_nested():
            session.add(JobSchedule(name=job.name, enqueued_at=now))
    except IntegrityError:
        return False
    return True


def has_old(runtime: Runtime) -> bool:
    """Return whether there is a job to delete."""
    with runtime.database.reading() as session:
        return session.exec(_old().limit(1)).first() is not None


def forget_finished(context: JobContext) -> None:
    """Delete jobs that ended long ago, with their items, in short transactions."""
    deleted = 0
    while True:
        context.raise_if_stopped()
        with context.transaction() as session:
            ids = list(session.exec(_old().limit(BATCH)))
            connection = session.connection()
            connection.execute(delete(JobItem).where(col(JobItem.job_id).in_(ids)))
            connection.execute(delete(Job).where(col(Job.id).in_(ids)))
        deleted += len(ids)
        context.progress(deleted)
        if len(ids) < BATCH:
            return


def _old() -> SelectOfScalar[Any]:
    now = utc_now()
    ended = col(Job.state).in_((JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED))
    old = ended & (col(Job.finished_at) < now - timedelta(days=KEEP_DAYS))
    own = col(Job.organization_id).is_(None) & (col(Job.finished_at) < now - timedelta(hours=KEEP_OWN_HOURS))
    return select(Job.id).where(old | own)
