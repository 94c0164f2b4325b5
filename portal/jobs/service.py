"""What people see of jobs and do with them. Every query is limited to one organization."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from portal.db import utc_now
from portal.errors import NotFound
from portal.jobs.models import ItemState, Job, JobItem, JobState
from portal.jobs.runner import finish, locked

PAGE_SIZE = 25
ITEMS_SHOWN = 200


@dataclass(frozen=True)
class JobPage:
    """Some jobs, newest first; `before` is where the next page begins, None on the last one."""

    jobs: list[Job]
    before: int | None

    @property
    def is_live(self) -> bool:
        """Whether one of them will change."""
        return any(not job.is_finished for job in self.jobs)


@dataclass(frozen=True)
class ItemSummary:
    """How the items of a job ended: counts by state, and the ones to show, failures first."""

    counts: dict[str, int]
    entries: list[JobItem]

    @property
    def total(self) -> int:
        """How many items ended."""
        return sum(self.counts.values())

    def without_items(self) -> ItemSummary:
        """Return only the counts, for someone who may not see every item."""
        return ItemSummary(self.counts, [])


def find_job(session: Session, organization_id: int, public_id: str) -> Job:
    """Return a job of this organization.

    Raises:
        NotFound: there is none, or it belongs to another organization.
    """
    statement = select(Job).where(col(Job.public_id) == public_id, col(Job.organization_id) == organization_id)
    job = session.exec(statement).one_or_none()
    if job is None:
        raise NotFound
    return job


def list_jobs(session: Session, organization_id: int, *, before: int | None = None, subject: str = "") -> JobPage:
    """Return a page of this organization's jobs, newest first, optionally only those about one thing."""
    statement = select(Job).where(col(Job.organization_id) == organization_id)
    if before is not None:
        statement = statement.where(col(Job.id) < before)
    if subject:
        statement = statement.where(col(Job.subject) == subject)
    jobs = list(session.exec(statement.order_by(col(Job.id).desc()).limit(PAGE_SIZE + 1)))
    return JobPage(jobs[:PAGE_SIZE], jobs[PAGE_SIZE - 1].id if len(jobs) > PAGE_SIZE else None)


def summarize_items(session: Session, job_id: int) -> ItemSummary:
    """Count a job's items by how they ended, and return the first ones: failed, then skipped, then the others."""
    mine = col(JobItem.job_id) == job_id
    counted = select(JobItem.state, func.count()).where(mine).group_by(col(JobItem.state))
    counts = dict(session.exec(counted).all())
    entries: list[JobItem] = []
    for state in (ItemState.FAILED, ItemState.SKIPPED, ItemState.SUCCEEDED):
        if counts.get(state) and len(entries) < ITEMS_SHOWN:
            of_state = select(JobItem).where(mine, col(JobItem.state) == state).order_by(col(JobItem.id))
            entries += session.exec(of_state.limit(ITEMS_SHOWN - len(entries)))
    return ItemSummary(counts, entries)


def request_stop(session: Session, public_id: str) -> Job:
    """Ask a job to stop: a queued one ends here, a running one at its next check. A finished one stays as it is.

    Raises:
        NotFound: there is no such job.
    """
    job = locked(session, public_id)
    if job is None:
        raise NotFound
    if job.is_finished:
        return job
    job.stop_requested_at = job.stop_requested_at or utc_now()
    if job.state == JobState.QUEUED:
        finish(job, JobState.STOPPED)
    return job
