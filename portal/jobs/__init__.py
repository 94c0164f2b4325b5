"""Background work: jobs people can watch and stop, run by DBOS, recorded in our own tables."""

from __future__ import annotations

from portal.jobs.context import JobContext, JobInterrupted, JobStopped, JobSuperseded, RetryLater
from portal.jobs.models import ItemState, Job, JobItem, JobState
from portal.jobs.queue import enqueue, find_unfinished

__all__ = [
    "ItemState",
    "Job",
    "JobContext",
    "JobInterrupted",
    "JobItem",
    "JobState",
    "JobStopped",
    "JobSuperseded",
    "RetryLater",
    "enqueue",
    "find_unfinished",
]
