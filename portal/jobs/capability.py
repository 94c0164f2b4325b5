"""What background work itself brings to the portal."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from portal.actor import Right
from portal.capability import Capability, NavigationEntry, PeriodicJob
from portal.db import values_of
from portal.jobs.models import Executor, Job, JobItem, JobSchedule
from portal.jobs.schedule import forget_finished, has_old

BUNDLED_JOBS = 50
BUNDLED = (
    *("public_id", "name", "title", "state", "done", "total", "message", "failure", "attempts", "request_id"),
    *("created_at", "started_at", "finished_at"),
)


def bundle(session: Session, connection: Any) -> dict[str, Any]:
    """Return the jobs about a connection, the newest first, for the support bundle."""
    mine = (Job.subject == f"connection:{connection.id}", Job.organization_id == connection.organization_id)
    newest = session.exec(select(Job).where(*mine).order_by(col(Job.id).desc()).limit(BUNDLED_JOBS))
    return {"jobs": [values_of(row, BUNDLED) for row in newest]}


CAPABILITY = Capability(
    name="jobs",
    views="portal.jobs.views",
    navigation={30: NavigationEntry("jobs.index", "Jobs", "list-check", Right.SEE_JOBS)},
    tables=(Executor, Job, JobItem, JobSchedule),
    jobs=(PeriodicJob("jobs.forget", forget_finished, "Delete finished jobs", 3600, has_old),),
    bundle=bundle,
    actions={
        "job.stop": "stopped the job {object}",
    },
)
