"""The periodic review: what is enabled, by whom and since when, so that someone says whether it is still needed.

Nothing is disabled by itself: a repository that no one has reviewed in time stays as it is, and stays on the list.
What was created again in GitLab under the path of an enabled repository is asked about here too, because GitLab gives
the new project another id, and with it perhaps other content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.models import User
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.connections.models import Connection
from portal.db import insert_into, utc_now
from portal.errors import Conflict, InvalidInput, NotFound
from portal.repositories.enablement import MAX_AT_ONCE, change_rows, record_change
from portal.repositories.models import (
    Enablement,
    ItemResult,
    Repository,
    ReviewSchedule,
    keep_counts,
    visible_to,
)
from portal.repositories.selection import get_rows
from portal.runtime import Runtime

PAGE = 100
SHOWN_AGAIN = 50
PATHS_AT_ONCE = 500
EVERY_MONTHS = (0, 3, 6, 12)
DAYS_OF_A_MONTH = 365 / 12
# When someone last said that it is needed.
last_said: ColumnElement[datetime] = func.coalesce(col(Enablement.reviewed_at), col(Enablement.enabled_at))


@dataclass(frozen=True)
class Entry:
    """One enabled repository: `enabler` and `reviewer` are names, empty if it was no person."""

    repository: Repository
    connection: Connection
    enablement: Enablement
    enabler: str
    reviewer: str

    @property
    def key(self) -> str:
        """Where a page that begins after this one continues."""
        at = self.enablement.reviewed_at or self.enablement.enabled_at
        return f"{at.isoformat()},{self.enablement.id}"


@dataclass(frozen=True)
class CreatedAgain:
    """A repository under the path of an enabled one that is gone."""

    repository: Repository
    connection: Connection
    gone_since: datetime


@dataclass(frozen=True)
class Review:
    """Everything the page shows.

    Attributes:
        every_months: how often entries are due; 0 for never.
        due: how many are due of those this person sees.
        total: how many are enabled of those this person sees.
        is_everything: whether entries that are not due are listed too.
        next_key: where the next page begins; empty on the last one.
    """

    every_months: int
    due: int
    total: int
    is_everything: bool
    entries: list[Entry]
    again: list[CreatedAgain]
    next_key: str


def months_of(session: Session, organization_id: int) -> int:
    """Return how often an organization reviews what is enabled; 0 for never."""
    row = session.get(ReviewSchedule, organization_id)
    return row.every_months if row else 0


def load_review(runtime: Runtime, principal: Principal, *, is_everything: bool = False, after: str = "") -> Review:
    """Return a page of what this person may enable or disable, those that wait longest first.

    Args:
        runtime: of this process.
        principal: who asks.
        is_everything: also what is not due.
        after: the `key` of the last entry of the page before; anything else begins at the first page.
    """
    with runtime.database.reading() as session:
        months = months_of(session, principal.organization_id)
        is_due = last_said <= utc_now() - timedelta(days=months * DAYS_OF_A_MONTH)
        statement = (
            select(Enablement, Repository, Connection)
            .join(Repository, col(Repository.id) == col(Enablement.repository_id))
            .join(Connection, col(Connection.id) == col(Repository.connection_id))
            .where(visible_to(principal))
        )
        counts = session.execute(
            select(func.count(), func.count().filter(is_due))
            .select_from(Enablement)
            .join(Repository, col(Repository.id) == col(Enablement.repository_id))
            .join(Connection, col(Connection.id) == col(Repository.connection_id))
            .where(visible_to(principal))
        ).one()
        is_everything = is_everything or not months
        page = statement.where(*([] if is_everything else [is_due]), *_after(after))
        found = session.exec(page.order_by(last_said, col(Enablement.id)).limit(PAGE + 1)).all()
        entries = _entries(session, found[:PAGE])
        next_key = entries[-1].key if len(found) > PAGE else ""
        again = _created_again(session, visible_to(principal))
        return Review(months, counts[1] if months else 0, counts[0], is_everything, entries, again, next_key)


def iterate_review(runtime: Runtime, principal: Principal) -> Iterator[Entry]:
    """Yield everything that is enabled and this person sees, a page at a time."""
    after = ""
    while True:
        page = load_review(runtime, principal, is_everything=True, after=after)
        yield from page.entries
        after = page.next_key
        if not after:
            return


def count_created_again(runtime: Runtime, principal: Principal) -> int:
    """Return how many such questions wait for this person, at most `SHOWN_AGAIN`; see `answer_created_again`."""
    with runtime.database.reading() as session:
        return len(_created_again(session, visible_to(principal)))


def keep(runtime: Runtime, principal: Principal, repository_ids: list[int]) -> int:
    """Record that this person looked at some repositories and that they stay enabled; return how many.

    Raises:
        RightLost: they may no longer enable repositories.
    """
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        rows = [row for row in get_rows(session, principal, repository_ids[:MAX_AT_ONCE]) if row.enablement]
        for row in rows:
            assert row.enablement is not None
            row.enablement.reviewed_at, row.enablement.reviewed_by_user_id = utc_now(), principal.user_id
            session.add(row.enablement)
            path = audit.Foreign(row.repository.path_with_namespace)
            target = audit.Target(principal.organization_id, "repository", row.repository.id, path)
            audit.record(session, principal.actor, "repository.review_kept", target, path=path)
        return len(rows)


def set_schedule(runtime: Runtime, principal: Principal, months: int) -> None:
    """Set how often what is enabled is reviewed.

    Raises:
        InvalidInput: not one of `EVERY_MONTHS`.
        RightLost: this person may no longer manage connections.
    """
    if months not in EVERY_MONTHS:
        raise InvalidInput(field_errors={"months": "Choose one of the periods."})
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.MANAGE_CONNECTIONS)
        if months_of(session, principal.organization_id) == months:
            return
        row = {"organization_id": principal.organization_id, "every_months": months}
        statement = insert_into(session, ReviewSchedule).values(row)
        session.execute(
            statement.on_conflict_do_update(index_elements=["organization_id"], set_={"every_months": months})
        )
        target = audit.Target(principal.organization_id, "organization", principal.organization_id)
        audit.record(session, principal.actor, "repository.review_scheduled", target, months=months)


def answer_created_again(runtime: Runtime, principal: Principal, repository_id: int, *, is_wanted: bool) -> str:
    """Enable a repository in place of the one that had its path, or don't; return the path. It is asked once.

    Raises:
        NotFound: the question does not exist (any more), or the person does not see the repository.
        Conflict: it can't be enabled.
        RightLost: they may no longer enable repositories.
    """
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        only = visible_to(principal) & (col(Repository.id) == repository_id)
        if not _created_again(session, only):
            raise NotFound
        row = get_rows(session, principal, [repository_id])[0]
        gone = aliased(Repository)
        before = session.exec(
            select(Enablement, gone)
            .join(gone, col(gone.id) == col(Enablement.repository_id))
            .where(*_is_before(gone, row.repository))
            .with_for_update()
        ).all()
        if not before:
            raise NotFound  # Someone else has answered at the same moment.
        ids = [repository_id, *(old.id or 0 for _, old in before)]
        with keep_counts(session, col(Repository.id).in_(ids)):
            for enablement, old in before:
                services, ends_at = enablement.services, enablement.ends_at
                session.execute(delete(Enablement).where(col(Enablement.id) == enablement.id))
                record_change(session, principal, old, enabled=False)
            if is_wanted:
                result = change_rows(session, principal, [row], enabled=True, at=utc_now())[repository_id]
                if result == ItemResult.UNAVAILABLE:
                    raise Conflict("This repository cannot be enabled at the moment; the list says why.")
                session.flush()
                new = select(Enablement).where(Enablement.repository_id == repository_id)
                session.exec(new).one().sqlmodel_update({"services": services, "ends_at": ends_at})
        return row.repository.path_with_namespace


def _after(key: str) -> list[ColumnElement[bool]]:
    at, _, number = key.rpartition(",")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return []
    if moment.tzinfo is None or not (number.isascii() and number.isdigit() and len(number) < 19):
        return []
    same = and_(last_said == moment, col(Enablement.id) > int(number))
    return [or_(last_said > moment, same)]


def _entries(session: Session, found: Sequence[tuple[Enablement, Repository, Connection]]) -> list[Entry]:
    people = {one for row, _, _ in found for one in (row.enabled_by_user_id, row.reviewed_by_user_id)} - {None}
    names = {user.id: user.name for user in session.exec(select(User).where(col(User.id).in_(people)))}
    return [
        Entry(
            repository,
            connection,
            row,
            "" if row.rule_id is not None else names.get(row.enabled_by_user_id, ""),
            names.get(row.reviewed_by_user_id, ""),
        )
        for row, repository, connection in found
    ]


def _is_before(gone: type[Repository], new: type[Repository] | Repository) -> list[ColumnElement[bool]]:
    """Return the conditions for a repository that is gone and had the path that another one has now."""
    return [
        col(gone.missing_since).is_not(None),
        col(gone.connection_id) == new.connection_id,
        col(gone.path_with_namespace) == new.path_with_namespace,
        col(gone.id) != new.id,
    ]


def _created_again(session: Session, which: ColumnElement[bool]) -> list[CreatedAgain]:
    gone, old, own = aliased(Repository), aliased(Enablement), aliased(Enablement)
    # Few usually, and by their index. In one statement, SQLite would go through all repositories instead.
    lost = select(col(Repository.path_with_namespace)).join(old, col(old.repository_id) == col(Repository.id))
    paths = sorted(set(session.exec(lost.where(col(Repository.missing_since).is_not(None)))))
    found: list[tuple[Repository, Connection, Repository]] = []
    for start in range(0, len(paths), PATHS_AT_ONCE):
        some = paths[start : start + PATHS_AT_ONCE]
        statement = (
            select(Repository, Connection, gone)
            .join(Connection, col(Connection.id) == col(Repository.connection_id))
            .join(gone, and_(*_is_before(gone, Repository)))
            .join(old, col(old.repository_id) == col(gone.id))
            .outerjoin(own, col(own.repository_id) == col(Repository.id))
            .where(
                which,
                col(Repository.path_with_namespace).in_(some),
                col(Repository.missing_since).is_(None),
                col(own.id).is_(None),
            )
            .order_by(col(Repository.path_with_namespace), col(Repository.id))
            .limit(SHOWN_AGAIN - len(found))
        )
        found += session.exec(statement).all()
        if len(found) == SHOWN_AGAIN:
            break
    return [
        CreatedAgain(new, connection, before.missing_since)
        for new, connection, before in found
        if before.missing_since is not None
    ]
