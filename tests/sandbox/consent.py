"""What the OAuth tests share: one registered application, and the ways to get codes and tokens from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx2

from portal.sandbox.oauth.store import Application
from tests.sandbox.browser import Person

CALLBACK = "http://127.0.0.1:9/callback"
# The vector of GitLab's own documentation.
VERIFIER = "ks02i3jdikdo2k0dkfodf3m39rjfjsdk0wk349rj3jrhf"
CHALLENGE = "2i0WFA-0AerkjQm4X4oDEhqA17QIAKNjXpagHBXmO_U"


@dataclass(frozen=True)
class Registered:
    """An application with the secret only its creator saw."""

    application: Application
    secret: str
    base: str

    @property
    def credentials(self) -> dict[str, str]:
        return {"client_id": self.application.uid, "client_secret": self.secret}

    def query(self, **changes: str | None) -> dict[str, str]:
        """Return the query of an authorize request, with members changed or (None) left out."""
        query: dict[str, str | None] = {
            "client_id": self.application.uid,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "state": "state-1",
            "scope": "api",
        }
        return {name: value for name, value in (query | changes).items() if value is not None}

    def code(self, person: Person, **changes: str | None) -> str:
        """Let a signed-in person press Authorize where GitLab still asks; return the code."""
        page = person.get("/oauth/authorize", **self.query(**changes))
        if "<title>Redirecting" in page.text:
            return re.findall(r"[?&]code=([0-9a-f]{64})", page.text)[0]
        answer = person.press(page, f"Authorize {self.application.name}")
        return answer_of(answer.headers["Location"])["code"]

    def exchange(self, code: str, **changes: str | None) -> httpx2.Response:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            **self.credentials,
        }
        return self.post("token", **(form | changes))

    def refresh(self, refresh_token: str | None, **changes: str | None) -> httpx2.Response:
        form: dict[str, str | None] = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            **self.credentials,
        }
        return self.post("token", **(form | changes))

    def post(self, endpoint: str, **form: str | None) -> httpx2.Response:
        body = {name: value for name, value in form.items() if value is not None}
        return httpx2.post(f"{self.base}/oauth/{endpoint}", data=body, trust_env=False)


def answer_of(location: str) -> dict[str, str]:
    """Return the query of a redirect to the client."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
