"""Background work of health: the checks, the mails, and the thinning of the history."""

from __future__ import annotations

from portal.health.alarms import enqueue_due_mails, has_due_mails, mail_alarm
from portal.health.checks import check_connection, due_connections, end_unwatched, unwatched_with_incidents
from portal.health.mail import MailFailed
from portal.health.retention import thin
from portal.jobs import JobContext, RetryLater
from portal.jobs.context import JobInterrupted, JobStopped, JobSuperseded
from portal.jobs.models import ItemState
from portal.jobs.thread_pool import for_each
from portal.logs import get_logger
from portal.runtime import Runtime

EVERY_SECONDS = 60
MAIL_AGAIN_SECONDS = 60.0

log = get_logger(__name__)


def is_due(runtime: Runtime) -> bool:
    """Return whether a check, a mail or the end of an incident is due."""
    return bool(due_connections(runtime)) or bool(unwatched_with_incidents(runtime)) or has_due_mails(runtime)


def check_due(context: JobContext) -> None:
    """Check every connection that is due, a few at once; then start the mails whose time has come."""
    done = context.recorded_refs()
    due = [found for found in due_connections(context.runtime) if _ref(found) not in done]
    for_each(context, due, lambda found: _check_one(context, found))
    end_unwatched(context.runtime)
    enqueue_due_mails(context.runtime)


def check_asked(context: JobContext, *, connection_id: int) -> None:
    """Check one connection because someone asked."""
    check_connection(context.runtime, connection_id, context.progress)
    context.progress(1, 1, "Checked")


def mail(context: JobContext, *, incident_id: int, kind: str) -> None:
    """Mail the people who must be told; those who already got the mail are skipped."""
    try:
        mail_alarm(context.runtime, incident_id, kind)
    except MailFailed as error:
        raise RetryLater(error.card, after_seconds=MAIL_AGAIN_SECONDS * context.attempt) from error


def thin_history(context: JobContext) -> None:
    """Delete what is too old or too much."""
    context.progress(thin(context.runtime, context.raise_if_stopped))


def _check_one(context: JobContext, connection_id: int) -> None:
    state, message = ItemState.SUCCEEDED, ""
    try:
        check_connection(context.runtime, connection_id)
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
