"""Personal access tokens, and their kin: impersonation, group, project and service-account tokens."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

PREFIX_SINCE, CHECKED_BODY_SINCE = (14, 5), (18, 0)
GRANULAR = "granular"

Access = Literal["user", "instance", "all_memberships", "personal_projects", "selected_memberships"]


@dataclass(frozen=True)
class GranularScope:
    """What a fine-grained token may do within one boundary.

    `permissions` are GitLab's names, such as `read_project`; with `selected_memberships` exactly one id is set.
    """

    access: Access
    permissions: tuple[str, ...]
    project_id: int | None = None
    group_id: int | None = None


@dataclass
class PersonalToken:
    """One token; `expires_at` is the day at whose start (UTC) it expires, None for never.

    `family` is the id of the first token of a chain of rotations.
    """

    id: int
    token: str
    user_id: int
    name: str
    description: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: date | None
    impersonation: bool
    granular_scopes: tuple[GranularScope, ...]
    family: int
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def is_revoked(self) -> bool:
        """Return whether it was revoked."""
        return self.revoked_at is not None

    @property
    def is_granular(self) -> bool:
        """Return whether it is a fine-grained token."""
        return GRANULAR in self.scopes

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
        granular_scopes: tuple[GranularScope, ...] = (),
        family: int | None = None,
        prefix: str = "glpat-",
        suffix: str = "",
    ) -> PersonalToken:
        """Issue a token; its text is generated here."""
        text = prefix + secrets.token_urlsafe(15) + suffix
        number = len(self._by_text) + 1
        token = PersonalToken(
            number,
            text,
            user_id,
            name,
            description,
            tuple(scopes),
            created_at,
            expires_at,
            impersonation,
            granular_scopes,
            family or number,
        )
        self._by_text[text] = token
        return token

    def find(self, text: str) -> PersonalToken | None:
        """Return by text, dead ones included."""
        return self._by_text.get(text)

    def by_id(self, token_id: int) -> PersonalToken | None:
        """Return by number, dead ones included."""
        return next((row for row in self.all() if row.id == token_id), None)

    def all(self) -> list[PersonalToken]:
        """Return all tokens, oldest first, dead ones included."""
        return list(self._by_text.values())

    def of_user(self, user_id: int) -> list[PersonalToken]:
        """Return one person's own tokens, oldest first; impersonation tokens are not theirs to see."""
        return [row for row in self.all() if row.user_id == user_id and not row.impersonation]

    def end_family(self, family: int, now: datetime) -> None:
        """Revoke every token of a chain of rotations."""
        for row in self.all():
            if row.family == family:
                row.revoked_at = row.revoked_at or now
