"""What deliveries change, in batches.

A delivery is a hint that something happened, never the new state: GitLab may send it late, twice or in another order.
So it moves a time forward, or has a project or the whole list read again, which gives the same result whatever the
order. Capabilities that want events (`Capability.on_events`) get them in the same transaction.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy
from sqlalchemy import Table, bindparam, func, literal_column, update
from sqlmodel import Session, col, select

from portal.connections.models import Connection, ConnectionState
from portal.db import utc_now
from portal.gitlab.hooks import Level
from portal.jobs import JobContext
from portal.logs import get_logger
from portal.repositories.catalogue.run import enqueue_catalogue_read
from portal.repositories.models import GitLabGroup, Repository
from portal.runtime import Runtime
from portal.webhooks.counts import Counted, add_counts
from portal.webhooks.happenings import Event, read_event
from portal.webhooks.models import Delivery, DeliveryCount, Hook, HookPlan, Outcome, Verdict
from portal.webhooks.projects import connections_to_ask, enqueue_projects_read

BATCH = 500
# Not a bound parameter: with one, neither database could know that the index of waiting deliveries has the answer.
IS_WAITING = col(Delivery.verdict) == literal_column(f"'{Verdict.WAITING}'")
# What the bodies of a batch may hold together.
BATCH_BYTES = 16 * 1024 * 1024
APPLY_SECONDS = 1
# After the last delivery, the job that applies them looks this often for others, for so long.
LOOK_SECONDS = 0.1
LINGER_SECONDS = 5.0
# GitLab moves a project's last activity at most once an hour (api/projects).
ACTIVITY_EVERY = timedelta(hours=1)
# Within this time, what several hooks report about one thing has arrived: GitLab's queue may be long.
OVERLAP = timedelta(minutes=10)
EFFECTS = {
    "": "Nothing yet",
    "activity": "The repository's last activity is up to date",
    "read": "The list of repositories is read again",
    "project_read": "The repository was read again",
    "project_gone": "The repository is no longer there: the list is read again",
    "project_unread": "Nothing: GitLab did not answer, so the next read of the list finds it",
    "known": "Nothing: it is older than what is known",
    "recent": "Nothing: the repository's last activity is less than an hour old",
    "passed_on": "Passed on to the services that use this event",
    "failed": "Nothing: Gatehouse failed to use it; the log says why",
    "not_enabled": "Nothing: the repository is not known here",
    "unused": "Nothing: Gatehouse does not use this event",
    "no_json": "Nothing: it is not valid JSON",
    "other_project": "Nothing: it is about another project than its webhook",
    "other_group": "Nothing: its project is not in the group of its webhook",
    "hook_gone": "Nothing: its webhook was gone, so no one knows what it may report",
    "twice": "Nothing: another webhook had reported the same",
}
log = get_logger(__name__)
_DELIVERIES: Table = Delivery.__table__  # type: ignore[attr-defined]
_REPOSITORIES: Table = Repository.__table__  # type: ignore[attr-defined]


def has_waiting(runtime: Runtime) -> bool:
    """Return whether a delivery waits to be applied."""
    with runtime.database.reading() as session:
        return session.exec(select(Delivery.id).where(IS_WAITING).limit(1)).first() is not None


def has_work(runtime: Runtime) -> bool:
    """Return whether a delivery waits, or a read of projects ended just before another became necessary."""
    return has_waiting(runtime) or bool(connections_to_ask(runtime))


def apply_waiting(context: JobContext) -> None:
    """Apply everything that waits, and what comes within the next seconds: a busy GitLab needs no job every second."""
    for connection in connections_to_ask(context.runtime):
        with context.transaction() as session:
            enqueue_projects_read(session, connection)
    done, end = 0, time.monotonic() + LINGER_SECONDS
    while True:
        if count := apply_batch(context.runtime):
            done, end = done + count, time.monotonic() + LINGER_SECONDS
            context.progress(done)
        elif time.monotonic() > end:
            return
        else:
            time.sleep(LOOK_SECONDS)
        context.raise_if_stopped()


def apply_batch(runtime: Runtime) -> int:
    """Apply some deliveries in one transaction, each exactly once; return how many.

    They are read before it begins: on SQLite, deliveries that arrive wait until it ends.
    """
    columns: tuple[Any, ...] = (
        *(Delivery.id, Delivery.connection_id, Delivery.received_at, Delivery.level, Delivery.subject_id),
        *(Delivery.hook_id, Delivery.body),
    )
    with runtime.database.reading() as session:
        ids = _small_enough(session, choose_batch(session))
        chosen = sqlalchemy.select(*columns).where(col(Delivery.id).in_(ids)).order_by(col(Delivery.id))
        found = session.execute(chosen).all() if ids else []
    events = [
        read_event(Event(number, connection_id, at, source=(level, subject_id), hook_id=hook_id), packed)
        for number, connection_id, at, level, subject_id, hook_id, packed in found
    ]
    if not events:
        return 0
    with runtime.database.transaction() as session:
        # First, and in order: whoever removes a hook changes its deliveries after it.
        hooks = select(Hook.id).where(col(Hook.id).in_({event.hook_id for event in events})).order_by(col(Hook.id))
        there = set(session.exec(hooks.with_for_update(read=True, key_share=True)))
        # Another worker may have taken some of them since.
        mine = select(Delivery.id).where(col(Delivery.id).in_(ids), IS_WAITING).order_by(col(Delivery.id))
        claimed = set(session.exec(mine.with_for_update()))
        events = [event for event in events if event.delivery_id in claimed]
        for connection_id in sorted({event.connection_id for event in events}):
            _apply(runtime, session, connection_id, [one for one in events if one.connection_id == connection_id])
        add_counts(
            session,
            (
                Counted(one.connection_id, one.hook_id, Outcome.RECEIVED, one.received_at, one.received_at)
                for one in events
                if one.hook_id is not None and one.hook_id in there
            ),
        )
    return len(ids)


def _small_enough(session: Session, ids: list[int]) -> list[int]:
    sizes = dict(
        session.execute(sqlalchemy.select(_DELIVERIES.c.id, _DELIVERIES.c.size).where(_DELIVERIES.c.id.in_(ids))).all()
    )
    sums = itertools.accumulate(sizes.get(number, 0) for number in ids)
    return [number for number, size in zip(ids, sums, strict=True) if size <= BATCH_BYTES]


def choose_batch(session: Session) -> list[int]:
    """Return the ids of deliveries to apply next: of each hook the oldest, then the second oldest, and so on.

    A flood from one project does not keep the others waiting, and the hook of the oldest delivery of all is among them.
    Each step is one look into an index, so a batch takes the same time whatever waits behind it.
    """
    hook_id, own_id = col(Delivery.hook_id), col(Delivery.id)
    oldest, lowest = (select(func.min(column)).where(IS_WAITING).scalar_subquery() for column in (own_id, hook_id))
    hooks = select(hook_id.label("hook_id")).where(own_id == oldest).cte("hooks", recursive=True)
    following = select(func.min(hook_id)).where(IS_WAITING, hook_id > hooks.c.hook_id).scalar_subquery()
    # UNION drops what it has already found, which ends the circle.
    hooks = hooks.union(sqlalchemy.select(func.coalesce(following, lowest)).select_from(hooks))
    first = sqlalchemy.select(hooks.c.hook_id).where(hooks.c.hook_id.is_not(None)).limit(BATCH).subquery()
    begin = select(func.min(own_id)).where(IS_WAITING, hook_id == first.c.hook_id).scalar_subquery()
    turn = sqlalchemy.select(first.c.hook_id, begin.label("id")).cte("turn", recursive=True)
    later = select(func.min(own_id)).where(IS_WAITING, hook_id == turn.c.hook_id, own_id > turn.c.id).scalar_subquery()
    turn = turn.union_all(sqlalchemy.select(turn.c.hook_id, later).where(turn.c.id.is_not(None)))
    ids = list(session.execute(sqlalchemy.select(turn.c.id).where(turn.c.id.is_not(None)).limit(BATCH)).scalars())
    # Of hooks that are gone.
    orphans = select(Delivery.id).where(IS_WAITING, hook_id.is_(None)).order_by(own_id).limit(BATCH // 10)
    return [*ids, *(number for number in session.exec(orphans) if number)]


def _apply(runtime: Runtime, session: Session, connection_id: int, events: list[Event]) -> None:
    events = _of_own_groups(session, connection_id, events)
    copies = _reported_before(session, connection_id, events)
    named = {event.project_id for event in events if event.about and event.project_id}
    mine = (col(Repository.connection_id) == connection_id, col(Repository.gitlab_project_id).in_(named))
    columns: tuple[Any, ...] = (
        *(Repository.gitlab_project_id, Repository.id, Repository.is_empty, Repository.last_activity_at),
    )
    known = {row.gitlab_project_id: row for row in session.execute(sqlalchemy.select(*columns).where(*mine))}
    newest: dict[int, datetime | None] = {row.id: row.last_activity_at for row in known.values()}
    moved: dict[int, datetime] = {}
    outcomes: dict[int, tuple[Verdict, str]] = {}
    for event in events:
        repository, outcome = known.get(event.project_id or 0), (event.verdict, event.effect)
        if event.delivery_id in copies:
            outcome = Verdict.IGNORED, "twice"
        elif event.about == "structure":
            is_gone = repository is None and event.kind == "project_destroy"
            unknown = (Verdict.IGNORED, "not_enabled") if is_gone else (Verdict.APPLIED, "read")
            outcome = (Verdict.READING, "") if repository is not None else unknown
        elif event.about == "activity" and repository is None:
            outcome = Verdict.IGNORED, "not_enabled"
        elif event.about == "activity" and repository is not None:
            before = newest[repository.id]
            if event.at is not None and not repository.is_empty:
                is_newer = before is None or before < event.at
                outcome = Verdict.APPLIED, "activity" if is_newer else "known"
                if is_newer:
                    newest[repository.id] = moved[repository.id] = event.at
            elif before is None or before < event.received_at - ACTIVITY_EVERY or repository.is_empty:
                outcome = Verdict.READING, ""
            else:
                outcome = Verdict.APPLIED, "recent"
        outcomes[event.delivery_id] = outcome
    first = [event for event in events if event.delivery_id not in copies]
    _pass_on(runtime, session, connection_id, first, outcomes)
    connection, now = session.connection(), utc_now()
    if moved:
        rows = [{"of": number, "last_activity_at": at} for number, at in moved.items()]
        connection.execute(update(_REPOSITORIES).where(_REPOSITORIES.c.id == bindparam("of")), rows)
    # One statement for each is quick here, and the session's own way is not.
    done = update(_DELIVERIES).where(_DELIVERIES.c.id == bindparam("of")).values(applied_at=now, body=None)
    applied = [
        {
            "of": event.delivery_id,
            "gitlab_project_id": event.project_id,
            "happening": event.happening,
            "occurrence": event.occurrence,
            "verdict": verdict,
            "effect": effect,
        }
        for event, (verdict, effect) in zip(events, outcomes.values(), strict=True)
    ]
    connection.execute(done, applied)
    owner = session.get_one(Connection, connection_id)
    if owner.state in {ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION}:
        if (Verdict.APPLIED, "read") in outcomes.values():
            enqueue_catalogue_read(session, owner)
        if (Verdict.READING, "") in outcomes.values():
            enqueue_projects_read(session, owner)


def _of_own_groups(session: Session, connection_id: int, events: list[Event]) -> list[Event]:
    """Refuse what the hook of a group says about projects outside of it: its secret is for the group only."""
    named = {event.project_id for event in events if event.source[0] == Level.GROUP and event.project_id}
    if not named:
        return events
    project_id, parent_id = col(Repository.gitlab_project_id), col(GitLabGroup.parent_gitlab_group_id)
    mine = (col(Repository.connection_id) == connection_id, project_id.in_(named))
    own: Any = sqlalchemy.select(project_id.label("project_id"), col(Repository.gitlab_namespace_id).label("group_id"))
    above = own.where(*mine).cte("above", recursive=True)
    of_parent = (col(GitLabGroup.connection_id) == connection_id, col(GitLabGroup.gitlab_group_id) == above.c.group_id)
    parents = sqlalchemy.select(above.c.project_id, parent_id).where(*of_parent, parent_id.is_not(None))
    inside = {tuple(row) for row in session.execute(sqlalchemy.select(above.union(parents)))}
    known = {number for number, _ in inside}

    def is_outside(event: Event) -> bool:
        level, group_id = event.source
        return level == Level.GROUP and event.project_id in known and (event.project_id, group_id) not in inside

    return [event.refused("other_group") if is_outside(event) else event for event in events]


def _reported_before(session: Session, connection_id: int, events: Iterable[Event]) -> set[int]:
    """Return the deliveries that say what one of another hook has said: that of a group and of a project in it, say.

    The same may happen twice within minutes, and each hook reports it twice then: the second delivery of one hook is
    only a copy if another hook has had its second.
    """
    told = [event for event in events if event.occurrence is not None]
    if not told:
        return set()
    # Two workers must not each take the other's for the first.
    session.exec(select(HookPlan.level).where(HookPlan.connection_id == connection_id).with_for_update()).first()
    since = min(event.received_at for event in told) - OVERLAP
    which = (
        col(Delivery.connection_id) == connection_id,
        col(Delivery.occurrence).in_({event.occurrence for event in told}),
        col(Delivery.received_at) > since,
    )
    columns: tuple[Any, ...] = (Delivery.occurrence, Delivery.level, Delivery.subject_id)
    counted = sqlalchemy.select(*columns, func.count()).where(*which).group_by(*columns)
    by_source: defaultdict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for occurrence, level, subject_id, count in session.execute(counted):
        by_source[occurrence][level, subject_id] = count
    copies: set[int] = set()
    for event in told:
        counts = by_source[event.occurrence or ""]
        if counts[event.source] < max(counts.values(), default=0):
            copies.add(event.delivery_id)
        counts[event.source] += 1
    return copies


def _pass_on(
    runtime: Runtime,
    session: Session,
    connection_id: int,
    events: list[Event],
    outcomes: dict[int, tuple[Verdict, str]],
) -> None:
    """Give each capability the events that it wants; what one cannot use does not keep the others waiting."""
    for capability in runtime.capabilities.all:
        wanted = [event for event in events if event.kind in capability.event_kinds]
        if not wanted or capability.on_events is None:
            continue
        try:
            with session.begin_nested():
                capability.on_events(session, connection_id, wanted)
        except Exception:
            log.exception("events_not_used", capability=capability.name, events=len(wanted))
            outcomes |= {event.delivery_id: (Verdict.POISON, "failed") for event in wanted}
        else:
            unused = [event for event in wanted if outcomes[event.delivery_id][1] == "unused"]
            outcomes |= {event.delivery_id: (Verdict.APPLIED, "passed_on") for event in unused}


def has_old(runtime: Runtime) -> bool:
    """Return whether there is a delivery or a count to forget."""
    # The ones with the lowest ids: there is no index of times, which every delivery would have to be written to.
    first, first_count = (select(func.min(col(table.id))).scalar_subquery() for table in (Delivery, DeliveryCount))
    with runtime.database.reading() as session:
        received_at = session.exec(select(Delivery.received_at).where(col(Delivery.id) == first)).first()
        hour = session.exec(select(DeliveryCount.hour).where(col(DeliveryCount.id) == first_count)).first()
    return any(at is not None and at < _oldest(runtime) for at in (received_at, hour))


def forget_old(context: JobContext) -> None:
    """Delete what is older than the setting says."""
    database, oldest = context.runtime.database, _oldest(context.runtime)
    old = select(Delivery.id).where(col(Delivery.received_at) < oldest)
    count = database.delete_in_batches(Delivery, old, context.raise_if_stopped)
    database.delete_in_batches(
        DeliveryCount, select(DeliveryCount.id).where(col(DeliveryCount.hour) < oldest), context.raise_if_stopped
    )
    context.progress(count)


def _oldest(runtime: Runtime) -> datetime:
    return utc_now() - timedelta(days=runtime.settings.delivery_days)
