"""Find jobs that no one would run any more, and have them run.

Our tables say what has to be done, the engine's say who does it. They diverge when a worker dies, when the engine
cannot record an end (the database was unreachable), when a job was enqueued before the engine had tables, or when one
of the two was restored. Every sweep compares them; on PostgreSQL one worker sweeps at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from dbos import DBOS
from sqlalchemy import text
from sqlmodel import col, select

from portal.db import Database, utc_now
from portal.jobs.engine_settings import Pace
from portal.jobs.models import QUEUE, Job, JobState, hand_over
from portal.jobs.runner import locked, requeue
from portal.jobs.workers import forget_silent, heard_within
from portal.logs import get_logger

ADVISORY_LOCK = 7_214_336_202
BATCH = 500
# The engine's row of a finished dispatch says nothing that ours does not.
KEEP_ENGINE_ROWS = timedelta(hours=1)
JUST_TAKEN = timedelta(seconds=2)
IN_HAND = frozenset({"ENQUEUED", "DELAYED", "PENDING"})

log = get_logger(__name__)


@dataclass(frozen=True)
class Sweeper:
    """Compares our jobs with the engine's; only for a process in which DBOS is launched."""

    database: Database
    pace: Pace

    def sweep(self) -> None:
        """Do everything once, unless another worker is doing it."""
        with self._alone() as alone:
            if alone:
                # The one worker of SQLite has a lock on a file instead; DBOS recovers what it left at its next start.
                if not self.database.is_sqlite:
                    self.take_over_orphans(heard_within(self.database, self.pace.silent_seconds))
                    forget_silent(self.database)
                self.hand_over_waiting()
                self.revive_lost(self.pace.forgotten_seconds)
                self.forget_engine_rows()

    def take_over_orphans(self, alive: set[str]) -> int:
        """Queue the jobs of dead workers again; claiming one moves its fence on."""
        pending = DBOS.list_workflows(
            status="PENDING",
            queue_name=QUEUE,
            # A worker that takes a job after a pause reports being alive a moment later.
            dequeued_before=self._ago(JUST_TAKEN),
            limit=BATCH,
            load_input=False,
            load_output=False,
        )
        orphans = [row.workflow_id for row in pending if row.executor_id not in alive]
        if orphans:
            # Without the queue's name they would land in DBOS's internal queue, which knows no limits.
            DBOS.resume_workflows(orphans, queue_name=QUEUE)
            log.warning("jobs_taken_over", count=len(orphans))
        return len(orphans)

    def hand_over_waiting(self) -> int:
        """Give the engine what was enqueued before it had tables."""
        with self.database.transaction() as session:
            waiting = (
                col(Job.finished_at).is_(None),
                col(Job.state) == JobState.QUEUED,
                col(Job.handed_over_at).is_(None),
            )
            jobs = session.exec(select(Job).where(*waiting).order_by(col(Job.id)).limit(BATCH).with_for_update()).all()
            for job in jobs:
                hand_over(session, job)
        return len(jobs)

    def revive_lost(self, older_than_seconds: float) -> int:
        """Start again what our tables say is running and the engine's do not."""
        limit = utc_now() - timedelta(seconds=older_than_seconds)
        with self.database.reading() as session:
            in_hand = (col(Job.finished_at).is_(None), col(Job.handed_over_at).is_not(None))
            settled = (col(Job.state) == JobState.RUNNING) | (col(Job.handed_over_at) < limit)
            jobs = session.exec(select(Job).where(*in_hand, settled).order_by(col(Job.id)).limit(BATCH)).all()
        if not jobs:
            return 0
        ids = [job.workflow_id for job in jobs]
        rows = DBOS.list_workflows(workflow_ids=ids, load_input=False, load_output=False)
        known = {row.workflow_id for row in rows if row.status in IN_HAND}
        return sum(self._revive(job) for job in jobs if job.workflow_id not in known)

    def _revive(self, seen: Job) -> bool:
        with self.database.transaction() as session:
            job = locked(session, seen.public_id)
            # It may have ended, or been dispatched again, between our query and the engine's.
            if job is None or job.is_finished or (job.dispatch, job.fence) != (seen.dispatch, seen.fence):
                return False
            requeue(session, job)
            log.warning("job_revived", job=job.public_id, job_name=job.name, attempts=job.attempts)
            return True

    def forget_engine_rows(self) -> int:
        """Delete the engine's rows of dispatches that ended a while ago."""
        before = self._ago(KEEP_ENGINE_ROWS)
        rows = DBOS.list_workflows(
            completed_before=before, name="job", limit=BATCH, load_input=False, load_output=False
        )
        if rows:
            DBOS.delete_workflows([row.workflow_id for row in rows])
        return len(rows)

    def _ago(self, pause: timedelta) -> str:
        # The engine writes the database's time into its rows, and this host's clock may differ.
        with self.database.reading() as session:
            return (self.database.clock(session) - pause).isoformat()

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        if self.database.is_sqlite:
            yield True  # There is one worker; and a lock held here would keep the engine from writing.
            return
        with self.database.engine.connect() as connection:
            # A process that freezes here loses the lock once it counts as dead: otherwise no one could take over its
            # jobs.
            statement = text(
                "SELECT pg_try_advisory_xact_lock(:key)"
                " FROM set_config('idle_in_transaction_session_timeout', :timeout, true)"
            )
            values = {"key": ADVISORY_LOCK, "timeout": f"{round(self.pace.silent_seconds * 1000)}ms"}
            yield bool(connection.execute(statement, values).scalar_one())
