"""Background work on people: forgetting what has ended."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_
from sqlmodel import col

from portal.accounts.models import Invitation, SessionRecord, SignInAttempt
from portal.accounts.throttle import WINDOW_MINUTES
from portal.db import utc_now
from portal.jobs import JobContext
from portal.jobs.registry import every

KEEP_INVITATION_DAYS = 30


@every(3600, "accounts.forget", "Forget ended sessions and old invitations")
def forget_ended(context: JobContext) -> None:
    """Delete sessions beyond their limits, tries to sign in beyond the throttle's window, and old invitations."""
    settings, now = context.runtime.settings, utc_now()
    idle = now - timedelta(minutes=settings.session_idle_minutes)
    absolute = now - timedelta(hours=settings.session_absolute_hours)
    with context.transaction() as session:
        ended = or_(col(SessionRecord.last_active_at) < idle, col(SessionRecord.created_at) < absolute)
        session.execute(delete(SessionRecord).where(ended))
        session.execute(delete(SignInAttempt).where(col(SignInAttempt.at) < now - timedelta(minutes=WINDOW_MINUTES)))
        old = col(Invitation.expires_at) < now - timedelta(days=KEEP_INVITATION_DAYS)
        session.execute(delete(Invitation).where(old))
