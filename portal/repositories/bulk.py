"""Enable or disable everything that matches a view: confirming fixes the list, and a job does the rest.

Each repository of the list gets one result, in the transaction that changes it. Whoever asked may lose the right while
the job runs; it is read again in each transaction, and what is left then stays as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, case, exists, func, insert, literal, or_, select, update
from sqlmodel import Session, col

from portal import audit
from portal.accounts.models import User
from portal.accounts.principal import load_principal, require_right_now
from portal.actor import Principal, Right, RightLost
from portal.connections.models import Connection, ConnectionState
from portal.crash_points import crash_point
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput, NotFound
from portal.jobs import Job, JobContext, enqueue, find_unfinished
from portal.repositories.enablement import change_rows, record_change
from portal.repositories.models import (
    BulkChange,
    BulkItem,
    Enablement,
    HeldBack,
    ItemResult,
    Reason,
    Repository,
    keep_counts,
    visible_to,
)
from portal.repositories.selection import EXPORT_BATCH, Filters, Row, get_rows, match
from portal.runtime import Runtime

CHANGE_ALL = "repositories.change_all"
# In one transaction: others wait for it, and a worker that is killed repeats no more than this.
BATCH = 8
# So many changes need the number to be typed.
TYPED_ABOVE = 100
SHOWN = 100
# The results as people read them.
RESULTS = {
    ItemResult.NOT_ALLOWED: "No longer allowed",
    ItemResult.CHANGED_SINCE: "Changed since",
    ItemResult.UNAVAILABLE: "Unavailable",
    ItemResult.WAITING: "Waiting",
    ItemResult.CHANGED: "Changed",
    ItemResult.UNCHANGED: "Unchanged",
}
# What needs someone comes first.
IN_ORDER = tuple(RESULTS)


@dataclass
class Preview:
    """What enabling or disabling everything that matches would do.

    Attributes:
        matching: how many repositories match.
        changing: how many would change.
        refused: how many cannot be enabled, by the code of the reason.
        groups: how many would change in each group directly below the chosen one, most first.
        rows: the first of those that match.
    """

    enabled: bool
    matching: int = 0
    changing: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def verb(self) -> str:
        """What is done, as a button says it."""
        return "Enable" if self.enabled else "Disable"

    @property
    def already(self) -> int:
        """How many are already as wanted."""
        return self.matching - self.changing - sum(self.refused.values())

    @property
    def needs_number(self) -> bool:
        """Whether the number has to be typed."""
        return self.changing > TYPED_ABOVE


def preview(runtime: Runtime, principal: Principal, filters: Filters, *, enabled: bool) -> Preview:
    """Say what would change, with the first rows of the list."""
    with runtime.database.reading() as session:
        known = match(session, principal, filters.unpaged)
        found = _judge(session, filters, known.conditions, enabled=enabled) if known.count else Preview(enabled)
        if found.matching:
            path, number = col(Repository.path_with_namespace), col(Repository.id)
            first = select(number).where(*known.conditions, _changes(enabled=enabled))
            first = first.order_by(path, number).limit(SHOWN)
            found.rows = get_rows(session, principal, list(session.execute(first).scalars()))
    return found


def start(
    runtime: Runtime,
    principal: Principal,
    filters: Filters,
    *,
    enabled: bool,
    matching: int,
    changing: int,
    confirmation: str = "",
) -> tuple[Job, bool]:
    """Fix the list and start to change it, if it is still what the person was shown.

    Returns:
        The job, and whether it is new: someone may have started the same a moment ago.

    Raises:
        Conflict: the numbers have changed since.
        InvalidInput: nothing would change, or the number was not typed.
        RightLost: their rights have changed.
    """
    filters = filters.unpaged
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        key = _key(principal, filters, enabled=enabled)
        if running := find_unfinished(session, key):
            return running, False
        found, verb = Preview(enabled), "Enable" if enabled else "Disable"
        job = _enqueue(
            session, principal, key, f"{verb} {changing:,} {'repository' if changing == 1 else 'repositories'}"
        )
        if session.execute(select(col(BulkChange.id)).where(col(BulkChange.job_id) == job.id)).first():
            return job, False  # Another request was first.
        known = match(session, principal, filters)
        bulk = BulkChange(
            job_id=job.id or 0,
            organization_id=principal.organization_id,
            # Erased with it: the filters may name its groups.
            connection_id=known.connections[0] if len(known.connections) == 1 else None,
            user_id=principal.user_id,
            enabled=enabled,
            filters=filters.parameters(),
        )
        if known.count:
            chosen = select(col(Repository.id)).where(*known.conditions)
            _add_items(session, bulk, chosen.order_by(col(Repository.path_with_namespace)))
            # Of the list that is stored now: the search is not repeated.
            listed = select(col(BulkItem.repository_id)).where(col(BulkItem.bulk_id) == bulk.id)
            found = _judge(session, filters, [col(Repository.id).in_(listed)], enabled=enabled)
        # Each of these takes back the job and the list.
        if (found.matching, found.changing) != (matching, changing):
            raise Conflict("The list has changed since you looked. Check the numbers again.")
        if not changing:
            raise InvalidInput("Nothing would change.")
        if found.needs_number and "".join(filter(str.isdigit, confirmation)) != str(changing):
            raise InvalidInput(field_errors={"confirmation": f"Type {changing} to confirm."})
        audit.record(
            session,
            principal.actor,
            "repository.bulk_started",
            job.target,
            matching=matching,
            changing=changing,
            filters=bulk.filters,
        )
        return job, True


def start_undo(runtime: Runtime, principal: Principal, public_id: str) -> Job:
    """Start to restore what a change did, where nothing has changed since.

    Raises:
        NotFound: there is no such change for this person.
        Conflict: it is still running, or there is nothing to undo.
    """
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        bulk, undone = _find(session, principal, public_id)
        job = _enqueue(
            session, principal, f"undo_change:{bulk.id}", f"Undo: {undone.title[:1].lower()}{undone.title[1:]}"
        )
        if session.execute(select(col(BulkChange.id)).where(col(BulkChange.job_id) == job.id)).first():
            return job
        if not undone.is_finished or bulk.undo_of_id is not None:
            raise Conflict("This can't be undone.")
        undo = BulkChange(
            job_id=job.id or 0,
            organization_id=bulk.organization_id,
            connection_id=bulk.connection_id,
            user_id=principal.user_id,
            enabled=bulk.enabled,
            filters=bulk.filters,
            undo_of_id=bulk.id,
        )
        changed = select(col(BulkItem.repository_id)).where(
            col(BulkItem.bulk_id) == bulk.id, col(BulkItem.result) == ItemResult.CHANGED
        )
        _add_items(session, undo, changed.order_by(col(BulkItem.id)))
        if not count_results(session, undo):
            raise Conflict("Nothing was changed, so there is nothing to undo.")
        audit.record(session, principal.actor, "repository.bulk_started", job.target)
        return job


def run_change_all(context: JobContext) -> None:
    """Give each repository of a list its result; those that have one are left out."""
    with context.runtime.database.reading() as session:
        own = col(BulkChange.job_id) == context.job_id
        bulk = session.execute(select(BulkChange).where(own)).scalar_one_or_none()
        if bulk is None:
            return  # Its connection has been erased.
        results = count_results(session, bulk)
    total, done = sum(results.values()), sum(results.values()) - results.get(ItemResult.WAITING, 0)
    while True:
        context.raise_if_stopped()
        with context.transaction() as session:
            more = _do_some(session, bulk)
        crash_point("bulk:batch_stored")
        if not more:
            break
        done += more
        context.progress(done, total)
    with context.runtime.database.reading() as session:
        results = count_results(session, bulk)
    context.progress(total, total, sentence_of(bulk, results))


def _do_some(session: Session, bulk: BulkChange) -> int:
    """Change the next few, or say of all that are left that this is not allowed; return how many have a result now."""
    waiting = (col(BulkItem.bulk_id) == bulk.id, col(BulkItem.result) == ItemResult.WAITING)
    mine = select(BulkItem).where(*waiting).order_by(col(BulkItem.id)).limit(BATCH)
    items = {item.repository_id: item for item in session.execute(mine.with_for_update()).scalars()}
    if not items:
        return 0
    principal = load_principal(session, bulk.user_id, bulk.organization_id)
    try:
        if principal is None:
            raise RightLost(Right.ENABLE_REPOSITORIES)
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
    except RightLost:
        refused = update(BulkItem).where(*waiting).values(result=ItemResult.NOT_ALLOWED)
        return session.connection().execute(refused).rowcount
    now = utc_now()
    with keep_counts(session, col(Repository.id).in_(items)):
        rows = get_rows(session, principal, list(items))
        before = _snapshots(session, rows)
        if bulk.undo_of_id is not None:
            results = _restore(session, principal, bulk, rows)
        else:
            results = change_rows(session, principal, rows, enabled=bulk.enabled, at=now)
        for number, item in items.items():
            # What they may not see any more is not theirs to change.
            item.result = results.get(number, ItemResult.NOT_ALLOWED)
            if item.result == ItemResult.CHANGED:
                item.changed_at, item.before = now, before[number]
            crash_point("bulk:item_changed")
    return len(items)


def _snapshots(session: Session, rows: list[Row]) -> dict[int, dict[str, Any]]:
    ids = [row.repository.id or 0 for row in rows]
    held = select(HeldBack).where(col(HeldBack.repository_id).in_(ids))
    held_back = {item.repository_id: item.model_dump(mode="json") for item in session.execute(held).scalars()}
    return {
        row.repository.id or 0: {
            "enablement": row.enablement.model_dump(mode="json", exclude={"id"}) if row.enablement else None,
            "held_back": held_back.get(row.repository.id or 0),
        }
        for row in rows
    }


def _restore(session: Session, principal: Principal, undo: BulkChange, rows: list[Row]) -> dict[int, ItemResult]:
    """Bring repositories back to what they were before a change, unless something else has changed them since."""
    ids = [row.repository.id for row in rows]
    changed = select(BulkItem).where(col(BulkItem.bulk_id) == undo.undo_of_id, col(BulkItem.repository_id).in_(ids))
    known = {item.repository_id: item for item in session.execute(changed).scalars()}
    by = session.execute(select(col(BulkChange.user_id)).where(col(BulkChange.id) == undo.undo_of_id)).scalar()
    results = {}
    for row in rows:
        number = row.repository.id or 0
        item, held, enablement = known.get(number), session.get(HeldBack, number), row.enablement
        if undo.enabled:
            is_ours = enablement is not None and (enablement.enabled_at, enablement.enabled_by_user_id)
        else:
            is_ours = enablement is None and held is not None and (held.at, held.user_id)
        if item is None or item.before is None or is_ours != (item.changed_at, by):
            results[number] = ItemResult.CHANGED_SINCE
            continue
        for owned in (enablement, held):
            if owned is not None:
                session.delete(owned)
        session.flush()
        for table, name in ((Enablement, "enablement"), (HeldBack, "held_back")):
            if item.before[name]:
                session.add(table.model_validate(item.before[name]))
        results[number] = ItemResult.CHANGED
        record_change(session, principal, row.repository, enabled=not undo.enabled)
    return results


@dataclass(frozen=True)
class BulkPage:
    """A change as its page shows it.

    Attributes:
        results: how many repositories have each result.
        items: some of them, with their repositories; those that failed first.
        undo: the job that undoes it; None if no one has asked for that.
        by: name of whoever asked for it.
        may_stop: whether this person may stop it.
    """

    bulk: BulkChange
    job: Job
    results: dict[ItemResult, int]
    items: list[tuple[BulkItem, Row]]
    undo: Job | None
    by: str
    may_stop: bool

    @property
    def total(self) -> int:
        """How many repositories there are."""
        return sum(self.results.values())

    @property
    def left(self) -> int:
        """How many have no result yet, or never will because the job has ended."""
        return self.results.get(ItemResult.WAITING, 0)

    @property
    def done(self) -> int:
        """How many have a result."""
        return self.total - self.left

    def word(self, item: BulkItem) -> str:
        """Return what happened to a repository, in a word."""
        if item.result == ItemResult.CHANGED:
            return "Restored" if self.bulk.undo_of_id is not None else "Enabled" if self.bulk.enabled else "Disabled"
        return RESULTS[ItemResult(item.result)]

    @property
    def sentence(self) -> str:
        """What has been done so far."""
        return sentence_of(self.bulk, self.results)

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo, and no one has asked for that."""
        is_done = self.job.is_finished and self.bulk.undo_of_id is None and self.undo is None
        return is_done and bool(self.results.get(ItemResult.CHANGED))


def load_page(runtime: Runtime, principal: Principal, public_id: str) -> BulkPage:
    """Return a change with its results.

    Raises:
        NotFound: there is no such change for this person.
    """
    with runtime.database.reading() as session:
        bulk, job = _find(session, principal, public_id)
        undo = (
            select(Job)
            .join(BulkChange, col(BulkChange.job_id) == col(Job.id))
            .where(col(BulkChange.undo_of_id) == bulk.id)
            .order_by(col(Job.id).desc())
        )
        items: list[tuple[BulkItem, Row]] = []
        for result in IN_ORDER:
            statement = _items(principal, bulk).where(col(BulkItem.result) == result).order_by(col(BulkItem.id))
            found = session.execute(statement.limit(SHOWN - len(items))) if len(items) < SHOWN else ()
            items += [(item, Row(*row)) for item, *row in found]
        return BulkPage(
            bulk=bulk,
            job=job,
            results=count_results(session, bulk),
            items=items,
            undo=session.execute(undo.limit(1)).scalar(),
            by=session.execute(select(col(User.name)).where(col(User.id) == bulk.user_id)).scalar() or "",
            may_stop=principal.may(Right.MANAGE_CONNECTIONS) or bulk.user_id == principal.user_id,
        )


def export_results(runtime: Runtime, principal: Principal, public_id: str) -> Iterator[tuple[BulkItem, Row]]:
    """Yield every repository of a change that this person may see, with its result, in short transactions.

    Raises:
        NotFound: there is no such change for this person.
    """
    with runtime.database.reading() as session:
        bulk, _ = _find(session, principal, public_id)
    return _iterate(runtime, principal, bulk)


def _iterate(runtime: Runtime, principal: Principal, bulk: BulkChange) -> Iterator[tuple[BulkItem, Row]]:
    last = 0
    while True:
        with runtime.database.reading() as session:
            statement = _items(principal, bulk).where(col(BulkItem.id) > last).order_by(col(BulkItem.id))
            rows = session.execute(statement.limit(EXPORT_BATCH)).all()
        yield from ((item, Row(*row)) for item, *row in rows)
        if len(rows) < EXPORT_BATCH:
            return
        last = rows[-1][0].id


def count_results(session: Session, bulk: BulkChange) -> dict[ItemResult, int]:
    """Return how many repositories have each result."""
    counted = select(col(BulkItem.result), func.count()).where(col(BulkItem.bulk_id) == bulk.id)
    return {ItemResult(name): number for name, number in session.execute(counted.group_by(col(BulkItem.result)))}


def sentence_of(bulk: BulkChange, results: dict[ItemResult, int]) -> str:
    """Say what has been done: "1,240 enabled, 12 cannot be enabled"."""
    done = "restored" if bulk.undo_of_id is not None else "enabled" if bulk.enabled else "disabled"
    said = {
        ItemResult.CHANGED: done,
        ItemResult.UNCHANGED: f"already {done}",
        ItemResult.UNAVAILABLE: "can’t be enabled",
        ItemResult.NOT_ALLOWED: "no longer allowed",
        ItemResult.CHANGED_SINCE: "changed since and left as they are",
    }
    return ", ".join(f"{results[result]:,} {words}" for result, words in said.items() if results.get(result))


def _find(session: Session, principal: Principal, public_id: str) -> tuple[BulkChange, Job]:
    own = select(BulkChange, Job).join(Job, col(Job.id) == col(BulkChange.job_id))
    own = own.where(col(Job.public_id) == public_id, col(BulkChange.organization_id) == principal.organization_id)
    if not principal.sees_all_groups:
        own = own.where(col(BulkChange.user_id) == principal.user_id)
    row = session.execute(own).one_or_none()
    if row is None:
        raise NotFound
    return row[0], row[1]


def _items(principal: Principal, bulk: BulkChange) -> Any:
    return (
        select(BulkItem, Repository, Connection, Enablement)
        .join(Repository, col(Repository.id) == col(BulkItem.repository_id))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(col(BulkItem.bulk_id) == bulk.id, visible_to(principal))
    )


def _judge(session: Session, filters: Filters, which: list[ColumnElement[bool]], *, enabled: bool) -> Preview:
    """Count repositories by group, and by what would happen to them."""
    result = Preview(enabled)
    reason = case(
        (col(Connection.state) == ConnectionState.DISCONNECTED, literal(Reason.DISCONNECTED.value)),
        (col(Repository.missing_since).is_not(None), literal(Reason.MISSING.value)),
        else_=col(Repository.unavailable_reason),
    ).label("reason")
    is_enabled = exists().where(col(Enablement.repository_id) == col(Repository.id)).label("is_enabled")
    counted = (
        select(col(Repository.namespace_path), reason, is_enabled, func.count())
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .where(*which)
        .group_by(col(Repository.namespace_path), reason, is_enabled)
    )
    groups: dict[str, int] = {}
    depth = filters.group.count("/") + 1 if filters.group else 0
    for group, code, has_it, number in session.execute(counted):
        result.matching += number
        if enabled and not has_it and code:
            result.refused[code] = result.refused.get(code, 0) + number
        elif bool(has_it) != enabled:
            result.changing += number
            # Of the level below the chosen group.
            shown = "/".join(group.split("/")[: depth + 1])
            groups[shown] = groups.get(shown, 0) + number
    result.groups = dict(sorted(groups.items(), key=lambda item: (-item[1], item[0])))
    return result


def _changes(*, enabled: bool) -> Any:
    """Return the condition for repositories that would change, as far as their own row says."""
    is_enabled = exists().where(col(Enablement.repository_id) == col(Repository.id))
    if not enabled:
        return is_enabled
    is_free = ~or_(col(Repository.unavailable_reason) != "", col(Repository.missing_since).is_not(None))
    return ~is_enabled & is_free


def _key(principal: Principal, filters: Filters, *, enabled: bool) -> str:
    """Return what keeps two people from starting the same at once: those who see the same repositories share it."""
    view = json.dumps(filters.parameters(), sort_keys=True)
    digest = hashlib.blake2b(view.encode(), digest_size=16).hexdigest()
    scope = "all" if principal.sees_all_groups else f"membership-{principal.membership_id}"
    return f"change_all:{principal.organization_id}:{scope}:{'enable' if enabled else 'disable'}:{digest}"


def _enqueue(session: Session, principal: Principal, key: str, title: str) -> Job:
    return enqueue(
        session, CHANGE_ALL, organization_id=principal.organization_id, title=title, key=key, actor=principal.actor
    )


def _add_items(session: Session, bulk: BulkChange, chosen: Any) -> None:
    """Store a change with its list of repositories."""
    session.add(bulk)
    session.flush()
    found = chosen.subquery()
    values = select(literal(bulk.id), *found.c, literal(ItemResult.WAITING.value))
    session.execute(insert(BulkItem).from_select(["bulk_id", "repository_id", "result"], values))
