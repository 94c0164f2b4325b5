"""What health brings to the portal."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, select

from portal.capability import Capability, JobDefinition, PeriodicJob
from portal.connections.models import Connection
from portal.db import delete_of_connection, values_of
from portal.health.alarms import MAIL_ALARM
from portal.health.checks import CHECK_ONE
from portal.health.jobs import EVERY_SECONDS, check_asked, check_due, is_due, mail, thin_history
from portal.health.models import AlarmMail, HealthCheck, HealthWatch, Incident
from portal.health.panel import health_panels

BUNDLED_ROWS = 500
BUNDLED_WATCH = ("state", "since", "checked_at", "answered_at", "due_at", "addresses")
BUNDLED_CHECK = ("key", "at", "seen_at", "state", "note", "params", "card", "is_current")
BUNDLED_INCIDENT = (
    *("cause", "check_key", "level", "layer", "card", "phase", "count", "last_failed_at", "opened_at", "closed_at"),
    *("alarmed_at", "alarm_mailed_at", "end_mailed_at"),
)


def erase(session: Session, connection_id: int) -> None:
    """Delete what is known about a connection's health."""
    own = select(Incident.id).where(Incident.connection_id == connection_id)
    session.execute(delete(AlarmMail).where(col(AlarmMail.incident_id).in_(own)))
    delete_of_connection(Incident, HealthCheck, HealthWatch)(session, connection_id)


def bundle(session: Session, connection: Connection) -> dict[str, Any]:
    """Return the watch, the checks and the incidents, the newest first, for the support bundle."""
    watch = session.get(HealthWatch, connection.id)
    found: dict[str, Any] = {"watch": values_of(watch, BUNDLED_WATCH) if watch else None}
    tables: tuple[tuple[str, type[HealthCheck | Incident], tuple[str, ...]], ...] = (
        ("checks", HealthCheck, BUNDLED_CHECK),
        ("incidents", Incident, BUNDLED_INCIDENT),
    )
    for name, table, fields in tables:
        rows = select(table).where(col(table.connection_id) == connection.id).order_by(col(table.id).desc())
        found[name] = [values_of(row, fields) for row in session.exec(rows.limit(BUNDLED_ROWS))]
    return found


CAPABILITY = Capability(
    name="health",
    views="portal.health.views",
    stylesheets=("health",),
    tables=(AlarmMail, HealthCheck, HealthWatch, Incident),
    jobs=(
        PeriodicJob("health.check", check_due, "Check connections", EVERY_SECONDS, is_due),
        JobDefinition(CHECK_ONE, check_asked),
        JobDefinition(MAIL_ALARM, mail),
        PeriodicJob("health.thin", thin_history, "Delete old results of checks", 86_400),
    ),
    connection_panels={10: health_panels},
    erases=erase,
    bundle=bundle,
    actions={
        "health.check_requested": "had {object} checked",
        "incident.closed": "saw that {object} works again",
        "incident.opened": "noticed a problem with {object}",
        "support_bundle.taken": "downloaded a support bundle of {object}",
    },
)
