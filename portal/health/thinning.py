"""Keep the history small: nothing older than a quarter, and of each check only so many changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import delete, func
from sqlmodel import col, select

from portal.db import utc_now
from portal.health.models import HealthCheck, Incident, Phase
from portal.runtime import Runtime

KEEP_CHANGES = timedelta(days=30)
KEEP_INCIDENTS = timedelta(days=180)
# Of one check of one connection; one that flaps at every look reaches it within a day.
MAX_CHANGES = 300
BATCH = 500


def thin(runtime: Runtime, before_batch: Callable[[], None] = lambda: None) -> int:
    """Delete old and surplus rows in short transactions; return how many."""
    now, deleted = utc_now(), 0
    old = col(HealthCheck.is_current).is_(False) & (col(HealthCheck.seen_at) < now - KEEP_CHANGES)
    closed = (col(Incident.phase) == Phase.CLOSED) & (col(Incident.closed_at) < now - KEEP_INCIDENTS)
    number = func.row_number().over(
        partition_by=(col(HealthCheck.connection_id), col(HealthCheck.key)), order_by=col(HealthCheck.id).desc()
    )
    past = col(HealthCheck.is_current).is_(False)
    numbered = select(col(HealthCheck.id).label("id"), number.label("number")).where(past).subquery()
    surplus = select(numbered.c.id).where(numbered.c.number > MAX_CHANGES)
    for table, which in (
        (HealthCheck, select(HealthCheck.id).where(old)),
        (HealthCheck, surplus),
        (Incident, select(Incident.id).where(closed)),
    ):
        while True:
            before_batch()
            with runtime.database.transaction() as session:
                ids = list(session.exec(which.limit(BATCH)))
                session.connection().execute(delete(table).where(col(table.id).in_(ids)))
            deleted += len(ids)
            if len(ids) < BATCH:
                break
    return deleted
