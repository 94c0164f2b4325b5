"""Passing time and kept cookies, for tests of people and their sessions."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from flask import Flask
from sqlmodel import select
from werkzeug.test import TestResponse

from portal.accounts.models import SessionRecord
from portal.db import utc_now
from portal.runtime import Runtime
from portal.tokens import hash_of
from portal.web.sessions import CookieSessions
from tests.support.people import Actor
from tests.support.visitor import Visitor

BOTH_DATABASES = pytest.mark.parametrize(
    "backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]
)
_FORM = re.compile(r"<form[^>]*\baction=\"([^\"]*)\"(.*?)</form>", re.DOTALL)
_HIDDEN = re.compile(r"<input type=\"hidden\" name=\"([^\"]+)\" value=\"([^\"]*)\">")


def let_time_pass(app: Flask, **details: float) -> None:
    """Move the sessions' clock forward."""
    sessions = app.session_interface
    assert isinstance(sessions, CookieSessions)
    ahead = sessions.store.now() - utc_now() + timedelta(**details)
    sessions.store.now = lambda: utc_now() + ahead


def cookie_of(visitor: Visitor) -> str:
    """Return the value of someone's session cookie; empty if they have none."""
    sessions = visitor.app.session_interface
    assert isinstance(sessions, CookieSessions)
    cookie = visitor.http.get_cookie(sessions.cookie_name, domain="127.0.0.1")
    return cookie.value if cookie else ""


def with_cookie(app: Flask, value: str) -> Visitor:
    """Return a browser with a copied cookie."""
    visitor = Visitor(app)
    visitor.http.set_cookie(app.session_interface.cookie_name, value, domain="127.0.0.1")  # type: ignore[attr-defined]
    return visitor


def is_signed_in(visitor: Visitor) -> bool:
    """Whether the portal knows who they are."""
    return visitor.get("/profile").status_code == 200


def record_of(runtime: Runtime, visitor: Visitor) -> SessionRecord:
    """Return the row of someone's session."""
    with runtime.database.reading() as session:
        statement = select(SessionRecord).where(SessionRecord.token_hash == hash_of(cookie_of(visitor)))
        return session.exec(statement).one()


def give_password(visitor: Visitor, actor: Actor, **changes: str) -> TestResponse:
    """Sign in by the form."""
    return visitor.post("/sign-in", {"email": actor.email, "password": actor.password, **changes})


def form_on(answer: TestResponse) -> tuple[str, dict[str, str]]:
    """Return the action of the first form in the page's main part, and its hidden fields."""
    main = answer.text.partition("<main")[2] or answer.text
    action, inside = _FORM.search(main).groups()  # type: ignore[union-attr]
    return unescape(action), {name: unescape(value) for name, value in _HIDDEN.findall(inside)}
