"""The selection panel: search, filters, group tree and keyset paging. It reads only our own tables."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select, tuple_
from sqlmodel import Session, col

from portal.actor import Principal, Right
from portal.connections.models import Connection, ConnectionState
from portal.db import utc_now
from portal.errors import Card, NotFound
from portal.foreign import clean
from portal.jobs.models import Job, JobState
from portal.repositories.models import (
    COUNTS,
    Enablement,
    GitLabGroup,
    Namespace,
    Reason,
    Repository,
    RepositoryState,
    RoleSource,
    catalogue_key,
    in_granted_groups,
    is_blocked,
    visible_namespaces,
    visible_to,
)
from portal.repositories.search import find_few
from portal.runtime import Runtime

PAGE_SIZE = 50
LIKE_ESCAPE = "\\"
# As long as a path may be, so that any that is pasted finds what it names; SQLite takes that many conditions at once.
MAX_QUERY = 1000
MAX_WORDS = 50
# GitLab nests no deeper (docs.gitlab.com/user/group/subgroups); a peer that reports more does not decide how deep we
# go.
MAX_DEPTH = 20
# Of a level of the tree at once.
LEVEL_SIZE = 25
# What a search finds is counted so far; whole groups are counted exactly.
COUNTED = 1000
# Of a file, in one transaction.
EXPORT_BATCH = 500
# So many rows are sorted for one page at most.
MAX_SORTED = 5000
# Of a role in an address.
MAX_LEVEL_DIGITS = 4
# A moment beyond cannot be written in UTC.
FIRST_YEAR, LAST_YEAR = 1, 9999
_LETTERS = re.compile(r"[\W_]+")


class StateFilter(StrEnum):
    """The state filter of the panel; the value is in the address."""

    ALL = ""
    AVAILABLE = "available"
    ENABLED = "enabled"
    UNAVAILABLE = "unavailable"
    NEEDS_ATTENTION = "needs_attention"


class VisibilityFilter(StrEnum):
    """GitLab's visibility of a project; the value is in the address."""

    ANY = ""
    PRIVATE = "private"
    INTERNAL = "internal"
    PUBLIC = "public"


class ActivityFilter(StrEnum):
    """When something last happened in a project; the value is in the address."""

    ANY = ""
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    OLDER = "older"


class RoleFilter(StrEnum):
    """The service user's role in a project, or where it comes from; the value is in the address."""

    ANY = ""
    BELOW_REPORTER = "below_reporter"
    REPORTER = "reporter"
    DEVELOPER = "developer"
    MAINTAINER = "maintainer"
    DIRECT = "direct"
    INHERITED = "inherited"


# The lowest level of each, and the lowest that is above it.
LEVELS = {
    RoleFilter.BELOW_REPORTER: (0, 20),
    RoleFilter.REPORTER: (20, 30),
    RoleFilter.DEVELOPER: (30, 40),
    RoleFilter.MAINTAINER: (40, 1000),
}


class Sort(StrEnum):
    """The order of the list; the value is in the address. A repository without the value is below all others."""

    PATH = ""
    PATH_DOWN = "-path"
    ACTIVITY = "activity"
    ACTIVITY_DOWN = "-activity"
    ENABLED = "enabled"
    ENABLED_DOWN = "-enabled"
    ROLE = "role"
    ROLE_DOWN = "-role"

    @property
    def is_up(self) -> bool:
        """Whether the lowest comes first."""
        return not self.value.startswith("-")

    @property
    def by(self) -> str:
        """What is compared, whatever the direction."""
        return self.value.lstrip("-") or "path"

    def read(self, text: str) -> Any:
        """Return the value in a paging key.

        Raises:
            ValueError: this order has no such value.
        """
        if self.by == "path":
            return text
        if not text:
            return None
        if self.by == "role":
            return int(text[:MAX_LEVEL_DIGITS])
        at = datetime.fromisoformat(text)
        if at.tzinfo is None or not FIRST_YEAR < at.year < LAST_YEAR:
            raise ValueError(text)
        return at


DAYS = {ActivityFilter.MONTH: 30, ActivityFilter.QUARTER: 91, ActivityFilter.YEAR: 365, ActivityFilter.OLDER: 365}


@dataclass(frozen=True)
class Filters:
    """What the address bar says about the panel.

    Attributes:
        after, before: keys of neighbouring pages: the value that the order compares, and the repository's id.
    """

    connection: str = ""
    query: str = ""
    group: str = ""
    state: StateFilter = StateFilter.ALL
    visibility: VisibilityFilter = VisibilityFilter.ANY
    activity: ActivityFilter = ActivityFilter.ANY
    role: RoleFilter = RoleFilter.ANY
    sort: Sort = Sort.PATH
    after: tuple[Any, int] | None = None
    before: tuple[Any, int] | None = None

    def parameters(self, **changes: str) -> dict[str, str]:
        """Return the query parameters, without paging, with some changed; empty ones are left out."""
        base = {"connection": self.connection, "q": self.query, "group": self.group, "state": str(self.state)}
        more = {name: str(getattr(self, name)) for name in ("visibility", "activity", "role", "sort")}
        return {name: value for name, value in {**base, **more, **changes}.items() if value}

    @property
    def is_search(self) -> bool:
        """Whether rows must be read to know how many match: the counts of groups don't tell."""
        return bool(self.query or self.visibility or self.activity or self.role)

    @property
    def words(self) -> list[str]:
        """What they ask for, each as people read it."""
        state, visibility, role = (str(item).replace("_", " ") for item in (self.state, self.visibility, self.role))
        since = {"month": "active within a month", "quarter": "active within 3 months", "year": "active within a year"}
        said = [
            f"“{self.query}”" if self.query else "",
            f"in {self.group}" if self.group else "",
            state,
            visibility,
            since.get(self.activity, "last active over a year ago") if self.activity else "",
            f"role {role}" if role else "",
        ]
        return [text for text in said if text]

    @property
    def unpaged(self) -> Filters:
        """The same view from its beginning, in the order of the paths."""
        return replace(self, sort=Sort.PATH, after=None, before=None)


@dataclass(frozen=True)
class Row:
    """One repository as the panel shows it."""

    repository: Repository
    connection: Connection
    enablement: Enablement | None

    @property
    def other_name(self) -> str:
        """The repository's name if it says more than the last part of its path; otherwise empty."""
        last = self.repository.path_with_namespace.rpartition("/")[2]
        said, told = (_LETTERS.sub("", text.casefold()) for text in (self.repository.name, last))
        return self.repository.name if said != told else ""

    @cached_property
    def state(self) -> RepositoryState:
        """The state people read: what is wanted takes precedence, then what is possible."""
        if self.enablement:
            return RepositoryState.NEEDS_ATTENTION if self.reason else RepositoryState(self.enablement.state)
        return RepositoryState.UNAVAILABLE if self.reason else RepositoryState.AVAILABLE

    @cached_property
    def reason(self) -> str:
        """The code of what prevents enabling it; empty if nothing does."""
        if self.connection.state == ConnectionState.DISCONNECTED:
            return Reason.DISCONNECTED
        return Reason.MISSING if self.repository.missing_since else self.repository.unavailable_reason

    def key(self, sort: Sort) -> tuple[Any, int]:
        """Return its paging key in an order."""
        value = {
            "path": self.repository.path_with_namespace,
            "activity": self.repository.last_activity_at,
            "role": self.repository.access_level,
            "enabled": self.enablement.enabled_at if self.enablement else None,
        }[sort.by]
        return value, self.repository.id or 0


@dataclass(frozen=True)
class Listing:
    """One page of rows; `matching` is how many there are in all, of what a search finds at most `COUNTED` + 1."""

    rows: list[Row]
    has_next: bool
    has_previous: bool
    matching: int


@dataclass
class TreeNode:
    """One group; counts include everything below it. Below `MAX_DEPTH` levels the rest of a path is one group.

    Attributes:
        children: the level below, if it was asked for; None if it is loaded once someone opens it.
        has_children: whether there is a level below.
    """

    path: str
    name: str
    total: int
    enabled: int
    has_children: bool
    children: TreeLevel | None = None


@dataclass(frozen=True)
class TreeLevel:
    """Some groups directly below another one; `after` is where the rest of them begins, empty if there is none."""

    nodes: list[TreeNode]
    parent: str = ""
    after: str = ""


@dataclass(frozen=True)
class PanelView:
    """Where the panel is, and what it is asked for.

    Attributes:
        address: path of the page the panel is on, without the query.
        fixed: whether the page determines the connection, so that it cannot be chosen.
    """

    filters: Filters
    address: str
    fixed: bool

    def url(self, **changes: str) -> str:
        """Return the address with some parameters changed; paging starts again."""
        parameters = self.filters.parameters(**changes)
        if self.fixed:
            parameters.pop("connection", None)
        return f"{self.address}?{urlencode(parameters)}" if parameters else self.address

    def unfiltered_url(self, state: str = "") -> str:
        """Return the address of everything, or of everything in one state."""
        return self.url(state=state, **dict.fromkeys(("q", "group", "visibility", "activity", "role"), ""))

    def level_url(self, parent: str, after: str = "") -> str:
        """Return the address of a level of the tree, whose links keep the other filters."""
        page = {"on": self.page} if self.fixed else {}
        chosen = {**self.filters.parameters(), **page, "parent": parent, "from": after}
        return f"/repositories/groups?{urlencode({name: value for name, value in chosen.items() if value})}"

    @property
    def page(self) -> str:
        """The page as forms and addresses write it."""
        return "setup" if self.fixed else "index"

    @property
    def fields(self) -> dict[str, str]:
        """Hidden fields that lead back to this page after a change."""
        paging = {"after": self.filters.after, "before": self.filters.before}
        keys = {name: write_key(key) for name, key in paging.items() if key}
        return {**self.filters.parameters(), **keys, "on": self.page}


@dataclass(frozen=True)
class SelectionPanel(PanelView):
    """A snapshot of the selection panel.

    Attributes:
        connection: the one connection that is shown; None if several are.
        tree: the groups of that connection: the first level, and those that lead to the chosen one.
        counts: how many repositories each state filter shows, without the other filters.
        job: the newest catalogue read of that connection.
    """

    listing: Listing
    tree: TreeLevel
    counts: dict[StateFilter, int]
    connections: list[Connection]
    connection: Connection | None
    job: Job | None
    may_enable: bool
    may_read: bool

    @property
    def is_reading(self) -> bool:
        """Whether GitLab is being read now, so that rows may still arrive."""
        return self.job is not None and not self.job.is_finished

    @property
    def failure(self) -> Card | None:
        """Why the newest read failed; None if it did not."""
        failed = self.job.failure if self.job and self.job.state == JobState.FAILED else None
        return Card.from_json(failed) if failed else None

    @property
    def is_filtered(self) -> bool:
        """Whether the filters exclude anything."""
        return bool(self.filters.is_search or self.filters.group or self.filters.state)

    @property
    def all_matching(self) -> str:
        """How many match, as people read it; empty if this page shows all of them."""
        matching = self.listing.matching
        if matching <= len(self.listing.rows):
            return ""
        return f"{COUNTED:,}+" if self.filters.is_search and matching > COUNTED else f"{matching:,}"

    @property
    def shown(self) -> str:
        """How many of the matches this page shows, as a sentence."""
        here = len(self.listing.rows)
        return f"{here:,} of {self.all_matching}" if self.all_matching else f"{here:,} in all"

    @property
    def shows_connections(self) -> bool:
        """Whether rows of several connections are mixed."""
        return not self.filters.connection and len(self.connections) > 1

    def sort_url(self, by: str, *, starts_up: bool = True) -> str:
        """Return the address of the list in the order of a column; of the opposite order if it is in that already."""
        is_up = not self.filters.sort.is_up if self.filters.sort.by == by else starts_up
        value = "" if by == "path" else by
        return self.url(sort=value if is_up else f"-{by}")

    def direction(self, by: str) -> str:
        """Return `asc` or `desc` for the column that the list is in the order of, otherwise nothing."""
        return ("asc" if self.filters.sort.is_up else "desc") if self.filters.sort.by == by else ""

    @property
    def wants_roles(self) -> bool:
        """Whether someone asks for roles, so that their column stays where it would otherwise give way to the paths."""
        return bool(self.filters.role) or self.filters.sort.by == "role"

    @property
    def next_url(self) -> str | None:
        """Address of the next page; None on the last."""
        if not (self.listing.rows and self.listing.has_next):
            return None
        return self.url(after=write_key(self.listing.rows[-1].key(self.filters.sort)))

    @property
    def previous_url(self) -> str | None:
        """Address of the previous page; None on the first."""
        if not (self.listing.rows and self.listing.has_previous):
            return None
        return self.url(before=write_key(self.listing.rows[0].key(self.filters.sort)))

    @property
    def progress_url(self) -> str:
        """Address of the progress of the read; the poll adds the current filters, and gets its rows as well."""
        assert self.connection is not None
        seen = _digest(self.job, self.counts)
        return f"/connections/{self.connection.slug}/catalogue?{urlencode({'on': self.page, 'seen': seen})}"


def load_panel(runtime: Runtime, principal: Principal, view: PanelView) -> SelectionPanel:
    """Read one page of rows, the tree and the progress, as far as this person may see them.

    Raises:
        NotFound: the page is about one connection, which was never authorized or does not exist here.
    """
    filters = view.filters
    mine = col(Connection.organization_id) == principal.organization_id
    with runtime.database.reading() as session:
        authorized = select(Connection).where(mine, col(Connection.authorized_at).is_not(None))
        found = session.execute(authorized.order_by(col(Connection.display_name)))
        connections = list(found.scalars())
        shown = next((item for item in connections if item.slug == filters.connection), None)
        if view.fixed and shown is None:
            raise NotFound
        if not filters.connection and len(connections) == 1:
            shown = connections[0]
        counts = count_by_state(session, principal, shown.slug if shown else filters.connection)
        return SelectionPanel(
            filters=filters,
            listing=list_repositories(session, principal, filters, counts if not filters.group else None),
            tree=load_tree(session, principal, shown.id or 0, filters.group) if shown else TreeLevel([]),
            counts=counts,
            connections=connections,
            connection=shown,
            fixed=view.fixed,
            job=latest_read(session, shown) if shown else None,
            address=view.address,
            may_enable=principal.may(Right.ENABLE_REPOSITORIES),
            may_read=principal.may(Right.MANAGE_CONNECTIONS),
        )


def is_as_seen(runtime: Runtime, principal: Principal, connection: Connection, seen: str) -> bool:
    """Return whether nothing has happened since the page that a poll comes from was made."""
    with runtime.database.reading() as session:
        counts = count_by_state(session, principal, connection.slug)
        return _digest(latest_read(session, connection), counts) == seen


def latest_read(session: Session, connection: Connection) -> Job | None:
    """Return the job of a connection's newest catalogue read."""
    newest = select(Job).where(col(Job.key) == catalogue_key(connection)).order_by(col(Job.id).desc()).limit(1)
    return session.execute(newest).scalars().first()


def list_repositories(
    session: Session, principal: Principal, filters: Filters, counts: dict[StateFilter, int] | None = None
) -> Listing:
    """Return one page of what this person may see with these filters, in their order; `counts` if they are known."""
    found = match(session, principal, filters, counts)
    if not found.count:
        return Listing([], has_next=False, has_previous=False, matching=0)
    matching, backwards = found.count, filters.before is not None
    if filters.is_search:
        some = select(col(Repository.id)).where(*found.conditions).limit(COUNTED + 1).subquery()
        matching = session.execute(select(func.count()).select_from(some)).scalar_one()
    keys = _page_in_order(session, found, filters)
    more, ids = len(keys) > PAGE_SIZE, [number for _, number in keys[:PAGE_SIZE]]
    rows = {row.repository.id: row for row in _load_rows(session, col(Repository.id).in_(ids))}
    return Listing(
        rows=[rows[number] for number in (reversed(ids) if backwards else ids) if number in rows],
        has_next=backwards or more,
        has_previous=more if backwards else filters.after is not None,
        matching=matching,
    )


@dataclass(frozen=True)
class Matching:
    """What filters mean for one person.

    Attributes:
        connections: ids of the connections it is about.
        conditions: on `repository`, for what this person sees and the filters match.
        count: how many the state filter alone leaves, and so never fewer than match.
        path: the column, so written that it is searched in the way that finds the few.
        few_first: whether the conditions leave so few that they come before any order.
        follows_index: whether the repositories of one connection are found by an index of their table.
    """

    connections: list[int]
    conditions: list[ColumnElement[bool]]
    count: int
    path: Any
    few_first: bool
    follows_index: bool = True

    def of_connections(self, connection_ids: list[int]) -> ColumnElement[bool]:
        """Return the condition for repositories of some connections."""
        own: Any = col(Repository.connection_id)
        # SQLite knows nothing about the values, so it is left no choice: what is an expression has no index.
        if not self.follows_index or len(connection_ids) > 1:
            own = own + 0
        condition: ColumnElement[bool] = (
            own.in_(connection_ids) if len(connection_ids) > 1 else own == connection_ids[0]
        )
        return condition


def match(
    session: Session, principal: Principal, filters: Filters, counts: dict[StateFilter, int] | None = None
) -> Matching:
    """Return the conditions for what this person may see with these filters; `counts` if they are known."""
    connections = _connections(session, principal, filters.connection)
    counts = counts or count_by_state(session, principal, filters.connection, filters.group)
    words = filters.query.lower().split()[:MAX_WORDS]
    path: Any = col(Repository.path_with_namespace)
    if not connections or not counts[filters.state]:
        return Matching(list(connections), [], 0, path, few_first=False)
    number = col(Repository.id)
    # An order by enablement joins the same table.
    is_enabled = exists().where(col(Enablement.repository_id) == number).correlate(Repository)
    few = find_few(session, connections, words, COUNTED)
    wants_enabled = filters.state in {StateFilter.ENABLED, StateFilter.NEEDS_ATTENTION}
    if few is None and wants_enabled and counts[StateFilter.ENABLED] <= COUNTED < counts[StateFilter.ALL]:
        few = select(col(Enablement.repository_id)).where(col(Enablement.connection_id).in_(connections))
    # A few ids come first; without them the order of an index is followed until the page is full.
    few_first = few is not None or (not principal.sees_all_groups and counts[StateFilter.ALL] <= MAX_SORTED)
    if few_first:
        path = path + ""
    # PostgreSQL decides by itself, and would take what is an expression for far fewer rows.
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    follows_index = not is_sqlite or (not few_first and filters.sort.by != "enabled")
    found = Matching(list(connections), [], counts[filters.state], path, few_first, follows_index)
    conditions = found.conditions
    conditions += [
        found.of_connections(found.connections),
        *in_granted_groups(principal, are_few=few_first and few is None),
        *(col(Repository.search_text).like(f"%{escape_like(word)}%", escape=LIKE_ESCAPE) for word in words),
    ]
    if few is not None:
        conditions.append(number.in_(few))
    if filters.group:
        # In the order of the characters' numbers 0 comes right after the slash.
        conditions += [path > f"{filters.group}/", path < f"{filters.group}0"]
    if filters.state != StateFilter.ALL:
        disconnected = [key for key, state in connections.items() if state == ConnectionState.DISCONNECTED]
        in_those = col(Repository.connection_id).in_(disconnected)
        blocked = or_(is_blocked(), in_those) if disconnected else is_blocked()
        if filters.state != StateFilter.ENABLED:
            conditions.append(~blocked if filters.state == StateFilter.AVAILABLE else blocked)
        conditions.append(is_enabled if wants_enabled else ~is_enabled)
    if filters.visibility:
        conditions.append(col(Repository.visibility) == filters.visibility)
    if filters.activity:
        since = utc_now() - timedelta(days=DAYS[filters.activity])
        last = unindexed(col(Repository.last_activity_at))
        conditions.append(last < since if filters.activity == ActivityFilter.OLDER else last >= since)
    if filters.role in LEVELS:
        (lowest, above), level = LEVELS[filters.role], unindexed(col(Repository.access_level))
        conditions += [level >= lowest, level < above]
    elif filters.role:
        conditions.append(col(Repository.role_source) == RoleSource(filters.role))
    return found


def iterate_rows(runtime: Runtime, principal: Principal, filters: Filters) -> Iterator[Row]:
    """Yield everything that this person may see with these filters, by path, in short transactions."""
    with runtime.database.reading() as session:
        found = match(session, principal, filters.unpaged)
    number, last = col(Repository.id), ("", 0)
    while found.count:
        statement = select(number).where(*found.conditions, tuple_(found.path, number) > tuple_(*last))
        with runtime.database.reading() as session:
            ids = list(session.execute(statement.order_by(found.path, number).limit(EXPORT_BATCH)).scalars())
            rows = get_rows(session, principal, ids)
        yield from rows
        if len(ids) < EXPORT_BATCH or not rows:
            return
        last = rows[-1].key(Sort.PATH)


def _page_in_order(session: Session, found: Matching, filters: Filters) -> list[tuple[Any, int]]:
    """Return the keys of a page and of the row after it, from the page's beginning or, backwards, from its end."""
    sort, number, key = filters.sort, col(Repository.id), filters.after or filters.before
    is_up = sort.is_up != (filters.before is not None)
    is_beyond = operator.gt if is_up else operator.lt
    columns: dict[str, Any] = {
        "path": found.path,
        "activity": col(Repository.last_activity_at),
        "role": col(Repository.access_level),
        "enabled": col(Enablement.enabled_at),
    }
    value, by_enablement = columns[sort.by], sort.by == "enabled"
    # The column of the same table and index as the value.
    ranked: tuple[Any, ...] = (value, col(Enablement.repository_id) if by_enablement else number)
    parts: list[tuple[tuple[Any, ...], Any]]
    if sort.by == "path":
        parts = [(ranked, is_beyond(tuple_(*ranked), tuple_(*key)) if key else None)]
        connections = [found.connections]
    else:
        # Those without the value are lowest on both databases, and a part by themselves: each is a range of an index.
        connections = [[connection_id] for connection_id in found.connections]
        lacks = (
            ~exists().where(col(Enablement.repository_id) == number).correlate(Repository)
            if by_enablement
            else value.is_(None)
        )
        parts = [((number,), lacks), (ranked, value.is_not(None))]
        if key and key[0] is None:
            parts[0] = ((number,), and_(lacks, is_beyond(number, key[1])))
            parts = parts if is_up else parts[:1]
        elif key:
            parts[1] = (ranked, is_beyond(tuple_(*ranked), tuple_(*key)))
            parts = parts[1:] if is_up else parts
        parts = parts if is_up else parts[::-1]
    keys: list[tuple[Any, int]] = []
    for some in connections:
        wanted = PAGE_SIZE + 1
        for ordering, condition in parts:
            statement = select(*ordering).where(found.of_connections(some), *found.conditions)
            if by_enablement and ordering is ranked:
                own = col(Enablement.repository_id) == number
                statement = statement.join(Repository, own).where(col(Enablement.connection_id) == some[0])
            if condition is not None:
                statement = statement.where(condition)
            statement = statement.order_by(*(item if is_up else item.desc() for item in ordering)).limit(wanted)
            rows = session.execute(statement).all()
            keys += [(row[0] if len(row) > 1 else None, row[-1]) for row in rows]
            wanted -= len(rows)
            if not wanted:
                break
    if len(connections) > 1:
        keys.sort(key=lambda item: (() if item[0] is None else (item[0],), item[1]), reverse=not is_up)
    return keys[: PAGE_SIZE + 1]


def unindexed(column: Any) -> Any:
    """Return a column so written that no index of it is followed: the order of the list finds common values sooner."""
    return func.coalesce(column, column)


def write_key(key: tuple[Any, int]) -> str:
    """Return a paging key as addresses write it: `id:value`."""
    value = key[0].isoformat() if isinstance(key[0], datetime) else key[0]
    return f"{key[1]}:{'' if value is None else value}"


def count_by_state(session: Session, principal: Principal, slug: str = "", group: str = "") -> dict[StateFilter, int]:
    """Return how many repositories this person sees in each state: of one connection or all, of one group or all."""
    path = col(Namespace.path)
    is_alive = col(Connection.state) != ConnectionState.DISCONNECTED
    total, enabled, blocked, both = (getattr(Namespace, name) for name in COUNTS)
    statement = (
        select(
            func.sum(total),
            func.sum(enabled),
            func.sum(case((is_alive, blocked), else_=total)),
            func.sum(case((is_alive, both), else_=enabled)),
        )
        .join(Connection, col(Connection.id) == col(Namespace.connection_id))
        .where(*visible_namespaces(principal))
    )
    if slug:
        statement = statement.where(col(Connection.slug) == slug)
    if group:
        statement = statement.where(or_(path == group, and_(path > f"{group}/", path < f"{group}0")))
    total, enabled, blocked, both = (value or 0 for value in session.execute(statement).one())
    return {
        StateFilter.ALL: total,
        StateFilter.AVAILABLE: total - enabled - blocked + both,
        StateFilter.ENABLED: enabled,
        StateFilter.UNAVAILABLE: blocked - both,
        StateFilter.NEEDS_ATTENTION: both,
    }


def get_rows(session: Session, principal: Principal, repository_ids: list[int]) -> list[Row]:
    """Return those of some repositories that this person may see."""
    return _load_rows(session, visible_to(principal) & col(Repository.id).in_(repository_ids))


def load_tree(session: Session, principal: Principal, connection_id: int, chosen: str) -> TreeLevel:
    """Return the first level of a connection's groups, with the levels that lead to the chosen group and the one below.

    Groups without repositories are included for those who see all groups, so that the list can be compared with what
    was expected.
    """
    parts = chosen.split("/") if chosen else []
    levels = ["/".join(parts[:length]) for length in range(1, min(len(parts), MAX_DEPTH) + 1)]
    first = level = load_level(session, principal, connection_id, keep=levels[0] if levels else "")
    for path, below in zip(levels, [*levels[1:], chosen], strict=False):
        node = next((item for item in level.nodes if item.path == path), None)
        if node is None or not node.has_children:
            break
        node.children = level = load_level(session, principal, connection_id, path, keep=below)
    return first


def open_group(runtime: Runtime, principal: Principal, slug: str, parent: str, after: str) -> TreeLevel:
    """Return a level of a connection's groups, or of the only connection's.

    Raises:
        NotFound: no such connection here.
    """
    with runtime.database.reading() as session:
        connections = list(_connections(session, principal, slug))
        if len(connections) != 1:
            raise NotFound
        return load_level(session, principal, connections[0], parent, after)


def load_level(
    session: Session, principal: Principal, connection_id: int, parent: str = "", after: str = "", keep: str = ""
) -> TreeLevel:
    """Return some of the groups directly below another one, in the order of their paths.

    Args:
        session: for reading.
        principal: who wants to see them.
        connection_id: of the connection that has them.
        parent: path of the group above; empty for the first level.
        after: path of the group that the last answer ended with.
        keep: path of a group to include, although it comes later.
    """
    path, prefix = col(Namespace.path), f"{parent}/" if parent else ""
    name: Any = func.substr(path, len(prefix) + 1) if prefix else path
    if parent.count("/") + 1 < MAX_DEPTH or not parent:
        find = func.instr if session.get_bind().dialect.name == "sqlite" else func.strpos
        name = func.substr(name, 1, find(name.concat("/"), "/") - 1)
    within = [path > prefix, *([path < f"{parent}0"] if prefix else [])]
    found = (
        select(name.label("name"), path, col(Namespace.total), col(Namespace.enabled))
        .join(Connection, col(Connection.id) == col(Namespace.connection_id))
        .where(col(Namespace.connection_id) == connection_id, *visible_namespaces(principal), *within)
        .subquery()
    )
    total = func.sum(found.c.total)
    statement = (
        select(found.c.name, total, func.sum(found.c.enabled), func.max(found.c.path))
        .group_by(found.c.name)
        .order_by(found.c.name)
    )
    if not principal.sees_all_groups:
        statement = statement.having(total > 0)
    later = statement.where(found.c.name > after.removeprefix(prefix)) if after else statement
    rows = session.execute(later.limit(LEVEL_SIZE + 1)).all()
    more, rows = len(rows) > LEVEL_SIZE, rows[:LEVEL_SIZE]
    nodes = [TreeNode(f"{prefix}{row[0]}", row[0], row[1], row[2], row[3] != f"{prefix}{row[0]}") for row in rows]
    last = nodes[-1].path if more else ""
    if keep and more and keep > last:
        # A group's own path, and those below it, are among those from its path to the one with the next character.
        near = (found.c.path >= keep, found.c.path < f"{keep}0", found.c.name == keep.removeprefix(prefix))
        own = session.execute(statement.where(*near)).all()
        nodes += [TreeNode(keep, row[0], row[1], row[2], row[3] != keep) for row in own]
    if principal.sees_all_groups:
        named = select(col(GitLabGroup.full_path), col(GitLabGroup.name)).where(
            col(GitLabGroup.connection_id) == connection_id,
            col(GitLabGroup.full_path).in_([node.path for node in nodes]),
        )
        names = dict(session.execute(named).all())
        for node in nodes:
            node.name = names.get(node.path) or node.name
    return TreeLevel(nodes, parent, last)


def as_searched(text: str) -> str:
    """Return a search in the form in which GitLab's names are stored: composed, with hidden characters written out."""
    # Each hidden character becomes eight: nothing of it is cut off.
    return clean(text.strip()[:MAX_QUERY], MAX_QUERY * 8)


def escape_like(text: str) -> str:
    """Escape a text for use inside LIKE."""
    for character in (LIKE_ESCAPE, "%", "_"):
        text = text.replace(character, LIKE_ESCAPE + character)
    return text


def _digest(job: Job | None, counts: dict[StateFilter, int]) -> str:
    told = (job.public_id, job.state, job.done, job.total, job.message) if job else ()
    return hashlib.blake2b(repr((told, list(counts.values()))).encode(), digest_size=8).hexdigest()


def _connections(session: Session, principal: Principal, slug: str) -> dict[int, str]:
    """Return the authorized connections of this person's organization, or the one of this name, with their states."""
    statement = select(col(Connection.id), col(Connection.state)).where(
        col(Connection.organization_id) == principal.organization_id, col(Connection.authorized_at).is_not(None)
    )
    if slug:
        statement = statement.where(col(Connection.slug) == slug)
    return dict(session.execute(statement).all())


def _load_rows(session: Session, which: ColumnElement[bool]) -> list[Row]:
    statement = (
        select(Repository, Enablement)
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(which)
        .order_by(col(Repository.path_with_namespace), col(Repository.id))
    )
    found = session.execute(statement).all()
    # Not with each row: a connection has many columns, and a page usually one connection.
    ids = {repository.connection_id for repository, _ in found}
    connections = {number: session.get_one(Connection, number) for number in ids}
    return [Row(repository, connections[repository.connection_id], enablement) for repository, enablement in found]
