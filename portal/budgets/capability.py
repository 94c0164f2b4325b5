"""What request budgets bring to the portal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlmodel import SQLModel, col, select

from portal.actor import Principal
from portal.budgets.agreements import erase
from portal.capability import Capability, PeriodicJob
from portal.connections.models import Connection
from portal.connections.panels import Panel, Place
from portal.db import utc_now
from portal.jobs import JobContext
from portal.net.agreement import RequestAgreement
from portal.net.budget import RequestBudget
from portal.net.usage import KEPT_DAYS, RateLimit, RequestCount, RequestSlowdown
from portal.runtime import Runtime

DAY = 86_400


def budget_panels(_runtime: Runtime, _principal: Principal, _connection: Connection) -> list[Panel]:
    """Return the way to the page, for the connection's settings."""
    return [Panel(Place.SETTING, "budgets/_setting.html", {})]


def has_old(runtime: Runtime) -> bool:
    """Return whether there is anything to delete."""
    with runtime.database.reading() as session:
        return any(session.execute(ids.limit(1)).first() for _, ids in _old())


def delete_old(context: JobContext) -> None:
    """Delete the counts and slowdowns that are too old."""
    context.progress(
        sum(context.runtime.database.delete_in_batches(table, ids, context.raise_if_stopped) for table, ids in _old())
    )


def _old() -> list[tuple[type[SQLModel], Any]]:
    begin = utc_now() - timedelta(days=KEPT_DAYS)
    return [
        (RequestCount, select(RequestCount.id).where(col(RequestCount.starts_at) < begin)),
        (RequestSlowdown, select(RequestSlowdown.id).where(col(RequestSlowdown.ended_at) < begin)),
    ]


CAPABILITY = Capability(
    name="budgets",
    views="portal.budgets.views",
    stylesheets=("charts",),
    connection_panels={18: budget_panels},
    tables=(RateLimit, RequestAgreement, RequestBudget, RequestCount, RequestSlowdown),
    jobs=(PeriodicJob("budgets.delete_old", delete_old, "Delete old counts of requests", DAY, has_old),),
    erases=erase,
    actions={
        "request_budget.changed": "changed how many requests {gitlab} gets from Gatehouse",
        "request_budget.dropped": "returned to the usual number of requests to {gitlab}",
    },
)
