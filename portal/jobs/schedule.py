"""Enqueue periodic jobs when they are due, once across all workers."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from portal.capability import PeriodicJob
from portal.db import utc_now
from portal.jobs.models import JobSchedule
from portal.jobs.queue import enqueue
from portal.runtime import Runtime


def enqueue_due(runtime: Runtime) -> list[str]:
    """Enqueue each periodic job that is due (or never ran) and has something to do.

    Returns:
        Their names.
    """
    with runtime.database.reading() as session:
        known = {row.name: row.enqueued_at for row in session.exec(select(JobSchedule))}
    now = utc_now()
    names = []
    for job in runtime.capabilities.periodic_jobs:
        last = known.get(job.name)
        if (last is None or last <= now - timedelta(seconds=job.seconds)) and job.is_due(runtime):
            with runtime.database.transaction() as session:
                if _is_ours(session, job):
                    key = f"every:{job.name}"
                    enqueue(session, job.name, organization_id=None, title=job.title, key=key)
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
