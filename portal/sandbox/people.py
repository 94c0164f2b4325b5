"""The people of the sandbox."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

UserKind = Literal["human", "project_bot", "service_account"]

# (username, name): colleagues who own things and fill lists.
COLLEAGUES = (
    ("amara.okafor", "Amara Okafor"),
    ("bjorn.lindqvist", "Björn Lindqvist"),
    ("chen.wei", "Chen Wei"),
    ("dalia.haddad", "Dalia Haddad"),
    ("emeka.obi", "Emeka Obi"),
    ("fumiko.tanaka", "Fumiko Tanaka"),
)
ROOT_ID, DEV_ID, BLOCKED_ID, FIRST_COLLEAGUE_ID, SERVICE_USER_ID = 1, 2, 3, 4, 20


@dataclass
class User:
    """One account; change attributes directly, or through `World.set_user_state`.

    Attributes:
        state: `active`, `blocked`, `deactivated`, `blocked_pending_approval`, …
        confirmed: the e-mail address is confirmed; otherwise the API and the consent page refuse.
        kind: `project_bot` acts for group and project access tokens; it and a `service_account` cannot sign in.
    """

    id: int
    username: str
    name: str
    email: str
    password: str
    created_at: datetime
    state: str = "active"
    admin: bool = False
    external: bool = False
    kind: UserKind = "human"
    confirmed: bool = True
    password_expired: bool = False
    terms_accepted: bool = True
    public_email: str = ""

    @property
    def bot(self) -> bool:
        """Return whether the account is not a person."""
        return self.kind != "human"


class People:
    """All accounts, found by id, username or e-mail address (the last two ignore case)."""

    def __init__(self, users: Iterable[User] = ()) -> None:
        self._by_id: dict[int, User] = {user.id: user for user in users}

    def all(self) -> list[User]:
        """Return everyone in order of id."""
        return [self._by_id[user_id] for user_id in sorted(self._by_id)]

    def by_id(self, user_id: int) -> User | None:
        """Return one account."""
        return self._by_id.get(user_id)

    def by_username(self, username: str) -> User | None:
        """Return one account."""
        wanted = username.lower()
        return next((user for user in list(self._by_id.values()) if user.username.lower() == wanted), None)

    def by_email(self, email: str) -> User | None:
        """Return one account."""
        wanted = email.lower()
        return next((user for user in list(self._by_id.values()) if user.email.lower() == wanted), None)

    def add(self, user: User) -> User:
        """Keep a new account."""
        self._by_id[user.id] = user
        return user

    def next_id(self) -> int:
        """Return the id of the next account."""
        return max(self._by_id, default=0) + 1


def initial_people(anchor: datetime, *, with_service_user: bool) -> list[User]:
    """Return the accounts of a new sandbox; their passwords are `sandbox-<username>`."""
    joined = anchor - timedelta(days=900)

    def person(user_id: int, username: str, name: str, *, state: str = "active", admin: bool = False) -> User:
        email = f"{username}@example.com"
        return User(user_id, username, name, email, f"sandbox-{username}", joined, state=state, admin=admin)

    users = [
        person(ROOT_ID, "root", "Administrator", admin=True),
        person(DEV_ID, "dev", "Devon Developer"),
        person(BLOCKED_ID, "blocked", "Blake Blocked", state="blocked"),
    ]
    users += [person(FIRST_COLLEAGUE_ID + n, username, name) for n, (username, name) in enumerate(COLLEAGUES)]
    if with_service_user:
        users.append(person(SERVICE_USER_ID, "gatehouse", "Gatehouse service user"))
    return users
