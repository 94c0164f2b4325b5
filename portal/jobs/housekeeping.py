"""The portal's own periodic work on jobs: deleting old ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import delete
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from portal.db import utc_now
from portal.jobs.context import JobContext
from portal.jobs.models import Job, JobItem, JobState
from portal.runtime import Runtime

KEEP_DAYS = 30
# Periodic work that no one asked for leaves a row each time.
KEEP_OWN_HOURS = 24
BATCH = 500


def has_old(runtime: Runtime) -> bool:
    """Return whether there is a job to forget."""
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
