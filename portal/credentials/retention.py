"""Keep the flight recorder and the retired tokens few: a credential lives for years, refreshed every two hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import SQLModel, col, select

from portal.credentials.models import CredentialEvent, RetiredToken
from portal.db import utc_now
from portal.runtime import Runtime

# Of one credential; at twelve refreshes a day that is half a year.
MAX_EVENTS = 2000
KEEP_REVOKED = timedelta(days=30)


def thin(runtime: Runtime, before_batch: Callable[[], object] = lambda: None) -> int:
    """Delete surplus events and tokens that GitLab revoked long ago; return how many."""
    return sum(runtime.database.delete_in_batches(table, ids, before_batch) for table, ids in _surplus())


def _surplus() -> Iterator[tuple[type[SQLModel], Any]]:
    now = utc_now()
    number = func.row_number().over(
        partition_by=col(CredentialEvent.credential_id), order_by=col(CredentialEvent.id).desc()
    )
    numbered = select(col(CredentialEvent.id).label("id"), number.label("number")).subquery()
    yield CredentialEvent, select(numbered.c.id).where(numbered.c.number > MAX_EVENTS)
    # The newest of a connection stays: the page of a disconnected one says when its token was revoked.
    newest = select(func.max(RetiredToken.id)).group_by(col(RetiredToken.connection_id))
    revoked = col(RetiredToken.revoked_at) < now - KEEP_REVOKED
    yield RetiredToken, select(RetiredToken.id).where(revoked, col(RetiredToken.id).not_in(newest))
