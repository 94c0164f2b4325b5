"""Background work: jobs people can watch and stop, run by DBOS, recorded in our own tables.

DBOS carries a job to a worker: its queue with limits for each process and each lane, the order, the pause before
another attempt, and at the start of the one worker on SQLite the recovery of what the last one left.

What is ours, and the test in `tests/jobs` that fails without it:

- Attempts (`runner`). DBOS counts how often it recovered a workflow, starts again at zero when one is resumed, and lets
  a job that kills its worker take others down with it: `test_poison_is_parked_and_harms_no_other_job`.
- The fence (`context`). A frozen worker wakes up beside its successor, and the database still accepts its writes:
  `test_frozen_worker_that_wakes_up_writes_nothing`.
- Keys (`models`). A deduplication id of DBOS is an error for the second caller, and is free between two attempts:
  `test_key_returns_the_unfinished_job_instead_of_a_second_one`.
- The schedule. One of DBOS enqueues at every tick, whether or not there is anything to do:
  `test_idle_worker_and_web_process_write_no_row`.
- Heartbeats (`workers`). A process of DBOS recovers its own work; nothing tells it that another one is dead:
  `test_second_worker_takes_over_from_a_dead_one`.
- The sweeper. Our tables and the engine's are changed one after the other when a job ends, and a restored database may
  lack the engine's: `test_running_job_whose_end_the_engine_noted_and_we_did_not_is_begun_again`,
  `test_whole_database_restored_without_the_engines_rows_goes_on`.
"""

from __future__ import annotations

from portal.jobs.context import JobContext, JobInterrupted, JobStopped, JobSuperseded, RetryLater
from portal.jobs.models import ItemState, Job, JobItem, JobState, enqueue, find_unfinished

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
