"""The selection panel: search, filters, group tree and keyset paging. It reads only our own tables."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_
from sqlmodel import Session, col

from portal.actor import Principal, Right
from portal.connections.models import Connection, ConnectionState
from portal.errors import Card, NotFound
from portal.foreign import clean
from portal.jobs.models import Job, JobState
from portal.repositories.models import (
    Enablement,
    GitLabGroup,
    Reason,
    Repository,
    RepositoryState,
    catalogue_key,
    visible_to,
)
from portal.runtime import Runtime

PAGE_SIZE = 50
LIKE_ESCAPE = "\\"
# As long as a path may be, so that any that is pasted finds what it names; SQLite takes that many conditions at once.
MAX_QUERY = 1000
MAX_WORDS = 50
# GitLab nests no deeper (docs.gitlab.com/user/group/subgroups); a peer that reports more does not decide how deep we
# go.
MAX_DEPTH = 20
_LETTERS = re.compile(r"[\W_]+")


class StateFilter(StrEnum):
    """The state filter of the panel; the value is in the address."""

    ALL = ""
    AVAILABLE = "available"
    ENABLED = "enabled"
    UNAVAILABLE = "unavailable"
    NEEDS_ATTENTION = "needs_attention"


@dataclass(frozen=True)
class Filters:
    """What the address bar says about the panel. `after` and `before` are `(path, id)` keys of neighbouring pages."""

    connection: str = ""
    query: str = ""
    group: str = ""
    state: StateFilter = StateFilter.ALL
    after: tuple[str, int] | None = None
    before: tuple[str, int] | None = None

    def parameters(self, **changes: str) -> dict[str, str]:
        """Return the query parameters, without paging, with some changed; empty ones are left out."""
        base = {"connection": self.connection, "q": self.query, "group": self.group, "state": str(self.state)}
        return {name: value for name, value in {**base, **changes}.items() if value}


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

    @property
    def state(self) -> RepositoryState:
        """The state people read: what is wanted takes precedence, then what is possible."""
        if self.enablement:
            return RepositoryState.NEEDS_ATTENTION if self.reason else RepositoryState(self.enablement.state)
        return RepositoryState.UNAVAILABLE if self.reason else RepositoryState.AVAILABLE

    @property
    def reason(self) -> str:
        """The code of what prevents enabling it; empty if nothing does."""
        if self.connection.state == ConnectionState.DISCONNECTED:
            return Reason.DISCONNECTED
        return Reason.MISSING if self.repository.missing_since else self.repository.unavailable_reason

    @property
    def key(self) -> str:
        """Its paging key as addresses write it: `id:path`."""
        return f"{self.repository.id}:{self.repository.path_with_namespace}"


@dataclass(frozen=True)
class Listing:
    """One page of rows; `counts` cover everything that the filters match, without the state filter."""

    rows: list[Row]
    has_next: bool
    has_previous: bool
    counts: dict[StateFilter, int] = field(default_factory=dict)


@dataclass
class TreeNode:
    """One group; counts include everything below it. Below `MAX_DEPTH` levels the rest of a path is one group."""

    path: str
    name: str
    total: int = 0
    enabled: int = 0
    children: list[TreeNode] = field(default_factory=list)


@dataclass(frozen=True)
class SelectionPanel:
    """A snapshot of the selection panel.

    Attributes:
        connection: the one connection that is shown; None if several are.
        fixed: whether the page determines the connection, so that it cannot be chosen.
        job: the newest catalogue read of that connection.
        address: path of the page the panel is on, without the query.
    """

    filters: Filters
    listing: Listing
    tree: list[TreeNode]
    connections: list[Connection]
    connection: Connection | None
    fixed: bool
    job: Job | None
    address: str
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
        return bool(self.filters.query or self.filters.group or self.filters.state)

    @property
    def counts(self) -> dict[str, int]:
        """How many repositories each state filter shows, by the filter's word; `all` for none."""
        return {str(state) or "all": count for state, count in self.listing.counts.items()}

    @property
    def tree_totals(self) -> tuple[int, int]:
        """All repositories of the connection, and the enabled ones."""
        return sum(node.total for node in self.tree), sum(node.enabled for node in self.tree)

    @property
    def shown(self) -> str:
        """How many of the matches this page shows, as a sentence."""
        matching, here = self.listing.counts[self.filters.state], len(self.listing.rows)
        return f"{here:,} of {matching:,}" if matching > here else f"{matching:,} in all"

    @property
    def shows_connections(self) -> bool:
        """Whether rows of several connections are mixed."""
        return not self.filters.connection and len(self.connections) > 1

    def url(self, **changes: str) -> str:
        """Return the address with some parameters changed; paging starts again."""
        parameters = self.filters.parameters(**changes)
        if self.fixed:
            parameters.pop("connection", None)
        return f"{self.address}?{urlencode(parameters)}" if parameters else self.address

    @property
    def next_url(self) -> str | None:
        """Address of the next page; None on the last."""
        return self.url(after=self.listing.rows[-1].key) if self.listing.rows and self.listing.has_next else None

    @property
    def previous_url(self) -> str | None:
        """Address of the previous page; None on the first."""
        return self.url(before=self.listing.rows[0].key) if self.listing.rows and self.listing.has_previous else None

    @property
    def progress_url(self) -> str:
        """Address of the progress of the read; the poll adds the current filters, and gets its rows as well."""
        assert self.connection is not None
        return f"/connections/{self.connection.slug}/catalogue?on={'setup' if self.fixed else 'index'}"

    @property
    def fields(self) -> dict[str, str]:
        """Hidden fields that lead back to this page after a change."""
        paging = {"after": self.filters.after, "before": self.filters.before}
        keys = {name: f"{key[1]}:{key[0]}" for name, key in paging.items() if key}
        return {**self.filters.parameters(), **keys, "on": "setup" if self.fixed else "index"}


def load_panel(
    runtime: Runtime, principal: Principal, filters: Filters, *, address: str, fixed: bool = False
) -> SelectionPanel:
    """Read one page of rows, the tree and the progress, as far as this person may see them.

    Raises:
        NotFound: the page is about one connection, which was never authorized or does not exist here.
    """
    mine = col(Connection.organization_id) == principal.organization_id
    with runtime.database.reading() as session:
        authorized = select(Connection).where(mine, col(Connection.authorized_at).is_not(None))
        found = session.execute(authorized.order_by(col(Connection.display_name)))
        connections = list(found.scalars())
        shown = next((item for item in connections if item.slug == filters.connection), None)
        if fixed and shown is None:
            raise NotFound
        if shown is None and len(connections) == 1:
            shown = connections[0]
        return SelectionPanel(
            filters=filters,
            listing=list_repositories(session, principal, filters),
            tree=group_tree(session, principal, shown.slug) if shown else [],
            connections=connections,
            connection=shown,
            fixed=fixed,
            job=latest_read(session, shown) if shown else None,
            address=address,
            may_enable=principal.may(Right.ENABLE_REPOSITORIES),
            may_read=principal.may(Right.MANAGE_CONNECTIONS),
        )


def latest_read(session: Session, connection: Connection) -> Job | None:
    """Return the job of a connection's newest catalogue read."""
    newest = select(Job).where(col(Job.key) == catalogue_key(connection)).order_by(col(Job.id).desc()).limit(1)
    return session.execute(newest).scalars().first()


def list_repositories(session: Session, principal: Principal, filters: Filters) -> Listing:
    """Return one page of what this person may see with these filters, ordered by path."""
    statement = _matching(principal, filters).where(_state_condition(filters.state))
    ordering = [col(Repository.path_with_namespace), col(Repository.id)]
    backwards = filters.before is not None
    if filters.after:
        statement = statement.where(tuple_(*ordering) > tuple_(*filters.after))
    if filters.before:
        statement = statement.where(tuple_(*ordering) < tuple_(*filters.before))
    statement = statement.order_by(*(column.desc() if backwards else column for column in ordering))
    found = [Row(*row) for row in session.execute(statement.limit(PAGE_SIZE + 1)).all()]
    more, rows = len(found) > PAGE_SIZE, found[:PAGE_SIZE]
    return Listing(
        rows=rows[::-1] if backwards else rows,
        has_next=backwards or more,
        has_previous=more if backwards else filters.after is not None,
        counts=count_by_state(session, principal, filters),
    )


def count_by_state(session: Session, principal: Principal, filters: Filters) -> dict[StateFilter, int]:
    """Return how many repositories each state filter would show, combined with the other filters."""
    whole = _matching(principal, replace(filters, state=StateFilter.ALL))
    counted = whole.with_only_columns(
        func.count(),
        *(func.count().filter(_state_condition(state)) for state in list(StateFilter)[1:]),
        maintain_column_froms=True,
    )
    return dict(zip(StateFilter, session.execute(counted).one(), strict=True))


def get_rows(session: Session, principal: Principal, repository_ids: list[int]) -> list[Row]:
    """Return those of some repositories that this person may see."""
    statement = _matching(principal, Filters()).where(col(Repository.id).in_(repository_ids))
    ordered = statement.order_by(col(Repository.path_with_namespace), col(Repository.id))
    return [Row(*row) for row in session.execute(ordered).all()]


def group_tree(session: Session, principal: Principal, connection_slug: str) -> list[TreeNode]:
    """Return the top-level groups of a connection with their subgroups, as far as this person may see them.

    Groups without repositories are included, so that the list can be compared with what was expected.
    """
    counted = (
        select(col(Repository.namespace_path), func.count(), func.count(col(Enablement.id)))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(visible_to(principal), col(Connection.slug) == connection_slug)
        .group_by(col(Repository.namespace_path))
    )
    counts: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    counts.update({path: (total, enabled) for path, total, enabled in session.execute(counted).all()})
    names: dict[str, str] = {}
    if principal.sees_all_groups:
        named = (
            select(col(GitLabGroup.full_path), col(GitLabGroup.name))
            .join(Connection, col(Connection.id) == col(GitLabGroup.connection_id))
            .where(col(Connection.slug) == connection_slug)
            .where(col(Connection.organization_id) == principal.organization_id)
        )
        names = dict(session.execute(named).all())
    nodes: dict[str, TreeNode] = {}
    roots: list[TreeNode] = []
    for path in sorted({*counts, *names}, key=lambda path: path.split("/")):
        parts = path.split("/")
        levels = ["/".join(parts[:length]) for length in range(1, min(len(parts), MAX_DEPTH) + 1)]
        siblings, above = roots, ""
        for ancestor in levels if len(parts) <= MAX_DEPTH else [*levels, path]:
            if ancestor not in nodes:
                name = names.get(ancestor) or ancestor.removeprefix(f"{above}/")
                nodes[ancestor] = TreeNode(ancestor, name)
                siblings.append(nodes[ancestor])
            nodes[ancestor].total += counts[path][0]
            nodes[ancestor].enabled += counts[path][1]
            siblings, above = nodes[ancestor].children, ancestor
    return roots


def as_searched(text: str) -> str:
    """Return a search in the form in which GitLab's names are stored: composed, with hidden characters written out."""
    # Each hidden character becomes eight: nothing of it is cut off.
    return clean(text.strip()[:MAX_QUERY], MAX_QUERY * 8)


def escape_like(text: str) -> str:
    """Escape a text for use inside LIKE."""
    for character in (LIKE_ESCAPE, "%", "_"):
        text = text.replace(character, LIKE_ESCAPE + character)
    return text


def _matching(principal: Principal, filters: Filters) -> Select[Repository, Connection, Enablement]:
    """Select what this person may see and the filters match, whatever its state."""
    statement = (
        select(Repository, Connection, Enablement)
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(visible_to(principal))
    )
    if filters.connection:
        statement = statement.where(col(Connection.slug) == filters.connection)
    if filters.group:
        # In the group or below it; `org` does not match `organisation`.
        path, below = col(Repository.namespace_path), f"{escape_like(filters.group)}/%"
        statement = statement.where(or_(path == filters.group, path.like(below, escape=LIKE_ESCAPE)))
    for word in filters.query.lower().split()[:MAX_WORDS]:
        pattern = f"%{escape_like(word)}%"
        statement = statement.where(col(Repository.search_text).like(pattern, escape=LIKE_ESCAPE))
    return statement


def _state_condition(state: StateFilter) -> ColumnElement[bool]:
    enabled = col(Enablement.id).is_not(None)
    blocked = or_(
        col(Repository.unavailable_reason) != "",
        col(Repository.missing_since).is_not(None),
        col(Connection.state) == ConnectionState.DISCONNECTED,
    )
    return {
        StateFilter.ALL: and_(True),
        StateFilter.AVAILABLE: and_(~enabled, ~blocked),
        StateFilter.ENABLED: enabled,
        StateFilter.UNAVAILABLE: and_(~enabled, blocked),
        StateFilter.NEEDS_ATTENTION: and_(enabled, blocked),
    }[state]
