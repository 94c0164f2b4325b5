"""Who is asking and what they may do: read from the database at each request, and again at each step of a job."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session as DatabaseSession
from sqlmodel import col, select

from portal.accounts.models import Membership, Organization, SessionRecord, User
from portal.actor import Principal, Right, RightLost, Role


def load_principal(
    database: DatabaseSession,
    user_id: int,
    organization_id: int,
    *,
    session_id: int | None = None,
    proved_at: datetime | None = None,
) -> Principal | None:
    """Read a person's current rights; None if they are disabled, removed, or were never a member."""
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


def require_right_now(database: DatabaseSession, principal: Principal, right: Right) -> Principal:
    """Read a person's rights again in the transaction that acts for them, and return their current state.

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
    # Whoever acts with these rights still does.
    return replace(now, acted_by=principal.acted_by)
