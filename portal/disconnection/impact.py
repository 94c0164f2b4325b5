"""The impact of a change to a connection: what stops, counted before anyone presses the button."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlmodel import Session, col

from portal.accounts.models import GroupGrant, Membership, User
from portal.actor import Principal
from portal.connections.checklist import scope_reasons
from portal.connections.models import Connection
from portal.credentials.revocation import REVOKE_RETIRED
from portal.gitlab.identification import missing_scopes, unused_scopes
from portal.jobs.models import Job
from portal.repositories.models import Enablement, GitLabGroup, Repository, visible_to
from portal.runtime import Runtime

NAMES_SHOWN = 5
GROUPS_SHOWN = 8
GRANTS_SHOWN = 8
JOBS_SHOWN = 5


@dataclass(frozen=True)
class GrantedGroup:
    """A GitLab group that team leads may work in; `path` is its number if the catalogue does not know it."""

    path: str
    people: list[str]


@dataclass(frozen=True)
class Impact:
    """What depends on one connection now, limited to what one person may see.

    Attributes:
        enabled: how many repositories are enabled.
        groups: top-level groups with how many of those they hold, the fullest first.
        first: paths of some of the enabled ones, in order.
        grants: groups granted to team leads.
        jobs: unfinished background work about the connection, without the revocation of its own tokens.
        repositories_known: how many the catalogue holds.
        groups_known: how many groups it holds.
    """

    enabled: int
    groups: list[tuple[str, int]]
    first: list[str]
    grants: list[GrantedGroup]
    jobs: list[Job]
    repositories_known: int
    groups_known: int

    @property
    def groups_shown(self) -> list[tuple[str, int]]:
        """The fullest groups."""
        return self.groups[:GROUPS_SHOWN]

    @property
    def more_groups(self) -> int:
        """How many groups are not shown."""
        return len(self.groups) - len(self.groups_shown)

    @property
    def grants_shown(self) -> list[GrantedGroup]:
        """The first granted groups."""
        return self.grants[:GRANTS_SHOWN]

    @property
    def more_grants(self) -> int:
        """How many granted groups are not shown."""
        return len(self.grants) - len(self.grants_shown)

    @property
    def leads(self) -> int:
        """How many team leads lose something."""
        return len({name for grant in self.grants for name in grant.people})

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in use yet."""
        return not (self.enabled or self.grants or self.jobs)


@dataclass(frozen=True)
class Narrowing:
    """What another choice of services does to the scopes of a connection.

    Attributes:
        unused: granted but no longer needed; they stay granted until someone authorizes again.
        missing: needed from then on, but not granted; they come with the next authorization.
    """

    unused: list[str]
    missing: list[str]


def impact_of(runtime: Runtime, principal: Principal, connection: Connection) -> Impact:
    """Count what a connection carries."""
    mine = col(Connection.id) == connection.id
    enabled = (
        select(col(Repository.namespace_path), func.count())
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .where(visible_to(principal), mine)
    )
    by_group = enabled.group_by(col(Repository.namespace_path))
    paths = enabled.with_only_columns(col(Repository.path_with_namespace), maintain_column_froms=True)
    granted = (
        select(col(GroupGrant.gitlab_group_id), col(GitLabGroup.full_path), col(User.name))
        .join(Membership, col(Membership.id) == col(GroupGrant.membership_id))
        .join(User, col(User.id) == col(Membership.user_id))
        .outerjoin(
            GitLabGroup,
            (col(GitLabGroup.gitlab_group_id) == col(GroupGrant.gitlab_group_id))
            & (col(GitLabGroup.connection_id) == col(GroupGrant.connection_id)),
        )
        .where(col(GroupGrant.connection_id) == connection.id)
    )
    unfinished = select(Job).where(
        col(Job.organization_id) == connection.organization_id,
        col(Job.subject) == f"connection:{connection.id}",
        col(Job.finished_at).is_(None),
        col(Job.name) != REVOKE_RETIRED,
    )
    counts: Counter[str] = Counter()
    people: defaultdict[str, list[str]] = defaultdict(list)
    with runtime.database.reading() as session:
        for path, count in session.execute(by_group).all():
            counts[path.partition("/")[0]] += count
        for number, path, name in session.execute(granted).all():
            people[path or f"group {number}"].append(name)
        first = paths.order_by(col(Repository.path_with_namespace), col(Repository.id)).limit(NAMES_SHOWN)
        return Impact(
            enabled=counts.total(),
            groups=sorted(counts.items(), key=lambda item: (-item[1], item[0])),
            first=list(session.execute(first).scalars()),
            grants=[GrantedGroup(path, sorted(names)) for path, names in sorted(people.items())],
            jobs=list(session.execute(unfinished.order_by(col(Job.id)).limit(JOBS_SHOWN)).scalars()),
            repositories_known=_count(session, Repository, connection),
            groups_known=_count(session, GitLabGroup, connection),
        )


def narrowing(
    connection: Connection, granted: Collection[str], services: Collection[str], *, hooks_wanted: bool
) -> Narrowing:
    """Compare the scopes GitLab granted with those that a choice of services needs."""
    needed = [item.scope for item in scope_reasons(connection, services, hooks_wanted=hooks_wanted)]
    return Narrowing(unused=unused_scopes(granted, needed), missing=missing_scopes(granted, needed))


def _count(session: Session, table: type[Repository | GitLabGroup], connection: Connection) -> int:
    statement = select(func.count()).select_from(table).where(col(table.connection_id) == connection.id)
    return int(session.execute(statement).scalar_one())
