"""Groups that team leads may work in, granted in the portal by an administrator; everything below a group is included.

Groups are searched in the catalogue, so only those that the connections' service users see can be granted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import CursorResult, Select, delete, func, or_, select
from sqlmodel import Session, col

from portal import audit
from portal.accounts.members import who_grants_groups
from portal.accounts.models import GroupGrant, Membership, User
from portal.accounts.notes import GroupChoice, Notes
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right, Role
from portal.connections.models import Connection
from portal.db import insert_unless_there, utc_now
from portal.errors import Conflict, NotFound
from portal.repositories.models import GitLabGroup
from portal.repositories.selection import LIKE_ESCAPE, MAX_WORDS, escape_like
from portal.runtime import Runtime

PAGE_SIZE = 50
# On the page of an invitation.
MAX_CHOICES = 200


@dataclass(frozen=True)
class LeadGrant:
    """One grant; without a group when GitLab's list no longer has it."""

    grant: GroupGrant
    connection: Connection
    group: GitLabGroup | None

    @property
    def path(self) -> str:
        """The group as people read it."""
        return self.group.full_path if self.group else f"group {self.grant.gitlab_group_id}, no longer in GitLab"


@dataclass(frozen=True)
class MatchingGroup:
    """One group of the catalogue; `via` is the path of the granted group that includes it, empty for none."""

    group: GitLabGroup
    connection: Connection
    via: str


@dataclass(frozen=True)
class GrantsPage:
    """What the page of one team lead shows.

    Attributes:
        total: how many groups match the search; `choices` has the first of them.
        known: how many groups the catalogue has in total.
    """

    membership_id: int
    name: str
    granted: list[LeadGrant]
    choices: list[MatchingGroup]
    query: str
    total: int
    known: int
    several_connections: bool


def load_page(runtime: Runtime, principal: Principal, membership_id: int, query: str = "") -> GrantsPage:
    """Return a lead's groups and those that match a search.

    Raises:
        NotFound: no such member here.
        Conflict: the member is not a team lead.
    """
    matching = _groups(principal)
    for word in query.split()[:MAX_WORDS]:
        # Unchanged as well: SQLite only knows the capitals A to Z, and PostgreSQL only those of its locale.
        plain, lower = (f"%{escape_like(text)}%" for text in (word, word.lower()))
        names = (col(GitLabGroup.full_path), col(GitLabGroup.name))
        likes = [
            (name.like(plain, escape=LIKE_ESCAPE), func.lower(name).like(lower, escape=LIKE_ESCAPE)) for name in names
        ]
        matching = matching.where(or_(*(like for pair in likes for like in pair)))
    with runtime.database.reading() as session:
        user = _find_lead(session, principal, membership_id)
        granted = _granted(session, principal, [membership_id])[membership_id]
        choices = []
        shown = matching.order_by(col(GitLabGroup.full_path), col(GitLabGroup.id)).limit(PAGE_SIZE)
        for group, connection in session.execute(shown):
            via = (
                item.group.full_path
                for item in granted
                if item.group and item.group.connection_id == group.connection_id
                if f"{group.full_path}/".startswith(f"{item.group.full_path}/")
            )
            choices.append(MatchingGroup(group, connection, next(via, "")))
        connections = select(func.count()).where(col(Connection.organization_id) == principal.organization_id)
        return GrantsPage(
            membership_id=membership_id,
            name=user.name,
            granted=granted,
            choices=choices,
            query=query,
            total=_count(session, matching),
            known=_count(session, _groups(principal)),
            several_connections=session.execute(connections).scalar_one() > 1,
        )


def grant_group(runtime: Runtime, principal: Principal, membership_id: int, group_id: int) -> LeadGrant | None:
    """Let a lead work in a group, by our id of it; None if they already may.

    Raises:
        NotFound: no such member or group here.
        Conflict: the member is not a team lead.
    """
    with runtime.database.transaction() as session:
        require_right_now(session, principal, Right.GRANT_GROUPS)
        user = _find_lead(session, principal, membership_id)
        found = session.execute(_groups(principal).where(col(GitLabGroup.id) == group_id)).first()
        if found is None:
            raise NotFound
        group, connection = found
        values = {
            "membership_id": membership_id,
            "connection_id": group.connection_id,
            "gitlab_group_id": group.gitlab_group_id,
            "granted_by_user_id": principal.user_id,
            "created_at": utc_now(),
        }
        grant_id = insert_unless_there(session, GroupGrant, values)
        if grant_id is None:
            return None
        granted = LeadGrant(session.get_one(GroupGrant, grant_id), connection, group)
        _record(session, principal, "member.group_granted", user, granted)
        return granted


def revoke_group(runtime: Runtime, principal: Principal, membership_id: int, grant_id: int) -> LeadGrant | None:
    """Take a grant back; None if it is already gone.

    Raises:
        NotFound: no such member here.
        Conflict: the member is not a team lead.
    """
    with runtime.database.transaction() as session:
        require_right_now(session, principal, Right.GRANT_GROUPS)
        user = _find_lead(session, principal, membership_id)
        granted = _granted(session, principal, [membership_id])[membership_id]
        revoked = next((item for item in granted if item.grant.id == grant_id), None)
        if revoked is None:
            return None
        gone = session.execute(delete(GroupGrant).where(col(GroupGrant.id) == grant_id))
        assert isinstance(gone, CursorResult)
        if gone.rowcount != 1:  # Someone else took it back at the same moment, and has the audit row.
            return None
        _record(session, principal, "member.group_revoked", user, revoked)
        return revoked


def notes_on_members(runtime: Runtime, principal: Principal, memberships: Sequence[Membership]) -> Notes:
    """Return what the members page says about each lead's groups: their paths, none for a lead without any."""
    leads = [member.id for member in memberships if member.role == Role.TEAM_LEAD and member.id is not None]
    with runtime.database.reading() as session:
        granted = _granted(session, principal, leads)
    return Notes("repositories/_lead_groups.html", {lead: [item.path for item in granted[lead]] for lead in leads})


def group_choices(runtime: Runtime, principal: Principal) -> list[GroupChoice]:
    """Return what an invitation offers: all groups, or only the top-level ones if there are too many."""
    with runtime.database.reading() as session:
        statement = _groups(principal).where(col(GitLabGroup.kind) == "group")
        if _count(session, statement) > MAX_CHOICES:
            statement = statement.where(~col(GitLabGroup.full_path).contains("/"))
        rows = session.execute(statement.order_by(col(GitLabGroup.full_path)).limit(MAX_CHOICES)).all()
    return [
        GroupChoice(group.id or 0, connection.id or 0, group.gitlab_group_id, group.full_path, connection.display_name)
        for group, connection in rows
    ]


def whom_to_ask(runtime: Runtime, principal: Principal) -> list[User]:
    """Return whom a team lead without groups can ask for some; empty for everyone else."""
    if principal.role != Role.TEAM_LEAD:
        return []
    own = select(col(GroupGrant.id)).where(col(GroupGrant.membership_id) == principal.membership_id).limit(1)
    with runtime.database.reading() as session:
        return [] if session.execute(own).first() else who_grants_groups(session, principal.organization_id)


def _find_lead(session: Session, principal: Principal, membership_id: int) -> User:
    statement = (
        select(User, Membership)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(col(Membership.id) == membership_id, col(Membership.organization_id) == principal.organization_id)
    )
    found = session.execute(statement).first()
    if found is None:
        raise NotFound
    user, membership = found
    if membership.role != Role.TEAM_LEAD:
        raise Conflict(f"Groups are for team leads; {user.name} is {Role(membership.role).label.lower()} now.")
    assert isinstance(user, User)
    return user


def _groups(principal: Principal) -> Select[GitLabGroup, Connection]:
    return (
        select(GitLabGroup, Connection)
        .join(Connection, col(Connection.id) == col(GitLabGroup.connection_id))
        .where(col(Connection.organization_id) == principal.organization_id)
    )


def _granted(session: Session, principal: Principal, leads: Collection[int]) -> defaultdict[int, list[LeadGrant]]:
    same = (col(GitLabGroup.connection_id) == col(GroupGrant.connection_id)) & (
        col(GitLabGroup.gitlab_group_id) == col(GroupGrant.gitlab_group_id)
    )
    statement = (
        select(GroupGrant, Connection, GitLabGroup)
        .join(Connection, col(Connection.id) == col(GroupGrant.connection_id))
        .outerjoin(GitLabGroup, same)
        .where(col(GroupGrant.membership_id).in_(leads), col(Connection.organization_id) == principal.organization_id)
        .order_by(col(GitLabGroup.full_path), col(GroupGrant.id))
    )
    found: defaultdict[int, list[LeadGrant]] = defaultdict(list)
    for row in session.execute(statement).all():
        found[row[0].membership_id].append(LeadGrant(*row))
    return found


def _count(session: Session, statement: Select[GitLabGroup, Connection]) -> int:
    return int(session.execute(statement.with_only_columns(func.count(), maintain_column_froms=True)).scalar_one())


def _record(session: Session, principal: Principal, action: str, user: User, granted: LeadGrant) -> None:
    audit.record(
        session,
        principal.actor,
        action,
        audit.Target(principal.organization_id, "person", user.email, user.email),
        group=granted.path,
        gitlab_group_id=granted.grant.gitlab_group_id,
        connection=granted.connection.slug,
    )
