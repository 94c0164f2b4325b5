"""How far back a connection is read for reports, and whether they name people."""

from __future__ import annotations

from sqlalchemy import update
from sqlmodel import col

from portal import audit
from portal.actor import Principal, Right
from portal.connections.models import Connection
from portal.connections.panels import Panel, Place
from portal.connections.store import get_connection_for_admin
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput
from portal.ingestion.models import MONTHS, Ingestion, Reading
from portal.ingestion.run import begin_of
from portal.repositories.selection import Row
from portal.runtime import Runtime

# How far back it may be read, in months.
MONTHS_OFFERED = (3, 6, 12, 24, 36)


def report_panels(runtime: Runtime, principal: Principal, connection: Connection) -> list[Panel]:
    """Return the settings of a connection's reports."""
    with runtime.database.reading() as session:
        row = session.get(Ingestion, connection.id)
    context = {
        "months": row.months if row else MONTHS,
        "has_initials": bool(row and row.has_initials),
        "row_version": row.row_version if row else 0,
        "offered": MONTHS_OFFERED,
        "may_change": principal.may(Right.MANAGE_CONNECTIONS),
    }
    return [Panel(Place.SETTING, "reports/_setting.html", context)]


def repository_panels(_runtime: Runtime, _principal: Principal, row: Row) -> list[Panel]:
    """Return the way to the report of an enabled repository."""
    if row.enablement is None:
        return []
    return [Panel(Place.FACT, "reports/_repository.html", {"repository_id": row.repository.id})]


def save_settings(
    runtime: Runtime, principal: Principal, slug: str, *, months: int, has_initials: bool, row_version: int
) -> None:
    """Store the settings. If more is wanted than before, it is read from the beginning.

    Raises:
        InvalidInput: not one of the months that are offered.
        Conflict: someone else changed them since `row_version`.
    """
    if months not in MONTHS_OFFERED:
        raise InvalidInput("Choose how many months are read.")
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        assert connection.id is not None
        row = session.get(Ingestion, connection.id)
        if row is None:
            row = Ingestion(connection_id=connection.id, row_version=0)
            session.add(row)
        elif (row.months, row.has_initials) == (months, has_initials):
            return  # Sent twice.
        if row_version != row.row_version:
            raise Conflict("Someone else changed these settings. Look at them again before you save.")
        now = utc_now()
        if months > row.months:
            everything = update(Reading).where(col(Reading.connection_id) == connection.id)
            session.execute(everything.values(begin=begin_of(months, now), cursor=0, is_complete=False, due_at=now))
        row.months, row.has_initials, row.row_version = months, has_initials, row.row_version + 1
        audit.record(
            session,
            principal.actor,
            "report.settings_changed",
            connection.target,
            months=months,
            names="initials" if has_initials else "names",
        )
