"""Background work of health: the checks, the mails, and the retention of the history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import SQLModel, col, select

from portal.db import utc_now
from portal.health.alarms import enqueue_due_mails, has_due_mails, mail_alarm
from portal.health.checks import check_connection, due_connections, end_unwatched, unwatched_with_incidents
from portal.health.models import HealthCheck, Incident, IncidentPhase
from portal.jobs import JobContext, RetryLater
from portal.jobs.context import JobInterrupted, JobStopped, JobSuperseded
from portal.jobs.models import ItemState
from portal.logs import get_logger
from portal.mail import MailFailed
from portal.runtime import Runtime

EVERY_SECONDS = 60
MAIL_AGAIN_SECONDS = 60.0
KEEP_CHANGES = timedelta(days=30)
KEEP_INCIDENTS = timedelta(days=180)
# For one check of one connection; one that flaps at every check reaches it within a day.
MAX_CHANGES = 300

log = get_logger(__name__)


def is_due(runtime: Runtime) -> bool:
    """Return whether a check, a mail or the end of an incident is due."""
    return bool(due_connections(runtime)) or bool(unwatched_with_incidents(runtime)) or has_due_mails(runtime)


def check_due(context: JobContext) -> None:
    """Check every connection that is due, a few at once; then start the mails whose time has come."""
    done = context.recorded_refs()
    due = [found for found in due_connections(context.runtime) if _ref(found) not in done]
    context.for_each(due, lambda found: _check_one(context, found))
    end_unwatched(context.runtime)
    enqueue_due_mails(context.runtime)


def check_asked(context: JobContext, *, connection_id: int) -> None:
    """Check one connection because someone asked."""
    if check_connection(context.runtime, connection_id, context.progress):
        enqueue_due_mails(context.runtime)
    context.progress(1, 1, "Checked")


def mail(context: JobContext, *, incident_id: int, kind: str) -> None:
    """Mail the people who should be told; those who already were are skipped."""
    try:
        mail_alarm(context.runtime, incident_id, kind)
    except MailFailed as error:
        raise RetryLater(error.card, after_seconds=MAIL_AGAIN_SECONDS * context.attempt) from error


def thin_history(context: JobContext) -> None:
    """Delete what is too old or too much."""
    context.progress(delete_old(context.runtime, context.raise_if_stopped))


def delete_old(runtime: Runtime, before_batch: Callable[[], object] = lambda: None) -> int:
    """Delete old rows, and those of each check beyond the newest; return how many."""
    now, past = utc_now(), col(HealthCheck.is_current).is_(False)
    number = func.row_number().over(
        partition_by=(col(HealthCheck.connection_id), col(HealthCheck.key)), order_by=col(HealthCheck.id).desc()
    )
    numbered = select(col(HealthCheck.id).label("id"), number.label("number")).where(past).subquery()
    closed = (col(Incident.phase) == IncidentPhase.CLOSED) & (col(Incident.closed_at) < now - KEEP_INCIDENTS)
    surplus: list[tuple[type[SQLModel], Any]] = [
        (HealthCheck, select(HealthCheck.id).where(past, col(HealthCheck.seen_at) < now - KEEP_CHANGES)),
        (HealthCheck, select(numbered.c.id).where(numbered.c.number > MAX_CHANGES)),
        (Incident, select(Incident.id).where(closed)),
    ]
    return sum(runtime.database.delete_in_batches(table, ids, before_batch) for table, ids in surplus)


def _check_one(context: JobContext, connection_id: int) -> None:
    state, message = ItemState.SUCCEEDED, ""
    try:
        if check_connection(context.runtime, connection_id, is_background=True):
            enqueue_due_mails(context.runtime)
    except (JobStopped, JobInterrupted, JobSuperseded):
        raise
    except Exception as error:
        # A connection that breaks the checks must not keep the others from being checked.
        log.exception("health_check_broke", connection_id=connection_id)
        state, message = ItemState.FAILED, type(error).__name__
    with context.transaction() as session:
        context.record_item(session, _ref(connection_id), state, message=message)


def _ref(connection_id: int) -> str:
    return f"connection:{connection_id}"
