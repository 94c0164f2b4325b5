"""Run one job: claim it, call its function, record how it ended. Called by the engine, and directly by tests.

However it ends, it is recorded in one transaction that is refused if another worker has claimed the job since.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from portal.db import utc_now
from portal.errors import Card, PortalError, UpstreamFailed
from portal.jobs.context import Claim, JobContext, JobInterrupted, JobStopped, JobSuperseded, RetryLater
from portal.jobs.models import Job, JobState, hand_over
from portal.logs import get_logger
from portal.requestinfo import RequestInfo, current_request_info, new_request_id, requesting
from portal.runtime import Runtime
from portal.storage import card_of, trouble_of

MAX_ATTEMPTS = 5
MAX_BACKOFF_SECONDS = 300.0
# A job that was running during two crashes may be causing them: from then on only one such job runs at a time, so that
# it cannot use up the attempts of the others.
SUSPECT_ATTEMPTS = 2

log = get_logger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. The state QUEUED means that the job continues in another attempt.

    Attributes:
        counts: whether the attempt counts as one of the five; not if it was handed back cleanly.
        error: an unexpected error.
    """

    state: JobState
    card: Card | None = None
    counts: bool = True
    after_seconds: float | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Runner:
    """Runs jobs in this process.

    Attributes:
        executor_id: recorded with each job, to show which worker has it.
        interrupted: set when the process shuts down: nothing more is claimed and running jobs are handed back.
        backoff_seconds: waited after the first failed attempt, doubled after each further one.
    """

    runtime: Runtime
    executor_id: str = ""
    interrupted: threading.Event = field(default_factory=threading.Event)
    backoff_seconds: float = 2.0
    _suspects: threading.Lock = field(default_factory=threading.Lock)

    def run(self, public_id: str, dispatch: int) -> Exception | None:
        """Run this dispatch of a job, unless it is finished, stopped or superseded.

        Returns:
            The unexpected error that ended the attempt, already recorded and logged; None otherwise.
        """
        with self.runtime.database.reading() as session:
            job = session.exec(select(Job).where(col(Job.public_id) == public_id)).one_or_none()
        if job is None or job.is_finished or job.dispatch != dispatch:
            return None
        info = RequestInfo(request_id=job.request_id.strip("-") or new_request_id(), source_address="job")
        with requesting(info), self._alone_when_suspect(job):
            if self.interrupted.is_set():
                self._hand_back_unclaimed(job)
                return None
            claim = self._claim(job)
            return self._attempt(job, claim) if claim else None

    @contextmanager
    def _alone_when_suspect(self, job: Job) -> Iterator[None]:
        if job.attempts < SUSPECT_ATTEMPTS:
            yield
            return
        with self._suspects:
            yield

    def _hand_back_unclaimed(self, seen: Job) -> None:
        with self.runtime.database.transaction() as session:
            job = locked(session, seen.public_id)
            if job and not job.is_finished and job.dispatch == seen.dispatch:
                requeue(session, job)

    def _claim(self, seen: Job) -> Claim | None:
        with self.runtime.database.transaction() as session:
            job = locked(session, seen.public_id)
            if job is None or job.is_finished or job.dispatch != seen.dispatch:
                return None
            if job.stop_requested_at is not None:
                finish(job, JobState.STOPPED)
            elif job.attempts >= MAX_ATTEMPTS:
                # The card of the last failure says more than ours; a crash leaves none.
                finish(job, JobState.FAILED, job.failure or Card("job_crashed").to_json())
                log.error("job_parked", job=job.public_id, job_name=job.name, attempts=job.attempts)
            else:
                job.state, job.executor_id = JobState.RUNNING, self.executor_id
                job.attempts, job.fence = job.attempts + 1, job.fence + 1
                job.started_at, job.not_before = job.started_at or utc_now(), None
                assert job.id is not None
                return Claim(job.id, job.public_id, job.organization_id, job.fence, job.attempts)
            return None

    def _attempt(self, job: Job, claim: Claim) -> Exception | None:
        context = JobContext(self.runtime, claim, self.interrupted)
        log.info("job_began", job=job.public_id, job_name=job.name, attempt=claim.attempt)
        try:
            outcome = _call(context, job)
            state = self._note(context, outcome)
        except JobSuperseded:
            log.warning("job_superseded", job=job.public_id, job_name=job.name, attempt=claim.attempt)
            return None
        log.info("job_ended", job=job.public_id, job_name=job.name, attempt=claim.attempt, state=state)
        return outcome.error

    def _note(self, context: JobContext, outcome: Outcome) -> str:
        with self.runtime.database.transaction() as session:
            job = locked(session, context.public_id)
            if job is None or job.is_finished or job.fence != context.fence:
                raise JobSuperseded
            for name, value in context.last_progress().items():
                setattr(job, name, value)
            card = outcome.card.to_json() if outcome.card else None
            if outcome.state != JobState.QUEUED:
                finish(job, outcome.state, card)
            elif not outcome.counts:
                job.attempts -= 1
                requeue(session, job)
            elif job.attempts >= MAX_ATTEMPTS:
                finish(job, JobState.FAILED, card)
            else:
                job.failure = card
                delay = outcome.after_seconds
                if delay is None:
                    delay = self.backoff_seconds * 2.0 ** (job.attempts - 1)
                requeue(session, job, delay_seconds=min(MAX_BACKOFF_SECONDS, delay))
            return job.state


def _call(context: JobContext, job: Job) -> Outcome:
    definition = context.runtime.capabilities.jobs.get(job.name)
    if definition is None:  # This process is older than the one that enqueued it.
        return Outcome(JobState.QUEUED, Card("job_unknown", {"job": job.name}))
    try:
        definition.function(context, **job.args)
    except JobSuperseded:
        raise
    except JobStopped:
        return Outcome(JobState.STOPPED)
    except JobInterrupted:
        return Outcome(JobState.QUEUED, counts=False)
    except RetryLater as later:
        return Outcome(JobState.QUEUED, later.card, after_seconds=later.after_seconds)
    except PortalError as error:
        card = Card("job_refused", {"reason": error.code, "sentence": error.sentence})
        return Outcome(JobState.FAILED, error.card if isinstance(error, UpstreamFailed) else card)
    except Exception as error:
        # The last line of defence: whatever a job raises must be recorded, or it would look as if it ran forever. Its
        # text is in the log only, because it may quote anything.
        trouble = trouble_of(error) if isinstance(error, SQLAlchemyError) else None
        log.exception("job_error", job=job.public_id, job_name=job.name, trouble=trouble)
        card = Card("job_error", {"reference": current_request_info().request_id})
        if trouble is not None:
            card = card_of(trouble, context.runtime.database.place)
        return Outcome(JobState.QUEUED, card, error=error)
    return Outcome(JobState.SUCCEEDED)


def locked(session: Session, public_id: str) -> Job | None:
    """Load a job and keep others from changing it until the transaction ends."""
    return session.exec(select(Job).where(col(Job.public_id) == public_id).with_for_update()).one_or_none()


def finish(job: Job, state: JobState, failure: dict[str, object] | None = None) -> None:
    """Record that nothing more will happen to a job."""
    job.state, job.failure, job.finished_at = state, failure, utc_now()
    job.not_before, job.executor_id = None, ""


def requeue(session: Session, job: Job, *, delay_seconds: float = 0) -> None:
    """Let the job be started again, as a new dispatch: the engine never runs a finished one a second time."""
    job.state, job.executor_id = JobState.QUEUED, ""
    job.dispatch += 1
    job.not_before = utc_now() + timedelta(seconds=delay_seconds) if delay_seconds > 0 else None
    hand_over(session, job, delay_seconds=delay_seconds)
