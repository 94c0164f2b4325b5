"""What an organization agreed on with the administrator of a GitLab: read, changed and deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from sqlalchemy import delete
from sqlmodel import Session, col, select

from portal import audit
from portal.actor import Principal
from portal.connections.models import Connection
from portal.connections.store import get_connection_for_admin
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput
from portal.net import origin_of
from portal.net.agreement import DAY_MINUTES, RequestAgreement, zone_of
from portal.net.budget import RequestBudget
from portal.net.usage import RateLimit, RequestCount, RequestSlowdown
from portal.runtime import Runtime

MAX_PER_SECOND = 1000
MAX_AT_ONCE = 200
# A job that is held back is tried five times, at most an hour apart.
LONGEST_PAUSE_MINUTES = 4 * 60


@dataclass(frozen=True)
class EnteredBudget:
    """What was typed on the form."""

    per_second: str = ""
    at_once: str = ""
    quiet_from: str = ""
    quiet_until: str = ""
    time_zone: str = ""
    quiet_per_second: str = ""
    agreed_with: str = ""
    agreed_on: str = ""
    note: str = ""


class BudgetChanged(Conflict):
    """Someone else changed it since the page was shown."""

    sentence = "Someone else has changed this budget. Reload the page to see what is in force now."


def agreement_of(session: Session, organization_id: int, origin: str) -> RequestAgreement | None:
    """Return what an organization agreed on for a GitLab."""
    mine = (RequestAgreement.organization_id == organization_id, RequestAgreement.origin == origin)
    return session.exec(select(RequestAgreement).where(*mine)).first()


def save_agreement(
    runtime: Runtime, principal: Principal, slug: str, entered: EnteredBudget, *, row_version: int
) -> None:
    """Store what was agreed on; every process keeps to it from its next lease on.

    Raises:
        InvalidInput: with a sentence for each field; nothing is changed.
        BudgetChanged: someone else changed it since `row_version`.
    """
    values = _read(entered)
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        if not connection.api_url:
            raise Conflict("This connection has no address yet.")
        origin = origin_of(connection.api_url)
        row = agreement_of(session, connection.organization_id, origin)
        if row and all(getattr(row, name) == value for name, value in values.items()):
            return  # Sent twice.
        if row_version != (row.row_version if row else 0):
            raise BudgetChanged
        row = row or RequestAgreement(
            organization_id=connection.organization_id, origin=origin, per_second=0, at_once=0, row_version=0
        )
        row.sqlmodel_update({**values, "row_version": row.row_version + 1, "updated_at": utc_now()})
        session.add(row)
        audit.record(
            session,
            principal.actor,
            "request_budget.changed",
            connection.target,
            gitlab=origin,
            per_second=row.per_second,
            at_once=row.at_once,
            quiet_hours=quiet_hours_of(row),
            agreed_with=row.agreed_with,
        )


def drop_agreement(runtime: Runtime, principal: Principal, slug: str) -> None:
    """Return to what Gatehouse does if nothing was agreed on."""
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        row = agreement_of(session, connection.organization_id, origin_of(connection.api_url))
        if row is None:
            return
        session.delete(row)
        audit.record(session, principal.actor, "request_budget.dropped", connection.target, gitlab=row.origin)


def erase(session: Session, connection_id: int) -> None:
    """Delete what is known about the requests to a connection's GitLab, unless another connection leads there."""
    connection = session.get(Connection, connection_id)
    if connection is None or not connection.api_url:
        return
    origin = origin_of(connection.api_url)
    others = [
        organization_id
        for organization_id, api_url in session.exec(
            select(Connection.organization_id, Connection.api_url).where(Connection.id != connection_id)
        )
        if api_url and origin_of(api_url) == origin
    ]
    if connection.organization_id not in others:
        own = (
            col(RequestAgreement.organization_id) == connection.organization_id,
            col(RequestAgreement.origin) == origin,
        )
        session.execute(delete(RequestAgreement).where(*own))
    if not others:
        for table in (RequestBudget, RequestCount, RequestSlowdown, RateLimit):
            session.execute(delete(table).where(col(table.origin) == origin))


def quiet_hours_of(row: RequestAgreement) -> str:
    """Return the quiet hours as people write them; empty if there are none."""
    if row.quiet_from == row.quiet_until:
        return ""
    return f"{clock_of(row.quiet_from)} to {clock_of(row.quiet_until)} {row.time_zone}"


def clock_of(minutes: int) -> str:
    """Return minutes after midnight as a time of day: `02:30`."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _read(entered: EnteredBudget) -> dict[str, object]:
    problems: dict[str, str] = {}

    def number(name: str, smallest: int, largest: int, *, default: int | None = None) -> int:
        text = str(getattr(entered, name)).strip()
        if not text and default is not None:
            return default
        if text.isascii() and text.isdigit() and len(text) < len(str(MAX_PER_SECOND)) * 2:
            value = int(text)
            if smallest <= value <= largest:
                return value
        problems[name] = f"Enter a whole number from {smallest:,} to {largest:,}."
        return smallest

    def minutes(name: str) -> int | None:
        text = str(getattr(entered, name)).strip()
        if not text:
            return None
        try:
            return _minutes_of(text)
        except ValueError:
            problems[name] = "Enter a time of day, such as 02:00."
            return None

    per_second = number("per_second", 1, MAX_PER_SECOND)
    at_once = number("at_once", 1, MAX_AT_ONCE)
    begin, end = minutes("quiet_from"), minutes("quiet_until")
    quiet_per_second = number("quiet_per_second", 0, MAX_PER_SECOND, default=0)
    time_zone = entered.time_zone.strip() or "UTC"
    if zone_of(time_zone) is None:
        problems["time_zone"] = "Enter the name of a time zone, such as Europe/Copenhagen or UTC."
    if (begin is None) != (end is None) and not problems.keys() & {"quiet_from", "quiet_until"}:
        problems["quiet_until" if end is None else "quiet_from"] = "Quiet hours need a beginning and an end."
    elif begin is not None and begin == end:
        problems["quiet_until"] = "Quiet hours cannot begin and end at the same time."
    elif begin is not None and end is not None:
        if not quiet_per_second and (end - begin) % DAY_MINUTES > LONGEST_PAUSE_MINUTES:
            problems["quiet_per_second"] = (
                "Without any background work, quiet hours can last four hours: jobs do not wait longer."
                " Allow at least 1 request a second, or make them shorter."
            )
        if quiet_per_second > per_second and "per_second" not in problems:
            problems["quiet_per_second"] = "That is more than outside of quiet hours."
    agreed_at = None
    try:
        if entered.agreed_on.strip():
            agreed_at = datetime.combine(date.fromisoformat(entered.agreed_on.strip()), time(), UTC)
    except ValueError:
        problems["agreed_on"] = "Enter a date, such as 2026-10-12."
    if problems:
        raise InvalidInput(field_errors=problems)
    return {
        "per_second": per_second,
        "at_once": at_once,
        "quiet_from": begin or 0,
        "quiet_until": end or 0,
        "time_zone": time_zone,
        "quiet_per_second": quiet_per_second if begin is not None else 0,
        "agreed_with": " ".join(entered.agreed_with.split()),
        "agreed_at": agreed_at,
        "note": entered.note.strip(),
    }


def _minutes_of(text: str) -> int:
    found = time.fromisoformat(text if ":" in text else "")
    if found.second or found.microsecond or found.tzinfo:
        raise ValueError(text)
    return found.hour * 60 + found.minute
