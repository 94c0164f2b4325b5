"""Personal access tokens, and their kin: impersonation, group and project tokens."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

PREFIX_SINCE = (14, 5)


@dataclass
class PersonalToken:
    """One token; `expires_at` is the day at whose start (UTC) it expires, None for never."""

    id: int
    token: str
    user_id: int
    name: str
    description: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: date | None
    impersonation: bool = False
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def is_revoked(self) -> bool:
        """Return whether it was revoked."""
        return self.revoked_at is not None

    def is_expired(self, now: datetime) -> bool:
        """Return whether it has expired."""
        return self.expires_at is not None and now.date() >= self.expires_at


class PersonalTokens:
    """All such tokens."""

    def __init__(self) -> None:
        self._by_text: dict[str, PersonalToken] = {}

    def create(
        self,
        user_id: int,
        name: str,
        scopes: Iterable[str],
        created_at: datetime,
        expires_at: date | None,
        *,
        description: str = "",
        impersonation: bool = False,
        prefix: str = "glpat-",
    ) -> PersonalToken:
        """Issue a token; its text is generated here."""
        text = prefix + secrets.token_urlsafe(15)
        number = len(self._by_text) + 1
        token = PersonalToken(
            number, text, user_id, name, description, tuple(scopes), created_at, expires_at, impersonation
        )
        self._by_text[text] = token
        return token

    def find(self, text: str) -> PersonalToken | None:
        """Return by text, dead ones included."""
        return self._by_text.get(text)

    def all(self) -> list[PersonalToken]:
        """Return all tokens, oldest first, dead ones included."""
        return list(self._by_text.values())

    def of_user(self, user_id: int) -> list[PersonalToken]:
        """Return one person's own tokens, oldest first; impersonation tokens are not theirs to see."""
        return [row for row in self.all() if row.user_id == user_id and not row.impersonation]
