"""A person with a browser, at the HTTP level: cookies, the Host header, Fetch Metadata, the page's CSRF token."""

from __future__ import annotations

import re
from typing import Any, Self

from flask import Flask
from werkzeug.test import TestResponse

from portal.web.sessions import CookieSessions, PortalSession
from tests.support.people import Actor

_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Visitor:
    """Sends requests to the application; `http` is Flask's own client for everything else."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.http = app.test_client()
        self.base_url = app.extensions["gatehouse_runtime"].settings.base_url
        self._token = self._token_of = ""

    def sign_in(self, actor: Actor) -> Self:
        """Begin a session as the sign-in page does, without its slow password hash."""
        sessions = self.app.session_interface
        assert isinstance(sessions, CookieSessions)
        session = PortalSession()
        with self.app.test_request_context("/", base_url=self.base_url):
            sessions.begin(session, actor.user_id, actor.organization_id)
        self.http.set_cookie(sessions.cookie_name, session.token, domain="127.0.0.1")
        return self

    def get(self, path: str, *, htmx: bool = False, **details: Any) -> TestResponse:
        """Open an address, or ask for a fragment."""
        return self.http.get(path, base_url=self.base_url, headers=self._headers(htmx, details), **details)

    def post(
        self, path: str, data: Any = None, *, htmx: bool = False, token: str | None = None, **details: Any
    ) -> TestResponse:
        """Send a form with the CSRF token of one of our pages."""
        token = self.csrf_token() if token is None else token
        headers = {"Sec-Fetch-Site": "same-origin", **self._headers(htmx, details), "X-CSRFToken": token}
        return self.http.post(path, data=data or {}, base_url=self.base_url, headers=headers, **details)

    def csrf_token(self) -> str:
        """Return the token on the pages this visitor sees; requested once per session."""
        before = self._cookies()
        if before and before == self._token_of:
            return self._token
        # The shortest form there is: the question for the password, or for anyone else the one to sign in.
        page = self.get("/prove", htmx=True).text
        found = _TOKEN.search(page)
        assert found, "no form on the page"
        self._token, self._token_of = found.group(1), self._cookies()
        return self._token

    def _cookies(self) -> str:
        sessions = self.app.session_interface
        assert isinstance(sessions, CookieSessions)
        cookie = self.http.get_cookie(sessions.cookie_name, domain="127.0.0.1")
        return cookie.value if cookie else ""

    def _headers(self, htmx: bool, details: dict[str, Any]) -> dict[str, str]:
        headers = dict(details.pop("headers", {}))
        return {"HX-Request": "true", **headers} if htmx else headers
