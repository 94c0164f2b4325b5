"""Find events: by what was done, who did it, to what, with which result, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_
from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.db import Database
from portal.errors import NotFound

PAGE_SIZE = 50
EXPORT_BATCH = 500
_PERSON = (AuditEvent.actor_name, AuditEvent.source_address)
_OBJECT = (AuditEvent.object_name, AuditEvent.object_id, AuditEvent.object_type)


@dataclass(frozen=True)
class Search:
    """What to look for; empty means all.

    Attributes:
        organization_id: only its events are returned; None for those of all organizations (the command line).
        text: part of a person's or the object's name, of an id, or of the source address.
        actions: starts of the action's name, such as `member.`; any of them matches.
        person: part of the person's name or of the source address.
        object: part of the object's name, id or kind.
        result: `ok`, `refused` or `failed`.
        about: kind and id of the one object it is about.
        since: the first moment, included.
        until: the last moment, not included.
    """

    organization_id: int | None
    text: str = ""
    actions: tuple[str, ...] = ()
    person: str = ""
    object: str = ""
    result: str = ""
    about: tuple[str, str] | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions a row has to meet."""
        found: list[ColumnElement[bool]] = []
        if self.organization_id is not None:
            found.append(col(AuditEvent.organization_id) == self.organization_id)
        if self.text:
            found.append(_contains((*_PERSON, *_OBJECT), self.text))
        if self.actions:
            starts = (col(AuditEvent.action).startswith(action, autoescape=True) for action in self.actions)
            found.append(or_(*starts))
        if self.person:
            found.append(_contains(_PERSON, self.person))
        if self.object:
            found.append(_contains(_OBJECT, self.object))
        if self.result:
            found.append(col(AuditEvent.result) == self.result)
        if self.about:
            kind, object_id = self.about
            found += [col(AuditEvent.object_type) == kind, col(AuditEvent.object_id) == object_id]
        if self.since:
            found.append(col(AuditEvent.at) >= self.since)
        if self.until:
            found.append(col(AuditEvent.at) < self.until)
        return found


@dataclass(frozen=True)
class AuditPage:
    """One page of events, newest first.

    Attributes:
        older: the number that the next page's events are below; None on the last page.
        newer: the number that the previous page's events are above; None on the first page.
    """

    events: list[AuditEvent]
    older: int | None
    newer: int | None


def list_events(
    database: Database, search: Search, *, before: int | None = None, after: int | None = None
) -> AuditPage:
    """Return the newest events below `before`, or the oldest ones above `after`; newest first either way."""
    number = col(AuditEvent.number)
    statement = select(AuditEvent).where(*search.conditions())
    if after is not None:
        statement = statement.where(number > after).order_by(number)
    else:
        statement = statement.order_by(number.desc())
        statement = statement if before is None else statement.where(number < before)
    with database.reading() as session:
        rows = list(session.exec(statement.limit(PAGE_SIZE + 1)))
    more, events = len(rows) > PAGE_SIZE, rows[:PAGE_SIZE]
    if after is not None:
        events.reverse()
        return AuditPage(events, older=after + 1, newer=events[0].number if more else None)
    return AuditPage(
        events,
        older=events[-1].number if more else None,
        newer=events[0].number if events and before is not None else None,
    )


def find_event(database: Database, organization_id: int, number: int) -> AuditEvent:
    """Return one event of an organization.

    Raises:
        NotFound: there is none with this number, or it is another organization's.
    """
    statement = select(AuditEvent).where(AuditEvent.number == number, AuditEvent.organization_id == organization_id)
    with database.reading() as session:
        event = session.exec(statement).one_or_none()
    if event is None:
        raise NotFound
    return event


def iterate_events(database: Database, search: Search) -> Iterator[AuditEvent]:
    """Yield all matching events that exist now, oldest first, in short transactions."""
    number, after = col(AuditEvent.number), 0
    with database.reading() as session:
        last = session.exec(select(func.max(number))).one() or 0
    statement = select(AuditEvent).where(*search.conditions(), number <= last).order_by(number).limit(EXPORT_BATCH)
    while True:
        with database.reading() as session:
            rows = list(session.exec(statement.where(number > after)))
        yield from rows
        if len(rows) < EXPORT_BATCH:
            return
        after = rows[-1].number


def _contains(columns: tuple[str, ...], text: str) -> ColumnElement[bool]:
    return or_(*(col(column).icontains(text, autoescape=True) for column in columns))
