"""The portal's own periodic work on jobs: forgetting old ones."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete
from sqlmodel import col, select

from portal.db import utc_now
from portal.jobs.context import JobContext
from portal.jobs.models import Job, JobItem
from portal.jobs.registry import every

KEEP_DAYS = 30
# Periodic work that nobody asked for leaves a row each time.
KEEP_OWN_HOURS = 24
BATCH = 500


@every(3600, "jobs.forget", "Forget finished jobs")
def forget_finished(context: JobContext) -> None:
    """Delete jobs that ended long ago, with their items, in short transactions."""
    now, deleted = utc_now(), 0
    own = col(Job.organization_id).is_(None) & (col(Job.finished_at) < now - timedelta(hours=KEEP_OWN_HOURS))
    old = select(Job.id).where((col(Job.finished_at) < now - timedelta(days=KEEP_DAYS)) | own).limit(BATCH)
    while True:
        context.raise_if_stopped()
        with context.transaction() as session:
            ids = list(session.exec(old))
            connection = session.connection()
            connection.execute(delete(JobItem).where(col(JobItem.job_id).in_(ids)))
            connection.execute(delete(Job).where(col(Job.id).in_(ids)))
        deleted += len(ids)
        context.progress(deleted)
        if len(ids) < BATCH:
            return
