"""Who is signed in to the sandbox, stored in the cookie `_gitlab_session`; impersonation and CSRF included."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from flask import Flask, abort, request, session

if TYPE_CHECKING:
    from portal.sandbox.world import User, World

USER_ID = "user_id"
IMPERSONATOR_ID = "impersonator_id"
RETURN_TO = "return_to"
CSRF = "csrf"


def configure_cookie(app: Flask, relative_root: str) -> None:
    """Name and scope the session cookie as GitLab does; no Domain, so it stays on this host name."""
    app.config.update(
        SESSION_COOKIE_NAME="_gitlab_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH=relative_root or "/",
    )


def current_user(world: World) -> User | None:
    """Return who acts: the impersonated person while impersonating. A blocked one is signed out at once."""
    user_id = session.get(USER_ID)
    user = world.user(user_id) if isinstance(user_id, int) else None
    if user is None or user.state != "active":
        session.pop(USER_ID, None)
        return None
    return user


def impersonator(world: World) -> User | None:
    """Return the administrator behind an impersonation."""
    user_id = session.get(IMPERSONATOR_ID)
    return world.user(user_id) if isinstance(user_id, int) else None


def start_session(user: User) -> str | None:
    """Sign `user` in with a new session; return the address that was requested before, if any."""
    return_to = session.get(RETURN_TO)
    session.clear()
    session[USER_ID] = user.id
    return return_to if isinstance(return_to, str) else None


def end_session() -> None:
    """Sign out."""
    session.clear()


def remember_destination() -> None:
    """Remember the address of this request, to resume it after signing in."""
    session[RETURN_TO] = request.full_path if request.query_string else request.path


def start_impersonation(administrator: User, user: User) -> None:
    """Act as `user` until stopped."""
    session[IMPERSONATOR_ID] = administrator.id
    session[USER_ID] = user.id


def stop_impersonation(world: World) -> User | None:
    """Become the administrator again; return the person impersonated until now."""
    administrator, impersonated = impersonator(world), current_user(world)
    if administrator is None:
        return None
    session.pop(IMPERSONATOR_ID)
    session[USER_ID] = administrator.id
    return impersonated


def csrf_token() -> str:
    """Return this session's token for forms (field `authenticity_token`)."""
    if CSRF not in session:
        session[CSRF] = secrets.token_urlsafe(32)
    return str(session[CSRF])


def refuse_forged_forms() -> None:
    """Abort a form post without this session's token. Run before every request of the pages."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    sent, kept = request.form.get("authenticity_token", ""), str(session.get(CSRF, ""))
    if not kept or not hmac.compare_digest(sent.encode(), kept.encode()):
        abort(422, "Session expired, please go back, reload the page and try again.")
