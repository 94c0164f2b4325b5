"""Write the audit log in the transaction of the change it tells of, and read it page by page."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_
from sqlalchemy.orm import Session
from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.db import Database
from portal.requestinfo import current_request_info

PAGE_SIZE = 50
MAX_DETAIL_LENGTH = 500

_actor_name: ContextVar[str] = ContextVar("actor_name", default="")


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Name the person whose actions are recorded while the block runs."""
    token = _actor_name.set(name)
    try:
        yield
    finally:
        _actor_name.reset(token)


def record(
    session: Session,
    *,
    action: str,
    organization_id: int | None,
    actor_user_id: int | None,
    object_type: str,
    object_id: str | int,
    object_name: str = "",
    actor_name: str | None = None,
    result: str = "ok",
    details: dict[str, Any] | None = None,
) -> AuditEvent:
    """Add one row to the caller's transaction: the change and its row are both kept, or neither (S84).

    `actor_name` defaults to whoever is signed in. Source address, request id and user agent are those of the
    request that runs now. Never put a secret into `details`.
    """
    info = current_request_info()
    event = AuditEvent(
        organization_id=organization_id,
        actor_user_id=actor_user_id,
        actor_name=encode_controls(_actor_name.get() if actor_name is None else actor_name, 200),
        action=action,
        object_type=object_type,
        object_id=encode_controls(str(object_id), 200),
        object_name=encode_controls(object_name, 300),
        result=result,
        source_address=info.source_address,
        request_id=info.request_id,
        user_agent=encode_controls(info.user_agent, 300),
        details=_clean(details or {}),
    )
    session.add(event)
    session.flush()
    return event


def encode_controls(text: str, limit: int) -> str:
    """Write control, formatting and unassigned characters as `\\u....`, so that one event stays one line (S86)."""
    encoded = "".join(_encode(character) for character in text[:limit])
    return encoded[:limit]


def _encode(character: str) -> str:
    # Category C holds line breaks, ANSI escapes, text-direction marks and lone surrogates alike; Z* but the space
    # holds the line and paragraph separators.
    category = unicodedata.category(character)
    if category.startswith("C") or (category.startswith("Z") and character not in {" ", "\u00a0"}):
        return f"\\u{ord(character):04x}"
    return character


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {encode_controls(str(key), 80): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return encode_controls(str(value), MAX_DETAIL_LENGTH)


@dataclass(frozen=True)
class AuditPage:
    """One page of events, newest first; `next_before` is the id to go on from, None at the end."""

    events: list[AuditEvent]
    next_before: int | None


def list_events(
    database: Database, organization_id: int, *, action: str = "", actor: str = "", before: int | None = None
) -> AuditPage:
    """Return events of one organization, newest first, by keyset.

    Args:
        database: where to read.
        organization_id: only its events are ever returned.
        action: the start of the action's name, such as `member.`; empty for all.
        actor: part of the person's name or of the source address; empty for all.
        before: only events with a smaller id.
    """
    statement = select(AuditEvent).where(AuditEvent.organization_id == organization_id)
    if action:
        statement = statement.where(col(AuditEvent.action).startswith(action, autoescape=True))
    if actor:
        matches = (col(column).icontains(actor, autoescape=True) for column in _SEARCHED)
        statement = statement.where(or_(*matches))
    if before is not None:
        statement = statement.where(col(AuditEvent.id) < before)
    statement = statement.order_by(col(AuditEvent.id).desc()).limit(PAGE_SIZE + 1)
    with database.reading() as session:
        rows = list(session.exec(statement))
    more = len(rows) > PAGE_SIZE
    events = rows[:PAGE_SIZE]
    return AuditPage(events, events[-1].id if more else None)


_SEARCHED = (AuditEvent.actor_name, AuditEvent.object_name, AuditEvent.source_address)


def list_actions(database: Database, organization_id: int) -> list[str]:
    """Return the names of the actions that occur in one organization's log, for the filter."""
    statement = (
        select(AuditEvent.action)
        .where(AuditEvent.organization_id == organization_id)
        .distinct()
        .order_by(AuditEvent.action)
    )
    with database.reading() as session:
        return list(session.exec(statement))
