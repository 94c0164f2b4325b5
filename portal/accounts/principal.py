"""Who is asking and what they may: read from the database at each request, and again at each step of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import g, session
from sqlalchemy.orm import Session as DatabaseSession
from sqlmodel import col, select

from portal.accounts.models import Membership, Organization, User
from portal.accounts.roles import ROLE_RIGHTS, Right, Role
from portal.errors import SignInRequired


@dataclass(frozen=True)
class Principal:
    """A signed-in person in one organization, with the rights they have at this moment.

    Attributes:
        session_id: the row of `session`; None in a job, which acts for a person without their browser.
        proved_at: when they last gave their password in this session; None in a job.
    """

    user_id: int
    name: str
    email: str
    organization_id: int
    organization_name: str
    plan: str
    membership_id: int
    role: Role
    session_id: int | None = None
    proved_at: datetime | None = None

    def may(self, right: Right) -> bool:
        """Tell whether their role includes a right."""
        return right in ROLE_RIGHTS[self.role]

    @property
    def sees_all_groups(self) -> bool:
        """Whether repositories of every group are theirs to see; a team lead has only the granted ones."""
        return self.role != Role.TEAM_LEAD


def load_principal(
    database: DatabaseSession,
    user_id: int,
    organization_id: int,
    *,
    session_id: int | None = None,
    proved_at: datetime | None = None,
) -> Principal | None:
    """Read a person's present rights; None when they are disabled, removed, or never were a member."""
    statement = (
        select(User, Membership, Organization)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .join(Organization, col(Organization.id) == col(Membership.organization_id))
        .where(User.id == user_id, Organization.id == organization_id, col(User.is_disabled).is_(False))
    )
    row = database.execute(statement).one_or_none()
    if row is None:
        return None
    user, membership, organization = row
    assert membership.id is not None
    return Principal(
        user_id=user_id,
        name=user.name,
        email=user.email,
        organization_id=organization_id,
        organization_name=organization.name,
        plan=organization.plan,
        membership_id=membership.id,
        role=Role(membership.role),
        session_id=session_id,
        proved_at=proved_at,
    )


def find_principal() -> Principal | None:
    """Return who is signed in, read once per request; None for a visitor."""
    if "principal" not in g:
        # Set first: an error page that asks again must not run into the same failure.
        g.principal = None
        g.principal = session.principal  # type: ignore[attr-defined]
    found: Principal | None = g.principal
    return found


def current_principal() -> Principal:
    """Return who is signed in.

    Raises:
        SignInRequired: nobody is.
    """
    principal = find_principal()
    if principal is None:
        raise SignInRequired
    return principal


def forget_principal() -> None:
    """Read it anew at the next question: the session or its rights changed within this request."""
    g.pop("principal", None)
