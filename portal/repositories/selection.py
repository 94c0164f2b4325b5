"""The selection panel's reading side: search, filters, group tree, keyset paging. Only our own tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_
from sqlmodel import Session, col

from portal.actor import Principal
from portal.connections.models import Connection, ConnectionState
from portal.repositories.availability import Reason
from portal.repositories.models import Enablement, Repository, RepositoryState
from portal.repositories.visibility import LIKE_ESCAPE, MAX_WORDS, escape_like, inside_path, visible_to

PAGE_SIZE = 50
_LETTERS = re.compile(r"[\W_]+")


class StateFilter(StrEnum):
    """The state filter of the panel; the value is in the address."""

    ALL = ""
    AVAILABLE = "available"
    ENABLED = "enabled"
    UNAVAILABLE = "unavailable"
    NEEDS_ATTENTION = "needs_attention"


@dataclass(frozen=True)
class View:
    """What the address bar says about the panel. `after` and `before` are `(path, id)` keys of neighbouring pages."""

    connection: str = ""
    query: str = ""
    group: str = ""
    state: StateFilter = StateFilter.ALL
    after: tuple[str, int] | None = None
    before: tuple[str, int] | None = None

    def parameters(self, **changes: str) -> dict[str, str]:
        """Return the query parameters of this view, without paging, with some changed; empty ones are left out."""
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


@dataclass(frozen=True)
class Listing:
    """One page of rows and where its neighbours begin; `counts` are over the whole view without the state filter."""

    rows: list[Row]
    has_next: bool
    has_previous: bool
    counts: dict[StateFilter, int] = field(default_factory=dict)

    @property
    def next_key(self) -> tuple[str, int] | None:
        """Where the next page begins."""
        return _key(self.rows[-1]) if self.rows and self.has_next else None

    @property
    def previous_key(self) -> tuple[str, int] | None:
        """Where the previous page ends."""
        return _key(self.rows[0]) if self.rows and self.has_previous else None


def list_repositories(session: Session, principal: Principal, view: View) -> Listing:
    """Return one page of what this person may see in this view, ordered by path."""
    statement = _joined(principal, view).where(_state_condition(view.state))
    ordering = [col(Repository.path_with_namespace), col(Repository.id)]
    backwards = view.before is not None
    if view.after:
        statement = statement.where(tuple_(*ordering) > tuple_(*view.after))
    if view.before:
        statement = statement.where(tuple_(*ordering) < tuple_(*view.before))
    statement = statement.order_by(*(column.desc() if backwards else column for column in ordering))
    found = [Row(*row) for row in session.execute(statement.limit(PAGE_SIZE + 1)).all()]
    more, rows = len(found) > PAGE_SIZE, found[:PAGE_SIZE]
    rows = rows[::-1] if backwards else rows
    return Listing(
        rows=rows,
        has_next=backwards or more,
        has_previous=more if backwards else view.after is not None,
        counts=count_by_state(session, principal, view),
    )


def count_by_state(session: Session, principal: Principal, view: View) -> dict[StateFilter, int]:
    """Return how many repositories each state filter would show in this view."""
    whole = _joined(principal, replace(view, state=StateFilter.ALL))
    counted = whole.with_only_columns(
        func.count(),
        *(func.count().filter(_state_condition(state)) for state in list(StateFilter)[1:]),
        maintain_column_froms=True,
    )
    return dict(zip(StateFilter, session.execute(counted).one(), strict=True))


def get_row(session: Session, principal: Principal, repository_id: int) -> Row | None:
    """Return one repository this person may see; None otherwise."""
    statement = _joined(principal, View()).where(col(Repository.id) == repository_id)
    found = session.execute(statement).first()
    return Row(*found) if found else None


def get_rows(session: Session, principal: Principal, repository_ids: list[int]) -> list[Row]:
    """Return those of some repositories that this person may see."""
    statement = _joined(principal, View()).where(col(Repository.id).in_(repository_ids))
    ordered = statement.order_by(col(Repository.path_with_namespace), col(Repository.id))
    return [Row(*row) for row in session.execute(ordered).all()]


def _joined(principal: Principal, view: View) -> Select[Repository, Connection, Enablement]:
    statement = (
        select(Repository, Connection, Enablement)
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(visible_to(principal))
    )
    return statement.where(*_filters(view))


def _filters(view: View) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if view.connection:
        conditions.append(col(Connection.slug) == view.connection)
    if view.group:
        conditions.append(inside_path(view.group))
    for word in view.query.lower().split()[:MAX_WORDS]:
        pattern = f"%{escape_like(word)}%"
        conditions.append(col(Repository.search_text).like(pattern, escape=LIKE_ESCAPE))
    return conditions


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


def _key(row: Row) -> tuple[str, int]:
    assert row.repository.id is not None
    return row.repository.path_with_namespace, row.repository.id
