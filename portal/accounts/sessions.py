"""The rows of signed-in sessions, to which the cookies of `portal.web.sessions` refer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, delete, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from portal.accounts.models import SessionRecord
from portal.accounts.people import verify_own_password
from portal.accounts.principal import load_principal
from portal.actor import Principal
from portal.db import utc_now
from portal.errors import SignInRequired
from portal.logs import get_logger
from portal.requestinfo import current_request_info
from portal.runtime import Runtime
from portal.web.sessions import SessionStore, StoredSession

log = get_logger(__name__)

# Reading a page does not wait for a write that it can do without.
TOUCH_PATIENCE_SECONDS = 0.2


class SessionRows(SessionStore):
    """Sessions in our table. `now` may be replaced to let time pass."""

    def __init__(self, runtime: Runtime, now: Callable[[], datetime] = utc_now) -> None:
        self._runtime = runtime
        self.now = now

    def find(self, token_hash: str) -> StoredSession | None:
        """Return a session and the person it belongs to; None if there is none."""
        settings, now = self._runtime.settings, self.now()
        with self._runtime.database.reading() as database:
            row = database.exec(select(SessionRecord).where(SessionRecord.token_hash == token_hash)).first()
            if row is None:
                return None
            ended_by = ""
            if now - row.created_at > timedelta(hours=settings.session_absolute_hours):
                ended_by = f"{settings.session_absolute_hours} hours"
            elif now - row.last_active_at > timedelta(minutes=settings.session_idle_minutes):
                ended_by = f"{settings.session_idle_minutes} minutes without use"
            principal = None if ended_by else _principal_of(database, row)
        return StoredSession(principal, row.data, row.last_active_at, ended_by)

    def touch(self, session_id: int) -> None:
        """Record that someone used it just now."""
        touched = update(SessionRecord).where(col(SessionRecord.id) == session_id).values(last_active_at=self.now())
        try:
            with self._runtime.database.transaction(patience=TOUCH_PATIENCE_SECONDS) as database:
                database.execute(touched)  # It may have been ended by now: then there is nothing to touch.
        except SQLAlchemyError as error:
            # A reader needs no write. The page says if the disk is full.
            log.warning("session_not_touched", error=type(error).__name__)

    def keep(self, session_id: int, data: dict[str, Any]) -> None:
        """Store what the session holds, if it has not ended."""
        with self._runtime.database.transaction() as database:
            database.execute(update(SessionRecord).where(col(SessionRecord.id) == session_id).values(data=data))

    def begin(self, token_hash: str, user_id: int, organization_id: int, *, replaces: int | None) -> Principal | None:
        """Sign a person in, ending the session that this one replaces."""
        now, info = self.now(), current_request_info()
        with self._runtime.database.transaction() as database:
            database.execute(delete(SessionRecord).where(col(SessionRecord.id) == replaces))
            row = SessionRecord(
                token_hash=token_hash,
                user_id=user_id,
                organization_id=organization_id,
                data={},
                created_at=now,
                last_active_at=now,
                proved_at=now,
                source=info.source_address,
                user_agent=info.user_agent,
            )
            database.add(row)
            database.flush()
            return _principal_of(database, row)

    def renew(
        self, principal: Principal, old_hash: str, new_hash: str, data: dict[str, Any], *, is_proved: bool
    ) -> Principal | None:
        """Move a session to another hash and return whose it is.

        Raises:
            SignInRequired: the session has ended; it is not revived.
        """
        values: dict[str, Any] = {"token_hash": new_hash, "data": data}
        values |= {"proved_at": self.now()} if is_proved else {}
        # With the old hash: of two concurrent renewals one wins, and the other's browser gets the winner's cookie.
        mine = (col(SessionRecord.id) == principal.session_id, col(SessionRecord.token_hash) == old_hash)
        with self._runtime.database.transaction() as database:
            renewed = database.execute(update(SessionRecord).where(*mine).values(**values))
            assert isinstance(renewed, CursorResult)
            if renewed.rowcount != 1:
                raise SignInRequired
            return _principal_of(database, database.get_one(SessionRecord, principal.session_id))

    def end(self, session_id: int | None) -> None:
        """End a session."""
        with self._runtime.database.transaction() as database:
            database.execute(delete(SessionRecord).where(col(SessionRecord.id) == session_id))

    def check_password(self, principal: Principal, password: str, source: str) -> None:
        """Return if this is the person's password.

        Raises:
            InvalidInput: it is wrong; `field_errors` has `password`.
            RateLimited: too many attempts.
        """
        verify_own_password(self._runtime, principal, password, source)


def _principal_of(database: Session, row: SessionRecord) -> Principal | None:
    return load_principal(database, row.user_id, row.organization_id, session_id=row.id, proved_at=row.proved_at)
