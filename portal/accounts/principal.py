"""Who is asking and what they may: read from the database at each request, and again at each step of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import g, session
from sqlalchemy.orm import Session as DatabaseSession
from sqlmodel import col, select

from portal.accounts.models import Membership, Organization, SessionRecord, User
from portal.accounts.roles import ROLE_RIGHTS, Right, Role
from portal.errors import NotFound, SignInRequired


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


class RightLost(NotFound):
    """Somebody had the right when their request began, and has not got it any more."""

    code = "right_lost"
    title = "You no longer have the right to do this"
    sentence = "Your role or your session changed while this was under way. Nothing was changed."

    def __init__(self, right: Right, sentence: str | None = None) -> None:
        super().__init__(sentence)
        self.right = right


def require_right_now(database: DatabaseSession, principal: Principal, right: Right) -> Principal:
    """Read somebody's rights again in the transaction that acts for them, and return them as they are now.

    Between the start of a request and its last write there may be a minute of waiting for GitLab, or for a lock.
    Whoever changes their role, removes them or ends their session from here on waits for this transaction.

    Raises:
        RightLost: role, membership, account or session no longer allow it.
    """
    mine = (col(Membership.user_id) == principal.user_id, col(Membership.organization_id) == principal.organization_id)
    database.execute(select(Membership.id).where(*mine).with_for_update(read=True))
    if principal.session_id is not None:
        own = select(SessionRecord.id).where(col(SessionRecord.id) == principal.session_id)
        if database.execute(own.with_for_update(read=True)).first() is None:
            raise RightLost(right)
    now = load_principal(
        database,
        principal.user_id,
        principal.organization_id,
        session_id=principal.session_id,
        proved_at=principal.proved_at,
    )
    if now is None or not now.may(right):
        raise RightLost(right)
    return now


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
