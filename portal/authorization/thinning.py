"""Keep the flight recorder and what ended small: a credential lives for years, and refreshes every two hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func
from sqlmodel import col, select

from portal.authorization.models import AuthorizationAttempt, CredentialEvent, RetiredToken
from portal.db import utc_now
from portal.runtime import Runtime

# Of one credential; at twelve refreshes a day that is half a year.
MAX_EVENTS = 2000
KEEP_ATTEMPTS = timedelta(days=30)
KEEP_REVOKED = timedelta(days=30)
BATCH = 500


def thin(runtime: Runtime, before_batch: Callable[[], None] = lambda: None) -> int:
    """Delete surplus events, old attempts and tokens that GitLab revoked, in short transactions; return how many."""
    deleted = 0
    for table, which in _surplus():
        while True:
            before_batch()
            with runtime.database.transaction() as session:
                ids = list(session.exec(which.limit(BATCH)))
                session.connection().execute(delete(table).where(col(table.id).in_(ids)))
            deleted += len(ids)
            if len(ids) < BATCH:
                break
    return deleted


def _surplus() -> Iterator[tuple[Any, Any]]:
    now = utc_now()
    number = func.row_number().over(
        partition_by=col(CredentialEvent.credential_id), order_by=col(CredentialEvent.id).desc()
    )
    numbered = select(col(CredentialEvent.id).label("id"), number.label("number")).subquery()
    yield CredentialEvent, select(numbered.c.id).where(numbered.c.number > MAX_EVENTS)
    # One that was begun and never came back holds nothing any more, either.
    ended = col(AuthorizationAttempt.created_at) < now - KEEP_ATTEMPTS
    yield AuthorizationAttempt, select(AuthorizationAttempt.id).where(ended)
    # The newest of a connection stays: the page of a disconnected one says since when its token is revoked.
    newest = select(func.max(RetiredToken.id)).group_by(col(RetiredToken.connection_id)).scalar_subquery()
    revoked = col(RetiredToken.revoked_at) < now - KEEP_REVOKED
    yield RetiredToken, select(RetiredToken.id).where(revoked, col(RetiredToken.id).not_in(newest))
