"""Server-side sessions: the cookie is an opaque value, its hash is a row, and deleting the row ends it (S1–S4).

A visitor who is not signed in has a cookie too, without a row: CSRF tokens are bound to it by an HMAC.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from flask import Flask, Request, Response, current_app, request
from flask import session as flask_session
from flask.sessions import SessionInterface, SessionMixin
from sqlalchemy.exc import SQLAlchemyError

from portal.actor import Principal
from portal.logs import get_logger
from portal.runtime import Runtime
from portal.tokens import hash_of, new_token
from portal.web.access import has_mark

log = get_logger(__name__)

CSRF_FIELD = "csrf_token"
# Hash of the cookie that a renewed session began with: pages opened before it was renewed still have a valid token.
CSRF_SEED = "csrf_seed"
# A row is not touched at every request: this much idle time may be lost.
TOUCH_SECONDS = 30


@dataclass(frozen=True)
class StoredSession:
    """What belongs to a cookie's hash.

    Attributes:
        principal: who is signed in; None if they may no longer be, or if the session is over.
        ended_by: the limit that ended the session, in words; empty while it lives.
    """

    principal: Principal | None
    data: dict[str, Any]
    last_active_at: datetime
    ended_by: str = ""


class SessionStore(Protocol):
    """Where signed-in sessions are stored, and how a person's password is checked. `now` may be replaced in tests."""

    now: Callable[[], datetime]

    def find(self, token_hash: str) -> StoredSession | None:
        """Return a session; None if there is none."""

    def touch(self, session_id: int) -> None:
        """Note that someone used it just now; fails quietly if nothing can be stored at once."""

    def keep(self, session_id: int, data: dict[str, Any]) -> None:
        """Store what the session holds, if it has not ended."""

    def begin(self, token_hash: str, user_id: int, organization_id: int, *, replaces: int | None) -> Principal | None:
        """Sign a person in, ending the session that this one replaces."""

    def renew(
        self, principal: Principal, old_hash: str, new_hash: str, data: dict[str, Any], *, is_proved: bool
    ) -> Principal | None:
        """Move a session to another hash and return whose it is.

        Raises:
            SignInRequired: the session has ended; it is not revived.
        """

    def end(self, session_id: int | None) -> None:
        """End a session."""

    def check_password(self, principal: Principal, password: str, source: str) -> None:
        """Return if this is the person's password.

        Raises:
            InvalidInput: it is wrong; `field_errors` has `password`.
            RateLimited: too many attempts.
        """


class PortalSession(dict[str, Any], SessionMixin):
    """One visit's session. `principal` is whoever is signed in; None for a visitor."""

    def __init__(self) -> None:
        super().__init__()
        self.token = ""
        self.principal: Principal | None = None
        self.row_id: int | None = None
        self.stored: dict[str, Any] = {}
        self.must_send_cookie = False
        self.must_clear = False
        # Of a visitor who was signed in until a moment ago: which limit ended it, in words.
        self.was_ended_by = ""

    @property
    def data(self) -> dict[str, Any]:
        """What is kept in the row: everything but the CSRF secret, which follows from the cookie."""
        return {name: value for name, value in self.items() if name != CSRF_FIELD}


class CookieSessions(SessionInterface):
    """Flask's sessions: the cookie, and the session it refers to in a store."""

    def __init__(self, runtime: Runtime, store: SessionStore) -> None:
        self.store = store
        self._key = runtime.vault.derive_stable_key("session")
        self._is_https = runtime.settings.is_https

    @property
    def cookie_name(self) -> str:
        """`__Host-` where browsers enforce it; on loopback http they refuse it."""
        return "__Host-gatehouse" if self._is_https else "gatehouse"

    def open_session(self, app: Flask, request: Request) -> PortalSession:
        """Return an empty session: Flask asks before it knows the view. `load` fills it."""
        return PortalSession()

    def load(self, session: PortalSession) -> None:
        """Fill the session from the request's cookie; a new visitor's if there is no live one."""
        values = request.cookies.getlist(self.cookie_name)
        # A cookie that came twice may have been set by someone else (S3).
        is_usable = len(values) == 1 and 0 < len(values[0]) <= 200 and values[0].isascii()
        token = values[0] if is_usable else ""
        found = self.store.find(hash_of(token)) if token else None
        if found is None or found.principal is None:
            session.must_send_cookie = not token or (found is not None and not found.ended_by)
            session.token = new_token() if session.must_send_cookie else token
            session.was_ended_by = found.ended_by if found else ""
            session[CSRF_FIELD] = self._csrf_of(hash_of(session.token))
            return
        session.token, session.principal, session.row_id = token, found.principal, found.principal.session_id
        session.stored = dict(found.data)
        session.update(found.data)
        session[CSRF_FIELD] = self._csrf_of(found.data.get(CSRF_SEED, hash_of(token)))
        is_polling = has_mark("is_polling") or request.headers.get("X-Polling") == "1"
        is_due = self.store.now() - found.last_active_at >= timedelta(seconds=TOUCH_SECONDS)
        if is_due and not is_polling and session.row_id is not None:
            self.store.touch(session.row_id)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write what changed, and send the cookie when it is new."""
        assert isinstance(session, PortalSession)
        flags: dict[str, Any] = {"secure": self._is_https, "httponly": True, "samesite": "Lax", "path": "/"}
        if session.must_clear:
            response.delete_cookie(self.cookie_name, **flags)
            return
        if session.row_id is not None and session.data != session.stored:
            try:
                self.store.keep(session.row_id, session.data)
            except SQLAlchemyError as error:
                if request.method not in {"GET", "HEAD"}:
                    raise
                # A message that was shown is shown once more.
                log.warning("session_not_stored", error=type(error).__name__)
        # Static files are kept by shared caches: no cookie may ride on them.
        if session.must_send_cookie and request.endpoint != "static":
            response.set_cookie(self.cookie_name, session.token, **flags)

    def begin(self, session: PortalSession, user_id: int, organization_id: int) -> None:
        """Sign someone in: a new row under a new cookie; the old session, if any, dies (fixation, S2)."""
        session.clear()  # What the one before left there is not for this one.
        session.token, session.stored, session.must_send_cookie = new_token(), {}, True
        token_hash = hash_of(session.token)
        session.principal = self.store.begin(token_hash, user_id, organization_id, replaces=session.row_id)
        session.row_id = session.principal.session_id if session.principal else None
        session[CSRF_FIELD] = self._csrf_of(token_hash)

    def renew(self, session: PortalSession, *, is_proved: bool = False) -> None:
        """Continue under another cookie, after the password was given again or the role has changed (S2).

        The row stays, with its absolute limit and what is kept in it; the old cookie is dead at once.

        Raises:
            SignInRequired: the session has ended; it is not revived.
        """
        assert session.principal is not None
        old_hash, token = hash_of(session.token), new_token()
        session.setdefault(CSRF_SEED, old_hash)
        data = session.data
        principal = self.store.renew(session.principal, old_hash, hash_of(token), data, is_proved=is_proved)
        session.principal, session.token, session.stored, session.must_send_cookie = principal, token, data, True

    def end(self, session: PortalSession) -> None:
        """Sign out: the row is gone before the answer leaves."""
        self.store.end(session.row_id)
        session.clear()
        session.principal, session.row_id, session.must_clear = None, None, True

    def _csrf_of(self, seed: str) -> str:
        return hmac.digest(self._key, seed.encode(), "sha256").hex()


def current_session() -> PortalSession:
    """Return the session of the current request."""
    found = flask_session._get_current_object()  # type: ignore[attr-defined]
    assert isinstance(found, PortalSession)
    return found


def current_sessions() -> CookieSessions:
    """Return the sessions of the application that answers."""
    found = current_app.session_interface
    assert isinstance(found, CookieSessions)
    return found
