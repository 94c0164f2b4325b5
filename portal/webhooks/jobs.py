"""Comparing webhooks with GitLab in the background: when something changed, every hour, and when someone asks."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import exists
from sqlmodel import Session, col, select

from portal.actor import SYSTEM, Actor
from portal.connections.models import Connection, ConnectionState
from portal.credentials import AccessUnavailable
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab.answers import GitLabError
from portal.jobs import Job, JobContext, RetryLater, enqueue
from portal.net import OutboundError
from portal.repositories.jobs import PASSING, PAUSES_SECONDS
from portal.runtime import Runtime
from portal.webhooks.desired import fingerprint_of, is_wanted
from portal.webhooks.models import Hook, HookPlan
from portal.webhooks.reconcile import note_compared, reconcile_hooks

RECONCILE = "webhooks.reconcile"
LOOK_SECONDS = 5
# After a comparison that failed or was cut short.
RETRY = timedelta(minutes=10)
# The job is tried five times; after the last failure the next one is due later.
LAST_ATTEMPT = 5


def enqueue_reconciliation(
    session: Session, connection: Connection, actor: Actor = SYSTEM, hook_id: int | None = None
) -> Job:
    """Compare a connection's hooks, or one of them; if that is being done, return the job that does it."""
    return enqueue(
        session,
        RECONCILE,
        {"connection_id": connection.id, "hook_id": hook_id},
        organization_id=connection.organization_id,
        title=f"Compare webhooks of {connection.display_name}",
        # One at a time: two that look at the same moment would both find no hook, and both make one.
        key=f"hooks:{connection.id}",
        subject=f"connection:{connection.id}",
        lane=f"connection:{connection.id}",
        actor=actor,
    )


def due_connections(runtime: Runtime) -> list[Connection]:
    """Return the connections whose hooks must be compared now."""
    now = utc_now()
    period = timedelta(minutes=runtime.settings.hook_compare_minutes)
    usable = (ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION)
    statement = select(Connection).where(
        col(Connection.state).in_(usable),
        col(Connection.authorized_at).is_not(None),
        col(Connection.hooks_wanted) | exists().where(col(Hook.connection_id) == col(Connection.id)),
    )
    found = []
    with runtime.database.reading() as session:
        for connection in session.exec(statement):
            plan = session.get(HookPlan, connection.id)
            if plan is None or plan.compared_at is None:
                found.append(connection)
                continue
            wait = RETRY if plan.card and is_wanted(connection) else period
            is_late = plan.compared_at <= now - min(wait, period)
            if is_late or plan.fingerprint != fingerprint_of(runtime, session, connection):
                found.append(connection)
    return found


def compare_due(context: JobContext) -> None:
    """Start the comparisons that are due."""
    for connection in due_connections(context.runtime):
        with context.transaction() as session:
            enqueue_reconciliation(session, connection)


def run_reconcile(context: JobContext, *, connection_id: int, hook_id: int | None = None) -> None:
    """Compare the hooks of one connection, or one of them."""
    pause = PAUSES_SECONDS[min(context.attempt, len(PAUSES_SECONDS)) - 1]
    try:
        found = reconcile_hooks(context.runtime, connection_id, hook_id, context.for_each)
    except PASSING as error:
        _note_failure(context, connection_id, error.card())
        asked = getattr(error, "retry_after_seconds", None) or 0.0
        raise RetryLater(error.card(), after_seconds=max(asked, pause)) from error
    except AccessUnavailable as error:
        _note_failure(context, connection_id, error.card)
        if error.is_passing:
            raise RetryLater(error.card, after_seconds=max(error.after_seconds or 0.0, pause)) from error
        raise
    except (GitLabError, OutboundError) as error:
        _note_failure(context, connection_id, error.card())
        raise RetryLater(error.card(), after_seconds=pause) from error
    done = found.accepted + len(found.refused_urls)
    context.progress(done, done, found.card.sentence if found.card else f"{found.accepted:,} as they should be")


def _note_failure(context: JobContext, connection_id: int, card: Card) -> None:
    if context.attempt < LAST_ATTEMPT:
        return
    with context.runtime.database.reading() as session:
        fingerprint = fingerprint_of(context.runtime, session, session.get_one(Connection, connection_id))
    note_compared(context.runtime, connection_id, fingerprint, card)
