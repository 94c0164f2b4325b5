"""Keep the history small: nothing older than a quarter, and only so many changes for each check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import SQLModel, col, select

from portal.db import utc_now
from portal.health.models import HealthCheck, Incident, Phase
from portal.runtime import Runtime

KEEP_CHANGES = timedelta(days=30)
KEEP_INCIDENTS = timedelta(days=180)
# For one check of one connection; one that flaps at every check reaches it within a day.
MAX_CHANGES = 300


def thin(runtime: Runtime, before_batch: Callable[[], object] = lambda: None) -> int:
    """Delete old and surplus rows; return how many."""
    return sum(runtime.database.delete_in_batches(table, ids, before_batch) for table, ids in _surplus())


def _surplus() -> Iterator[tuple[type[SQLModel], Any]]:
    now, past = utc_now(), col(HealthCheck.is_current).is_(False)
    yield HealthCheck, select(HealthCheck.id).where(past, col(HealthCheck.seen_at) < now - KEEP_CHANGES)
    number = func.row_number().over(
        partition_by=(col(HealthCheck.connection_id), col(HealthCheck.key)), order_by=col(HealthCheck.id).desc()
    )
    numbered = select(col(HealthCheck.id).label("id"), number.label("number")).where(past).subquery()
    yield HealthCheck, select(numbered.c.id).where(numbered.c.number > MAX_CHANGES)
    closed = (col(Incident.phase) == Phase.CLOSED) & (col(Incident.closed_at) < now - KEEP_INCIDENTS)
    yield Incident, select(Incident.id).where(closed)
