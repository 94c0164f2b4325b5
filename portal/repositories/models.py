"""Tables of the catalogue: groups and repositories as GitLab reports them, and what people enable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CTE,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Index,
    String,
    UniqueConstraint,
    and_,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.orm import aliased
from sqlmodel import Field, Session, SQLModel, col

from portal.accounts.models import GroupGrant
from portal.actor import Principal, Role
from portal.connections.models import Connection
from portal.db import BigId, UTCDateTime, insert_into, utc_now

# Ordered by code point on both databases, so what is below a path is one range of an index.
PATH = String(1000).with_variant(String(1000, collation="C"), "postgresql")
BLOCKED = "unavailable_reason != '' OR missing_since IS NOT NULL"


class RepositoryState(StrEnum):
    """The state of a repository as people read it; the value is the word."""

    AVAILABLE = "Available"
    ENABLED = "Enabled"
    ENABLING = "Enabling"
    NEEDS_ATTENTION = "Needs attention"
    UNAVAILABLE = "Unavailable"


class Reason(StrEnum):
    """Stored in `repository.unavailable_reason`."""

    # A state of the connection, so it is never stored in a repository's row.
    DISCONNECTED = "disconnected"
    MISSING = "missing"
    PENDING_DELETION = "pending_deletion"
    ROLE_TOO_LOW = "role_too_low"
    REPOSITORY_OFF = "repository_off"
    ARCHIVED = "archived"
    SHA256 = "sha256"
    EMPTY = "empty"


class RoleSource(StrEnum):
    """Where the service user's role in a project comes from; stored in `repository.role_source`."""

    DIRECT = "direct"
    INHERITED = "inherited"


class ItemResult(StrEnum):
    """The outcome for one repository of a request; stored in `bulk_item.result`."""

    # Its turn has not come yet, or never will because the job was stopped.
    WAITING = ""
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNAVAILABLE = "unavailable"
    # Whoever asked for it no longer has the right to.
    NOT_ALLOWED = "not_allowed"
    # Someone has changed it since, so undoing leaves it alone.
    CHANGED_SINCE = "changed_since"


class GitLabGroup(SQLModel, table=True):
    """A namespace as GitLab reports it; `gitlab_group_id` is its identity, the path is for display."""

    __tablename__ = "gitlab_group"
    __table_args__ = (UniqueConstraint("connection_id", "gitlab_group_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    gitlab_group_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    parent_gitlab_group_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    name: str = Field(max_length=500)
    full_path: str = Field(sa_column=Column(PATH, nullable=False))
    # `group` or `user`, GitLab's namespace kind.
    kind: str = Field(default="group", max_length=10)
    # The run that wrote it last.
    seen_in_run_id: int | None = Field(default=None, sa_type=BigId)


class Namespace(SQLModel, table=True):
    """A place where repositories are or may be, with how many are directly in it.

    Whoever writes repositories or enablements keeps these counts in the same transaction, within
    `keep_counts`; every catalogue run counts again.
    """

    __tablename__ = "namespace"
    __table_args__ = (UniqueConstraint("connection_id", "path"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    path: str = Field(sa_column=Column(PATH, nullable=False))
    total: int = 0
    enabled: int = 0
    # Cannot be enabled, or could not be enabled again.
    blocked: int = 0
    enabled_blocked: int = 0


class Repository(SQLModel, table=True):
    """A GitLab project as the last catalogue runs saw it: GitLab's fields. What people want is an Enablement."""

    __tablename__ = "repository"
    __table_args__ = (
        UniqueConstraint("connection_id", "gitlab_project_id"),
        Index("ix_repository_listing", "connection_id", "path_with_namespace", "id"),
        Index("ix_repository_namespace", "connection_id", "namespace_path"),
        Index("ix_repository_path", "path_with_namespace", "id"),
        # The other orders of the list.
        Index("ix_repository_activity", "connection_id", "last_activity_at", "id"),
        Index("ix_repository_role", "connection_id", "access_level", "id"),
        # What cannot be enabled, in the order of the list: there may be few among many.
        Index(
            "ix_repository_blocked",
            "connection_id",
            "path_with_namespace",
            "id",
            sqlite_where=text(BLOCKED),
            postgresql_where=text(BLOCKED),
        ),
        # What is gone: usually little among much that cannot be enabled.
        Index(
            "ix_repository_missing",
            "connection_id",
            "path_with_namespace",
            sqlite_where=text("missing_since IS NOT NULL"),
            postgresql_where=text("missing_since IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    gitlab_project_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    name: str = Field(max_length=500)
    path_with_namespace: str = Field(sa_column=Column(PATH, nullable=False))
    namespace_path: str = Field(sa_column=Column(PATH, nullable=False))
    gitlab_namespace_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    web_url: str = Field(default="", max_length=1500)
    description: str = Field(default="", max_length=500)
    default_branch: str = Field(default="", max_length=500)
    visibility: str = Field(default="", max_length=20)
    # The lowest role that the service user is known to have; null if that is not known.
    access_level: int | None = Field(default=None, sa_type=BigId)
    # Where that role comes from, a `RoleSource`; empty if GitLab did not say.
    role_source: str = Field(default="", max_length=10)
    archived: bool = False
    is_empty: bool = False
    # GitLab's `repository_object_format`, `sha1` or `sha256`; empty if unknown.
    object_format: str = Field(default="", max_length=10)
    repository_enabled: bool = True
    marked_for_deletion: bool = False
    # Why it cannot be enabled, a `Reason`; empty if it can.
    unavailable_reason: str = Field(default="", max_length=40)
    last_activity_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # Since when complete runs have not seen it, while no one has said whether it is gone; see `CatalogueRun.doubt`.
    unseen_since: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # When a complete run no longer saw it; null while it is there.
    missing_since: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # Path and name in lower case: what the search box searches.
    search_text: str = Field(default="", max_length=1600)
    # Digest of GitLab's fields: an unchanged row is not written again.
    digest: bytes = Field(default=b"")


class Enablement(SQLModel, table=True):
    """Desired state: this repository should be used; who set it, and when. No row means it is not wanted."""

    __tablename__ = "enablement"
    __table_args__ = (Index("ix_enablement_since", "connection_id", "enabled_at", "repository_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", unique=True, ondelete="CASCADE", sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    state: str = Field(default=RepositoryState.ENABLED, max_length=20)
    enabled_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    enabled_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # The rule that enabled it; null if a person did, whose choice no rule undoes. No foreign key: what a removed rule
    # enabled must still be known as its work.
    rule_id: int | None = Field(default=None, sa_type=BigId)
    # When it is disabled again, because someone asked for it until then.
    ends_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # The services that are on here; null if they are the connection's, whatever those become.
    services: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    # When someone last said that it is still needed; null if no one has.
    reviewed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    reviewed_by_user_id: int | None = Field(default=None, sa_type=BigId)


class RequestState(StrEnum):
    """The state of a request; stored in `repository_request.state`."""

    OPEN = "open"
    APPROVED = "approved"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class RepositoryRequest(SQLModel, table=True):
    """Someone who may not enable a repository asks for it; those who may enable it answer.

    Attributes:
        reason: why it is wanted, as written by whoever asks.
        answer: what whoever decided wrote; may be empty.
        ends_at: until when it is enabled; null for no end.
    """

    __tablename__ = "repository_request"
    __table_args__ = (
        # One open request for a repository, whoever asks at the same moment.
        Index(
            "ix_repository_request_open",
            "repository_id",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", index=True, ondelete="CASCADE", sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    user_id: int = Field(foreign_key="user.id", index=True, sa_type=BigId)
    reason: str = Field(max_length=1000)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    state: str = Field(default=RequestState.OPEN, max_length=10)
    decided_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    decided_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    answer: str = Field(default="", max_length=1000)
    ends_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class RequestNews(SQLModel, table=True):
    """Until when one person has been mailed what concerns them about requests.

    Attributes:
        told_until: everything that happened until then is in a mail, or did not concern them.
        mailed_at: when the last mail left; null if none has.
    """

    __tablename__ = "request_news"

    membership_id: int = Field(foreign_key="membership.id", primary_key=True, ondelete="CASCADE", sa_type=BigId)
    told_until: datetime = Field(sa_type=UTCDateTime)
    mailed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class ReviewSchedule(SQLModel, table=True):
    """How often an organization looks through what is enabled. No row means never."""

    __tablename__ = "review_schedule"

    organization_id: int = Field(foreign_key="organization.id", primary_key=True, ondelete="CASCADE", sa_type=BigId)
    every_months: int


class HeldBack(SQLModel, table=True):
    """A person disabled this repository, so no rule enables it; enabling it by hand ends that."""

    __tablename__ = "held_back"

    repository_id: int = Field(foreign_key="repository.id", primary_key=True, ondelete="CASCADE", sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)


class BulkChange(SQLModel, table=True):
    """All repositories that matched a view, to be enabled or disabled by a job; or such a change undone.

    Attributes:
        connection_id: of the view's connection; null if it was a view of several.
        enabled: what is wanted; of an undo, what the undone change wanted.
        filters: the view, as its address has it.
        undo_of_id: the change that this one undoes.
    """

    __tablename__ = "bulk_change"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    job_id: int = Field(foreign_key="job.id", unique=True, ondelete="CASCADE", sa_type=BigId)
    organization_id: int = Field(foreign_key="organization.id", index=True, sa_type=BigId)
    connection_id: int | None = Field(
        default=None, foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId
    )
    user_id: int = Field(foreign_key="user.id", sa_type=BigId)
    enabled: bool
    filters: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    undo_of_id: int | None = Field(
        default=None, foreign_key="bulk_change.id", index=True, ondelete="SET NULL", sa_type=BigId
    )
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)


class BulkItem(SQLModel, table=True):
    """One repository of a bulk change, which has exactly one result, whatever is killed.

    Attributes:
        changed_at: the time that the change has in the enablement or in what holds it back: undoing recognizes it.
        before: the rows `enablement` and `held_back` as they were, null for none; only of what changed.
    """

    __tablename__ = "bulk_item"
    __table_args__ = (
        UniqueConstraint("repository_id", "bulk_id"),
        Index("ix_bulk_item_result", "bulk_id", "result", "id"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    bulk_id: int = Field(foreign_key="bulk_change.id", ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    result: str = Field(default=ItemResult.WAITING, max_length=20)
    changed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    before: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))


class SelectionRule(SQLModel, table=True):
    """One line of a connection's ordered list: the first that matches a repository decides.

    Attributes:
        action: `enable` or `exclude`.
        pattern: of the path; `*` is part of one level, `**` any number of levels.
        visibility: `private`, `internal` or `public`; empty for any.
        active_months: it had activity in so many months; 0 for any time.
        archived: `no` or `yes`; empty for either.
    """

    __tablename__ = "selection_rule"
    # What a removed rule enabled names it: its id is never reused.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    position: int
    action: str = Field(max_length=10)
    pattern: str = Field(max_length=500)
    visibility: str = Field(default="", max_length=20)
    active_months: int = 0
    archived: str = Field(default="", max_length=3)


class RunKind(StrEnum):
    """What a run reads; stored in `catalogue_run.kind`."""

    COMPLETE = "complete"
    # Only what GitLab has updated since the run before: it cannot see what is gone.
    UPDATES = "updates"


class Doubt(StrEnum):
    """Whether repositories are gone that a run no longer saw, if they were too many; stored in `catalogue_run`."""

    NONE = ""
    ASKED = "asked"
    KEPT = "kept"
    APPLIED = "applied"


class CatalogueRun(SQLModel, table=True):
    """One read of GitLab's list of projects. Only a complete run may say that something is missing.

    Attributes:
        kind: a `RunKind`.
        updated_until: GitLab's time of the newest change that the run saw; null if GitLab did not say.
        checkpoint: what a run that has not ended had read, as `catalogue.checkpoint` writes it.
        doubt: a `Doubt`, about the repositories whose `unseen_since` is set.
        projects_unseen: how many those were.
        complete: whether everything was read that GitLab counts, and every row had an id.
        projects_counted: how many repositories GitLab says there are; null if it does not say.
        projects_known: how many were there before.
        projects_lost: how many of those this run no longer saw.
        search_indexed: whether the search index has everything the run wrote.
        defects: invalid rows, as `portal.repositories.catalogue.findings` writes them.
    """

    __tablename__ = "catalogue_run"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    job_public_id: str = Field(default="", max_length=64)
    kind: str = Field(default=RunKind.COMPLETE, max_length=10)
    complete: bool = False
    projects_seen: int = 0
    groups_seen: int = 0
    projects_counted: int | None = None
    projects_known: int = 0
    projects_lost: int = 0
    defects: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    started_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    search_indexed: bool = False
    updated_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    checkpoint: bytes | None = None
    doubt: str = Field(default=Doubt.NONE, max_length=10)
    projects_unseen: int = 0


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Return the condition on `repository` joined with `connection` for what this person may see."""
    return and_(col(Connection.organization_id) == principal.organization_id, *in_granted_groups(principal))


def in_granted_groups(principal: Principal, *, are_few: bool = False) -> list[ColumnElement[bool]]:
    """Return the conditions on `repository` that its group sets a team lead; none for those who see all groups.

    `are_few` says that they see so few repositories that these may come first, before any other condition.
    """
    if principal.role != Role.TEAM_LEAD:
        return []
    found = granted_namespaces(principal)
    if are_few:
        inside = aliased(Repository)
        own = (col(inside.connection_id) == found.c.connection_id) & (col(inside.namespace_path) == found.c.path)
        ids = select(col(inside.id)).select_from(found).join(inside, own).cte("own")
        # Once: otherwise PostgreSQL may do it again for each row of the list.
        return [col(Repository.id).in_(select(ids.prefix_with("MATERIALIZED", dialect="postgresql").c.id))]
    # Outside these two no path of theirs can be, which spares a list in the order of the paths most of the others.
    path, first, last = col(Repository.path_with_namespace), func.min(found.c.path), func.max(found.c.path)
    key = tuple_(col(Repository.connection_id), col(Repository.namespace_path))
    return [
        path > select(first).scalar_subquery(),
        path < select(last + "0").scalar_subquery(),
        key.in_(select(found.c.connection_id, found.c.path)),
    ]


def visible_namespaces(principal: Principal) -> list[ColumnElement[bool]]:
    """Return the conditions on `namespace` joined with `connection` for what this person may see."""
    own_organization = col(Connection.organization_id) == principal.organization_id
    if principal.role != Role.TEAM_LEAD:
        return [own_organization]
    found = granted_namespaces(principal)
    return [own_organization, col(Namespace.id).in_(select(found.c.id))]


def is_blocked() -> ColumnElement[bool]:
    """Return the condition for repositories that cannot be enabled, whatever the state of their connection."""
    # As in the index, whose condition has no parameter.
    return or_(col(Repository.unavailable_reason) != literal_column("''"), col(Repository.missing_since).is_not(None))


def granted_namespaces(principal: Principal) -> CTE:
    """Return the namespaces that the groups of a team lead include: id, connection and path."""
    # In two steps, each done once: PostgreSQL may know of these tables that they are empty, until it has looked again.
    # Then it would combine every grant with every namespace, and look for the group of each pair.
    grants = (
        select(col(GitLabGroup.connection_id), col(GitLabGroup.full_path))
        .select_from(GroupGrant)
        .join(
            GitLabGroup,
            (col(GroupGrant.gitlab_group_id) == col(GitLabGroup.gitlab_group_id))
            & (col(GroupGrant.connection_id) == col(GitLabGroup.connection_id)),
        )
        .where(col(GroupGrant.membership_id) == principal.membership_id)
    )
    groups = grants.cte("granted_groups").prefix_with("MATERIALIZED", dialect="postgresql")
    # One range of the index for each granted group. Both columns are in the order of their characters' numbers, where
    # 0 comes right after the slash.
    path, group, below = col(Namespace.path), groups.c.full_path, groups.c.full_path + "/"
    found = (
        select(col(Namespace.id), col(Namespace.connection_id), path)
        .select_from(groups)
        .join(
            Namespace,
            (col(Namespace.connection_id) == groups.c.connection_id)
            & path.between(group, group + "0")
            & or_(path == group, func.substr(path, 1, func.length(below)) == below),
        )
    )
    return found.cte("granted").prefix_with("MATERIALIZED", dialect="postgresql")


def catalogue_key(connection: Connection) -> str:
    """Return what keeps two reads of one connection from running at once."""
    return f"catalogue:{connection.id}"


# How many repositories each namespace has: kept with every change, and counted again by every catalogue run.

COUNTS = ("total", "enabled", "blocked", "enabled_blocked")
NOTHING = (0, 0, 0, 0)


@contextmanager
def keep_counts(session: Session, *which: ColumnElement[bool]) -> Iterator[None]:
    """Add what the block changes about some repositories to the counts of their namespaces."""
    # Someone else who changes one of them at the same moment waits, so that no change is counted twice.
    session.execute(select(col(Repository.id)).where(*which).order_by(col(Repository.id)).with_for_update())
    before = _count(session, *which)
    yield
    session.flush()
    after = _count(session, *which)
    changes = []
    for key in sorted(before.keys() | after.keys()):
        was, now = (counts.get(key, NOTHING) for counts in (before, after))
        if was != now:
            more = {name: new - old for name, old, new in zip(COUNTS, was, now, strict=True)}
            changes.append({"connection_id": key[0], "path": key[1], **more})
    _write(session, changes, is_difference=True)


def count_new(session: Session, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add repositories that were not there before to the counts of their namespaces; no one wants them yet."""
    counts = {(row["connection_id"], row["namespace_path"]): dict.fromkeys(COUNTS, 0) for row in rows}
    for row in rows:
        own = counts[row["connection_id"], row["namespace_path"]]
        own["total"] += 1
        own["blocked"] += bool(row["unavailable_reason"])
    new = [{"connection_id": key[0], "path": key[1], **own} for key, own in sorted(counts.items())]
    _write(session, new, is_difference=True)


def recount(session: Session, connection_id: int) -> None:
    """Count everything of a connection again, and leave out namespaces that are neither a group nor have anything."""
    own = col(Namespace.connection_id) == connection_id
    # Changes that are about to be committed are waited for: they are in the counts, and then in what is counted.
    stored = session.execute(
        select(col(Namespace.path), *(getattr(Namespace, name) for name in COUNTS)).where(own).with_for_update()
    )
    known = {path: tuple(values) for path, *values in stored}
    found = {path: row for (_, path), row in _count(session, col(Repository.connection_id) == connection_id).items()}
    groups = select(col(GitLabGroup.full_path)).where(col(GitLabGroup.connection_id) == connection_id)
    for path in session.execute(groups).scalars():
        found.setdefault(path, NOTHING)
    changed = [
        {"connection_id": connection_id, "path": path, **dict(zip(COUNTS, row, strict=True))}
        for path, row in sorted(found.items())
        if known.get(path) != row
    ]
    _write(session, changed, is_difference=False)
    for path in known.keys() - found.keys():
        session.execute(delete(Namespace).where(own, col(Namespace.path) == path))


def add_namespaces(session: Session, connection_id: int, paths: list[str]) -> None:
    """Add places without repositories, unless they are known."""
    rows = [{"connection_id": connection_id, "path": path, **dict.fromkeys(COUNTS, 0)} for path in sorted(paths)]
    if rows:
        session.connection().execute(insert_into(session, Namespace).on_conflict_do_nothing(), rows)


def _count(session: Session, *which: ColumnElement[bool]) -> dict[tuple[int, str], tuple[int, ...]]:
    is_enabled = col(Enablement.id).is_not(None)
    counted = (
        select(
            col(Repository.connection_id),
            col(Repository.namespace_path),
            func.count(),
            func.count(col(Enablement.id)),
            func.count().filter(is_blocked()),
            func.count().filter(and_(is_enabled, is_blocked())),
        )
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(*which)
        .group_by(col(Repository.connection_id), col(Repository.namespace_path))
    )
    return {(connection_id, path): tuple(row) for connection_id, path, *row in session.execute(counted)}


def _write(session: Session, rows: list[dict[str, Any]], *, is_difference: bool) -> None:
    if not rows:
        return
    statement = insert_into(session, Namespace)
    new = {name: statement.excluded[name] for name in COUNTS}
    if is_difference:
        new = {name: getattr(Namespace, name) + value for name, value in new.items()}
    upsert = statement.on_conflict_do_update(index_elements=["connection_id", "path"], set_=new)
    session.connection().execute(upsert, rows)
