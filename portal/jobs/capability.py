"""What background work itself brings to the portal."""

from __future__ import annotations

from portal.capability import Capability, PeriodicJob
from portal.jobs.models import Executor, Job, JobItem, JobSchedule
from portal.jobs.schedule import forget_finished, has_old

CAPABILITY = Capability(
    name="jobs",
    views="portal.jobs.views",
    tables=(Executor, Job, JobItem, JobSchedule),
    jobs=(PeriodicJob("jobs.forget", forget_finished, "Delete finished jobs", 3600, has_old),),
    actions={
        "job.stop": "stopped the job {object}",
    },
)
