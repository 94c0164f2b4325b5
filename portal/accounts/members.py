"""Members of an organization: who they are, how they join, what they may do, and that there is always an owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import CursorResult, delete, func, update
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.models import GroupGrant, Invitation, InvitedGroup, Membership, Organization, SessionRecord, User
from portal.accounts.notes import GroupChoice
from portal.accounts.people import EMAIL_TAKEN, add_member, check_person, clean_email, end_other_sessions, is_member
from portal.accounts.principal import require_right_now
from portal.actor import ANONYMOUS, ROLE_RIGHTS, Actor, Principal, Right, Role
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput, NotFound
from portal.runtime import Runtime
from portal.tokens import hash_of, new_token

INVITATION_DAYS = 7


@dataclass(frozen=True)
class Member:
    """One row of the members' page."""

    membership: Membership
    user: User


def list_members(runtime: Runtime, principal: Principal) -> list[Member]:
    """Return the members of the organization by name."""
    with runtime.database.reading() as session:
        statement = (
            select(Membership, User)
            .join(User, col(User.id) == col(Membership.user_id))
            .where(Membership.organization_id == principal.organization_id)
            .order_by(func.lower(User.name))
        )
        return [Member(*row) for row in session.exec(statement)]


def list_invitations(runtime: Runtime, principal: Principal) -> list[Invitation]:
    """Return the invitations that can still be accepted."""
    with runtime.database.reading() as session:
        statement = select(Invitation).where(
            Invitation.organization_id == principal.organization_id,
            col(Invitation.accepted_at).is_(None),
            col(Invitation.expires_at) > utc_now(),
        )
        return list(session.exec(statement))


def invite(runtime: Runtime, principal: Principal, email: str, role: str, groups: Sequence[GroupChoice] = ()) -> str:
    """Create a one-time link for a new member and return it; it is shown once and not stored.

    A team lead gets the groups together with the membership.

    Raises:
        InvalidInput: not an e-mail address, an unknown role, or someone who is already a member.
    """
    clean = clean_email(email)
    if role not in set(Role):
        raise InvalidInput(field_errors={"role": "Choose a role."})
    token = new_token()
    now = utc_now()
    with runtime.database.transaction() as session:
        require_right_now(session, principal, Right.MANAGE_MEMBERS)
        if is_member(session, clean):
            raise InvalidInput(field_errors={"email": EMAIL_TAKEN})
        invitation = Invitation(
            organization_id=principal.organization_id,
            token_hash=hash_of(token),
            email=clean,
            role=role,
            invited_by_user_id=principal.user_id,
            created_at=now,
            expires_at=now + timedelta(days=INVITATION_DAYS),
        )
        session.add(invitation)
        details = {"role": role}
        if groups and role == Role.TEAM_LEAD:
            require_right_now(session, principal, Right.GRANT_GROUPS)
            session.flush()
            pairs = {(group.connection_id, group.gitlab_group_id) for group in groups}
            session.add_all(
                InvitedGroup(invitation_id=invitation.id or 0, connection_id=connection, gitlab_group_id=group)
                for connection, group in sorted(pairs)
            )
            details["groups"] = ", ".join(sorted(group.path for group in groups))
        audit.record(session, principal.actor, "member.invited", _person(principal, clean), **details)
    return f"{runtime.settings.base_url}/invitations/{token}"


def withdraw_invitation(runtime: Runtime, principal: Principal, invitation_id: int) -> str:
    """Void the link of an open invitation; return whom it was for.

    Raises:
        NotFound: no such invitation here, or it has since been accepted.
    """
    mine = (col(Invitation.id) == invitation_id, col(Invitation.organization_id) == principal.organization_id)
    with runtime.database.transaction() as session:
        require_right_now(session, principal, Right.MANAGE_MEMBERS)
        found = session.exec(select(Invitation).where(*mine, col(Invitation.accepted_at).is_(None))).first()
        if found is None:
            raise NotFound
        session.delete(found)
        audit.record(
            session, principal.actor, "member.invitation_withdrawn", _person(principal, found.email), role=found.role
        )
        return found.email


def find_invitation(runtime: Runtime, token: str) -> Invitation:
    """Return an invitation that can still be accepted.

    Raises:
        NotFound: it is wrong, used or too old.
    """
    with runtime.database.reading() as session:
        return _find_invitation(session, token)


def note_refused_invitation(runtime: Runtime, token: str) -> None:
    """Record that someone used a link that is already used or too old; a link we never created belongs to no one."""
    with runtime.database.transaction() as session:
        found = session.exec(select(Invitation).where(Invitation.token_hash == hash_of(token))).first()
        if found is None:
            return
        target = audit.Target(found.organization_id, "person", found.email, found.email)
        code = "used" if found.accepted_at else "too_old"
        audit.record(session, ANONYMOUS, "member.invitation_refused", target, result="refused", code=code)


def accept_invitation(runtime: Runtime, token: str, name: str, password: str) -> Membership:
    """Become a member with the invited role; this voids the link.

    Raises:
        NotFound: the link is wrong, used or too old.
        InvalidInput: with a sentence per field; the link stays usable.
    """
    person = check_person(name, find_invitation(runtime, token).email, password)
    with runtime.database.transaction() as session:
        invitation = _find_invitation(session, token)
        mine = (col(Invitation.id) == invitation.id, col(Invitation.accepted_at).is_(None))
        claimed = session.execute(update(Invitation).where(*mine).values(accepted_at=utc_now()))
        assert isinstance(claimed, CursorResult)
        if claimed.rowcount != 1:
            raise NotFound("This invitation was used a moment ago.")
        membership = add_member(session, invitation.organization_id, person, Role(invitation.role))
        given = session.exec(select(InvitedGroup).where(InvitedGroup.invitation_id == invitation.id)).all()
        session.add_all(
            GroupGrant(
                membership_id=membership.id or 0,
                connection_id=group.connection_id,
                gitlab_group_id=group.gitlab_group_id,
                granted_by_user_id=invitation.invited_by_user_id,
            )
            for group in given
        )
        target = audit.Target(invitation.organization_id, "person", membership.user_id, invitation.email)
        groups: dict[str, Any] = {"groups": len(given)} if given else {}
        actor = Actor.of_user(membership.user_id, person[0])
        audit.record(session, actor, "member.joined", target, role=invitation.role, **groups)
        return membership


def change_role(runtime: Runtime, principal: Principal, membership_id: int, role: str) -> None:
    """Give a member another role; their sessions end, so that it takes effect at once (S2).

    Raises:
        InvalidInput: there is no such role.
        Conflict: they are the last owner.
        NotFound: no such member here.
    """
    if role not in set(Role):
        raise InvalidInput("Choose a role.")
    with runtime.database.transaction() as session:
        membership = _find_member(session, principal, membership_id)
        if membership.role == role:
            return
        _keep_an_owner(session, membership)
        _withdraw_invitations_of(session, membership.user_id)
        old, membership.role = membership.role, role
        user = session.get_one(User, membership.user_id)
        keep = principal.session_id if membership.user_id == principal.user_id else None
        end_other_sessions(session, membership.user_id, keep)
        audit.record(session, principal.actor, "member.role_changed", _person(principal, user.email), old=old, new=role)


def remove_member(runtime: Runtime, principal: Principal, membership_id: int) -> None:
    """Remove a member; they are signed out everywhere and cannot sign in again.

    Raises:
        Conflict: they are the last owner.
        NotFound: no such member here.
    """
    with runtime.database.transaction() as session:
        membership = _find_member(session, principal, membership_id)
        _keep_an_owner(session, membership)
        user = session.get_one(User, membership.user_id)
        user.is_disabled = True
        _withdraw_invitations_of(session, membership.user_id)
        end_other_sessions(session, membership.user_id, None)
        session.delete(membership)
        audit.record(session, principal.actor, "member.removed", _person(principal, user.email))


def list_sessions(runtime: Runtime, principal: Principal) -> list[SessionRecord]:
    """Return a person's own sessions, newest first."""
    with runtime.database.reading() as session:
        statement = select(SessionRecord).where(SessionRecord.user_id == principal.user_id)
        return list(session.exec(statement.order_by(col(SessionRecord.last_active_at).desc())))


def end_own_sessions(runtime: Runtime, principal: Principal) -> None:
    """End all of a person's sessions except the current one."""
    with runtime.database.transaction() as session:
        end_other_sessions(session, principal.user_id, principal.session_id)
        audit.record(session, principal.actor, "session.others_ended", _person(principal, principal.email))


def _find_member(session: Session, principal: Principal, membership_id: int) -> Membership:
    """Find a member to change. From here on, changes to one organization's members run one after another (S77)."""
    statement = select(Organization.id).where(Organization.id == principal.organization_id)
    # Not a full lock: rows that only refer to the organization, such as the audit log's, need not wait.
    session.exec(statement.with_for_update(key_share=True)).one()
    # Only now: if two owners remove each other at the same time, only one may succeed.
    require_right_now(session, principal, Right.MANAGE_MEMBERS)
    membership = session.get(Membership, membership_id)
    if membership is None or membership.organization_id != principal.organization_id:
        raise NotFound
    return membership


def _find_invitation(session: Session, token: str) -> Invitation:
    statement = select(Invitation).where(
        Invitation.token_hash == hash_of(token),
        col(Invitation.accepted_at).is_(None),
        col(Invitation.expires_at) > utc_now(),
    )
    invitation = session.exec(statement).first()
    if invitation is None:
        raise NotFound("This invitation was used already or is too old. Ask for a new one.")
    return invitation


def _withdraw_invitations_of(session: Session, user_id: int) -> None:
    """Void the links that someone made with rights they are losing."""
    mine = (col(Invitation.invited_by_user_id) == user_id, col(Invitation.accepted_at).is_(None))
    session.execute(delete(Invitation).where(*mine))


def _keep_an_owner(session: Session, membership: Membership) -> None:
    """Refuse to lose the last owner; `_find_member` holds the lock, so two cannot demote each other at once (S77)."""
    if membership.role != Role.OWNER:
        return
    statement = select(func.count()).where(
        Membership.organization_id == membership.organization_id, Membership.role == Role.OWNER
    )
    if session.exec(statement).one() < 2:
        raise Conflict("This is the only owner. Make someone else an owner first.")


def _person(principal: Principal, email: str) -> audit.Target:
    return audit.Target(principal.organization_id, "person", email, email)


def who_grants_groups(session: Session, organization_id: int) -> list[User]:
    """Return whom a team lead without groups can ask: owners first."""
    roles = [role for role in (Role.OWNER, Role.ADMINISTRATOR) if Right.GRANT_GROUPS in ROLE_RIGHTS[role]]
    statement = (
        select(User)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(Membership.organization_id == organization_id, col(Membership.role).in_(roles))
        .order_by(col(Membership.role).desc(), func.lower(User.name))
    )
    return list(session.exec(statement))
