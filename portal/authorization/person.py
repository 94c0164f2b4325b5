"""The wrong-person guard: is the GitLab user who authorized the one this connection is meant to act as?

GitLab shows no consent page for a trusted application, so an administrator who forgets to switch user is
connected as themself without noticing. The check happens before anything is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from portal.gitlab.payloads import User


class Doubt(StrEnum):
    """Why a GitLab user may not become the connection's service user."""

    OTHER_USER = "other_user"
    ADMINISTRATOR = "administrator"
    BLOCKED = "blocked"
    EXTERNAL = "external"


TITLES = {
    Doubt.OTHER_USER: "That was someone else",
    Doubt.ADMINISTRATOR: "This user is an administrator",
    Doubt.BLOCKED: "This user is not active",
    Doubt.EXTERNAL: "This user is external",
}


@dataclass(frozen=True)
class Person:
    """The parts of a GitLab user that are checked; `is_admin` is false if GitLab does not say."""

    gitlab_user_id: int
    username: str
    name: str
    is_admin: bool = False
    is_external: bool = False
    is_active: bool = True

    @classmethod
    def from_user(cls, user: User) -> Person:
        """Read the answer of `GET /user`; a missing `is_admin` is not an error."""
        return cls(
            gitlab_user_id=user.id,
            username=user.username,
            name=user.name,
            is_admin=bool(user.is_admin),
            is_external=bool(user.external),
            is_active=user.state in {"", "active"},
        )


def judge(person: Person, expected_username: str) -> tuple[Doubt, ...]:
    """Return every reason against this person, most important first; empty means they may continue."""
    found = {
        Doubt.OTHER_USER: person.username.casefold() != expected_username.casefold(),
        Doubt.ADMINISTRATOR: person.is_admin,
        Doubt.BLOCKED: not person.is_active,
        Doubt.EXTERNAL: person.is_external,
    }
    return tuple(doubt for doubt, holds in found.items() if holds)
