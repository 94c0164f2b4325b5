"""What a job's function gets: its runtime, a way to report progress, and when to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import update
from sqlmodel import Session, col, select

from portal.errors import Card
from portal.jobs.models import ItemState, Job, JobItem
from portal.runtime import Runtime

WRITE_SECONDS = 0.25
AT_ONCE = 4
T = TypeVar("T")


class JobStopped(Exception):
    """Someone asked for the job to stop; do not catch it, what is done stays done."""


class JobInterrupted(Exception):
    """This worker is shutting down; do not catch it, the job continues from its items on another one."""


class JobSuperseded(Exception):
    """This worker was considered dead and another one has the job; do not catch it, nothing more may be written."""


class RetryLater(Exception):
    """Raise this in a job that cannot continue now but may later (GitLab is down, or asked to wait).

    After five attempts the job fails with the card.
    """

    def __init__(self, card: Card, *, after_seconds: float | None = None) -> None:
        self.card = card
        self.after_seconds = after_seconds
        super().__init__(card.sentence)


@dataclass(frozen=True)
class Claim:
    """The right to run a job, valid until another worker claims it, which raises the fence."""

    job_id: int
    public_id: str
    organization_id: int | None
    fence: int
    attempt: int


class JobContext:
    """One attempt at a job. May be used from several threads."""

    def __init__(self, runtime: Runtime, claim: Claim, interrupted: threading.Event | None = None) -> None:
        self.runtime = runtime
        self.job_id = claim.job_id
        self.public_id = claim.public_id
        self.organization_id = claim.organization_id
        self.attempt = claim.attempt
        self.fence = claim.fence
        self._interrupted = interrupted or threading.Event()
        self._lock = threading.Lock()
        self._told: dict[str, int | str] = {}
        self._written_at = 0.0
        self._asked_at = 0.0

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """Report the job's progress; written at most four times a second, and when it ends.

        Anyone in the organization who may see jobs can read the message: do not name groups or repositories in it.

        Raises:
            JobSuperseded: another worker has the job now.
        """
        with self._lock:
            self._told["done"] = done
            if total is not None:
                self._told["total"] = total
            if message:
                self._told["message"] = message[:300]
            if time.monotonic() - self._written_at < WRITE_SECONDS:
                return
            self._written_at = time.monotonic()
            told = dict(self._told)
        with self.runtime.database.transaction() as session:
            self._require_rows(session, told)

    def raise_if_stopped(self) -> None:
        """Return, or raise what ends the job; call it between items. Asks the database four times a second at most.

        Raises:
            JobStopped: someone asked for that.
            JobInterrupted: the worker is shutting down.
            JobSuperseded: another worker has the job now.
        """
        if self._interrupted.is_set():
            raise JobInterrupted
        with self._lock:
            if time.monotonic() - self._asked_at < WRITE_SECONDS:
                return
            self._asked_at = time.monotonic()
        with self.runtime.database.reading() as session:
            statement = select(Job.fence, Job.stop_requested_at).where(col(Job.id) == self.job_id)
            row = session.exec(statement).one_or_none()
        if row is None or row[0] != self.fence:
            raise JobSuperseded
        if row[1] is not None:
            raise JobStopped

    def for_each(self, items: Sequence[T], work: Callable[[T], object]) -> None:
        """Call `work` with each item, a few at once, and report how many are done: a GitLab that does not answer keeps
        only its own waiting. Nothing more is started once the job has to stop.

        Raises:
            Exception: what `work` raised first, after those that had started.
        """

        def one(item: T) -> None:
            self.raise_if_stopped()
            work(item)

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="job-items") as pool:
            futures = [pool.submit(copy_context().run, one, item) for item in items]
            try:
                for number, future in enumerate(as_completed(futures), start=1):
                    future.result()
                    self.progress(number, len(items))
            finally:
                pool.shutdown(cancel_futures=True)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session whose changes are kept only while this attempt still holds the job (S87).

        Raises:
            JobSuperseded: another worker has the job now; nothing is written.
        """
        with self.runtime.database.transaction() as session:
            # A write, so that PostgreSQL locks the row: no one can claim the job before this has committed.
            self._require_rows(session, {"fence": self.fence})
            yield session

    def record_item(self, session: Session, ref: str, state: ItemState, *, label: str = "", message: str = "") -> None:
        """Record how one item ended, in the transaction that did it, so that a second attempt skips it."""
        statement = select(JobItem).where(col(JobItem.job_id) == self.job_id, col(JobItem.ref) == ref)
        item = session.exec(statement).one_or_none() or JobItem(job_id=self.job_id, ref=ref, state=state)
        item.state, item.label, item.message = state, label[:1000], message[:500]
        session.add(item)

    def recorded_refs(self) -> set[str]:
        """Return the refs of all items already recorded, by this attempt or an earlier one."""
        with self.runtime.database.reading() as session:
            return set(session.exec(select(JobItem.ref).where(col(JobItem.job_id) == self.job_id)))

    def last_progress(self) -> dict[str, int | str]:
        """Return the last reported progress, which may not be written yet; for the runner's final record."""
        with self._lock:
            return dict(self._told)

    def _require_rows(self, session: Session, values: dict[str, int | str]) -> None:
        mine = (col(Job.id) == self.job_id, col(Job.fence) == self.fence, col(Job.finished_at).is_(None))
        result = session.connection().execute(update(Job).where(*mine).values(**values))
        if result.rowcount != 1:
            raise JobSuperseded
