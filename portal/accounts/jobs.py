"""Background work on people: deleting what has ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, or_
from sqlmodel import col, select

from portal.accounts.limits import WINDOW_MINUTES
from portal.accounts.models import Invitation, SessionRecord, SignInAttempt
from portal.db import utc_now
from portal.jobs import JobContext
from portal.runtime import Runtime

KEEP_INVITATION_DAYS = 30


def has_ended(runtime: Runtime) -> bool:
    """Return whether there is anything to delete."""
    with runtime.database.reading() as session:
        return any(
            session.exec(select(table.id).where(ended).limit(1)).first() is not None for table, ended in _ended(runtime)
        )


def forget_ended(context: JobContext) -> None:
    """Delete expired sessions, sign-in attempts outside the throttle's window, and old invitations."""
    with context.transaction() as session:
        for table, ended in _ended(context.runtime):
            session.execute(delete(table).where(ended))


def _ended(runtime: Runtime) -> list[tuple[Any, ColumnElement[bool]]]:
    settings, now = runtime.settings, utc_now()
    idle = now - timedelta(minutes=settings.session_idle_minutes)
    absolute = now - timedelta(hours=settings.session_absolute_hours)
    return [
        (SessionRecord, or_(col(SessionRecord.last_active_at) < idle, col(SessionRecord.created_at) < absolute)),
        (SignInAttempt, col(SignInAttempt.at) < now - timedelta(minutes=WINDOW_MINUTES)),
        (Invitation, col(Invitation.expires_at) < now - timedelta(days=KEEP_INVITATION_DAYS)),
    ]
