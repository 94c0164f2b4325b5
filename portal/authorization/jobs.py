"""Background work of the popup: deleting attempts that ended long ago."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import col, select

from portal.authorization.models import AuthorizationAttempt
from portal.db import utc_now
from portal.jobs import JobContext

KEEP_ATTEMPTS = timedelta(days=30)


def forget_attempts(context: JobContext) -> None:
    """Delete attempts that began more than 30 days ago."""
    old = select(AuthorizationAttempt.id).where(col(AuthorizationAttempt.created_at) < utc_now() - KEEP_ATTEMPTS)
    context.progress(context.runtime.database.delete_in_batches(AuthorizationAttempt, old, context.raise_if_stopped))
