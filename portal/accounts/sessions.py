"""Server-side sessions: the cookie is an opaque value, its hash is a row, and deleting the row ends it (S1–S4).

A visitor who is not signed in has a cookie too, without a row: CSRF tokens are bound to it by an HMAC.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import Flask, Request, Response, current_app, request
from flask.sessions import SessionInterface, SessionMixin
from sqlalchemy import CursorResult, delete, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from portal.accounts.models import SessionRecord
from portal.accounts.principal import load_principal
from portal.actor import Principal
from portal.db import utc_now
from portal.errors import SignInRequired
from portal.logs import get_logger
from portal.requestinfo import current_request_info
from portal.runtime import Runtime

log = get_logger(__name__)

COOKIE_BYTES = 32
CSRF_FIELD = "csrf_token"
# Hash of the cookie that a renewed session began with: pages opened before it was renewed still have a valid token.
CSRF_SEED = "csrf_seed"
# A row is not updated at every request: this much idle time may be lost.
TOUCH_SECONDS = 30
# Reading a page does not wait for a write that it can do without.
TOUCH_PATIENCE_SECONDS = 0.2


class PortalSession(dict[str, Any], SessionMixin):
    """One visit's session. `principal` is whoever is signed in; None for a visitor."""

    def __init__(self, token: str, csrf: str, principal: Principal | None, data: dict[str, Any]) -> None:
        super().__init__(data)
        self[CSRF_FIELD] = csrf
        self.token = token
        self.principal = principal
        self.row_id: int | None = principal.session_id if principal else None
        self.stored = dict(data)
        self.must_send_cookie = False
        self.must_clear = False
        # For a visitor who was signed in until a moment ago: which limit ended the session, in words.
        self.was_ended_by = ""
        # Why the session could not be read; the checks before every view raise it.
        self.failure: SQLAlchemyError | None = None

    @property
    def data(self) -> dict[str, Any]:
        """What the row holds: everything but the CSRF secret, which is derived from the cookie."""
        return {name: value for name, value in self.items() if name != CSRF_FIELD}


class DatabaseSessions(SessionInterface):
    """Flask's sessions on our table. `now` may be replaced to let time pass."""

    def __init__(self, runtime: Runtime, now: Callable[[], datetime] = utc_now) -> None:
        self._runtime = runtime
        self._key = runtime.vault.derive_stable_key("session")
        self.now = now

    @property
    def cookie_name(self) -> str:
        """`__Host-` where browsers enforce it; on loopback http they refuse it."""
        return "__Host-gatehouse" if self._runtime.settings.is_https else "gatehouse"

    def open_session(self, app: Flask, request: Request) -> PortalSession:
        """Return the session of the request's cookie; a new visitor's if there is no live one."""
        try:
            return self._open(app, request)
        except SQLAlchemyError as error:
            # Flask opens sessions before it can handle errors: raised here, the exception would leave the application
            # unhandled.
            unread = PortalSession("", "", None, {})
            unread.failure = error
            return unread

    def _open(self, app: Flask, request: Request) -> PortalSession:
        token = self._read_cookie(request)
        record = self._find(token) if token else None
        if record is None:
            return self._visitor(token)
        if ended_by := self._limit_of(record):
            visitor = self._visitor(token)
            visitor.was_ended_by = ended_by
            return visitor
        with self._runtime.database.reading() as database:
            principal = load_principal(
                database, record.user_id, record.organization_id, session_id=record.id, proved_at=record.proved_at
            )
        if principal is None:
            return self._visitor("")
        self._touch(record, request, app)
        csrf = self._csrf_of(record.data.get(CSRF_SEED, record.token_hash))
        return PortalSession(token, csrf, principal, record.data)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write what changed, and send the cookie when it is new."""
        assert isinstance(session, PortalSession)
        if session.must_clear:
            response.delete_cookie(
                self.cookie_name, path="/", secure=self._runtime.settings.is_https, httponly=True, samesite="Lax"
            )
            return
        if session.row_id is not None and session.data != session.stored:
            try:
                self._store(session.row_id, session.data)
            except SQLAlchemyError as error:
                if request.method not in {"GET", "HEAD"}:
                    raise
                # A message may be shown twice.
                log.warning("session_not_stored", error=type(error).__name__)
        # Shared caches keep static files, so they must not carry cookies.
        if session.must_send_cookie and request.endpoint != "static":
            self._send(response, session.token)

    def _store(self, row_id: int, data: dict[str, Any]) -> None:
        with self._runtime.database.transaction() as database:
            record = database.get(SessionRecord, row_id)
            if record is not None:
                record.data = data

    def begin(self, session: PortalSession, user_id: int, organization_id: int) -> None:
        """Sign someone in: a new row under a new cookie; the old session, if any, ends (fixation, S2)."""
        now, info = self.now(), current_request_info()
        session.clear()  # What the previous session stored there is not for this one.
        session.token = new_token()
        with self._runtime.database.transaction() as database:
            if session.row_id is not None:
                database.execute(delete(SessionRecord).where(col(SessionRecord.id) == session.row_id))
            record = SessionRecord(
                token_hash=hash_of(session.token),
                user_id=user_id,
                organization_id=organization_id,
                data={},
                created_at=now,
                last_active_at=now,
                proved_at=now,
                source=info.source_address,
                user_agent=info.user_agent,
            )
            database.add(record)
            database.flush()
            session.row_id = record.id
            session.principal = load_principal(database, user_id, organization_id, session_id=record.id, proved_at=now)
        session.stored = {}
        session[CSRF_FIELD] = self._csrf_of(hash_of(session.token))
        session.must_send_cookie = True

    def renew(self, session: PortalSession, *, is_proved: bool = False) -> None:
        """Continue under another cookie, after the password was given again or the role has changed (S2).

        The row stays, with its absolute limit and its contents; the old cookie is void at once.

        Raises:
            SignInRequired: the session has ended; it is not revived.
        """
        old_hash, token = hash_of(session.token), new_token()
        session.setdefault(CSRF_SEED, old_hash)
        values: dict[str, Any] = {"token_hash": hash_of(token), "data": session.data}
        values |= {"proved_at": self.now()} if is_proved else {}
        # With the old hash: of two concurrent renewals one wins, and the other's browser gets the winner's cookie.
        mine = (col(SessionRecord.id) == session.row_id, col(SessionRecord.token_hash) == old_hash)
        with self._runtime.database.transaction() as database:
            renewed = database.execute(update(SessionRecord).where(*mine).values(**values))
        assert isinstance(renewed, CursorResult)
        if renewed.rowcount != 1:
            raise SignInRequired
        session.token, session.stored, session.must_send_cookie = token, session.data, True
        session.principal = None if session.principal is None else self._reload(session.principal)

    def end(self, session: PortalSession) -> None:
        """Sign out: the row is gone before the answer leaves."""
        with self._runtime.database.transaction() as database:
            database.execute(delete(SessionRecord).where(col(SessionRecord.id) == session.row_id))
        session.clear()
        session.principal = None
        session.row_id = None
        session.must_clear = True

    def _reload(self, principal: Principal) -> Principal | None:
        with self._runtime.database.reading() as database:
            record = database.get(SessionRecord, principal.session_id)
            if record is None:
                return None
            return load_principal(
                database, record.user_id, record.organization_id, session_id=record.id, proved_at=record.proved_at
            )

    def _visitor(self, token: str) -> PortalSession:
        fresh = not token
        token = token or new_token()
        session = PortalSession(token, self._csrf_of(hash_of(token)), None, {})
        session.must_send_cookie = fresh
        return session

    def _read_cookie(self, request: Request) -> str:
        """Return the cookie, unless it was sent twice: then someone else may have set one of them (S3)."""
        values = request.cookies.getlist(self.cookie_name)
        usable = len(values) == 1 and 0 < len(values[0]) <= 200 and values[0].isascii()
        return values[0] if usable else ""

    def _find(self, token: str) -> SessionRecord | None:
        with self._runtime.database.reading() as database:
            return database.exec(select(SessionRecord).where(SessionRecord.token_hash == hash_of(token))).first()

    def _limit_of(self, record: SessionRecord) -> str:
        """Return the limit that has ended a session, in words; empty while the session is live."""
        settings, now = self._runtime.settings, self.now()
        if now - record.created_at > timedelta(hours=settings.session_absolute_hours):
            return f"{settings.session_absolute_hours} hours"
        if now - record.last_active_at > timedelta(minutes=settings.session_idle_minutes):
            return f"{settings.session_idle_minutes} minutes without use"
        return ""

    def _touch(self, record: SessionRecord, request: Request, app: Flask) -> None:
        view = app.view_functions.get(request.endpoint or "")
        is_polling = getattr(view, "is_polling", False) or request.headers.get("X-Polling") == "1"
        now = self.now()
        if is_polling or now - record.last_active_at < timedelta(seconds=TOUCH_SECONDS):
            return
        touched = update(SessionRecord).where(col(SessionRecord.id) == record.id).values(last_active_at=now)
        try:
            with self._runtime.database.transaction(patience=TOUCH_PATIENCE_SECONDS) as database:
                database.execute(touched)  # It may have been ended by now: then there is nothing to touch.
        except SQLAlchemyError as error:
            # A reader needs no write. The page says if the disk is full.
            log.warning("session_not_touched", error=type(error).__name__)

    def _csrf_of(self, seed: str) -> str:
        return hmac.digest(self._key, seed.encode(), "sha256").hex()

    def _send(self, response: Response, token: str) -> None:
        response.set_cookie(
            self.cookie_name,
            token,
            secure=self._runtime.settings.is_https,
            httponly=True,
            samesite="Lax",
            path="/",
        )


def current_sessions() -> DatabaseSessions:
    """Return the current application's sessions."""
    found = current_app.session_interface
    assert isinstance(found, DatabaseSessions)
    return found


def new_token() -> str:
    """Return a cookie value of 256 random bits."""
    return secrets.token_urlsafe(COOKIE_BYTES)


def hash_of(token: str) -> str:
    """Return what is stored for a cookie or a one-time link."""
    return hashlib.sha256(token.encode()).hexdigest()


def end_other_sessions(database: Session, user_id: int, besides: int | None) -> None:
    """End every session of a person but one, in the caller's transaction."""
    database.execute(
        delete(SessionRecord).where(col(SessionRecord.user_id) == user_id, col(SessionRecord.id) != (besides or 0))
    )
