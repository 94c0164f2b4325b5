"""What deliveries change, in batches; and what people see of them.

A delivery is a hint that something happened, never the new state: GitLab may send it late, twice or in another order.
So it moves a time forward, or has a project or the whole list read again, which gives the same result whatever the
order. Capabilities that want events (`Capability.on_events`) get them in the same transaction.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, Table, and_, bindparam, func, literal_column, or_, update
from sqlmodel import Session, col, select

from portal.actor import Principal
from portal.connections.models import Connection, ConnectionState
from portal.db import MAX_ID, utc_now
from portal.gitlab.hooks import Level
from portal.jobs import JobContext
from portal.logs import get_logger
from portal.net.json_reader import JSONRefused, read_json
from portal.repositories.catalogue.run import enqueue_catalogue_read
from portal.repositories.models import Repository, visible_to
from portal.repositories.selection import LIKE_ESCAPE, escape_like
from portal.runtime import Runtime
from portal.webhooks.changes import find_hook
from portal.webhooks.models import Delivery, Hook, Verdict
from portal.webhooks.projects import connections_to_ask, enqueue_projects_read

BATCH = 500
# Not a bound parameter: with one, neither database could know that the index of waiting deliveries has the answer.
IS_WAITING = col(Delivery.verdict) == literal_column(f"'{Verdict.WAITING}'")
# What the bodies of a batch may hold together.
BATCH_BYTES = 16 * 1024 * 1024
PER_PAGE = 50
MAX_QUERY = 200
APPLY_SECONDS = 1
# After the last delivery, the job that applies them looks this often for others, for so long.
LOOK_SECONDS = 0.1
LINGER_SECONDS = 5.0
# By `object_kind`: something happened in a project.
ACTIVITY = frozenset({"push", "tag_push", "merge_request", "issue", "work_item", "note"})
# By `event_name`: the list of repositories, a path or someone's role is different now.
STRUCTURE = ("project_", "group_", "subgroup_", "user_add_to_", "user_remove_from_", "user_update_for_", "user_rename")
# What the intake stores in place of deliveries beyond its limit.
COALESCED = "coalesced"
# GitLab moves a project's last activity at most once an hour (api/projects).
ACTIVITY_EVERY = timedelta(hours=1)
MAX_TIME = 40
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
}
log = get_logger(__name__)
_DELIVERIES: Table = Delivery.__table__  # type: ignore[attr-defined]
_REPOSITORIES: Table = Repository.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Event:
    """What one delivery says.

    Attributes:
        kind: GitLab's `object_kind` or `event_name`.
        at: when it happened, if GitLab says so.
        body: as GitLab sent it, without NUL and lone surrogates. Nothing in it has been checked.
        about: `activity` or `structure`, if the list of repositories has to know.
    """

    delivery_id: int
    connection_id: int
    received_at: datetime
    project_id: int | None = None
    kind: str = ""
    at: datetime | None = None
    body: dict[str, Any] = field(default_factory=dict)
    about: str = ""
    verdict: Verdict = Verdict.APPLIED
    effect: str = ""


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
        Delivery.id,
        Delivery.connection_id,
        Delivery.received_at,
        Delivery.body,
        Hook.level,
        Hook.subject_id,
    )
    of_hook = col(Hook.id) == col(Delivery.hook_id)
    with runtime.database.reading() as session:
        ids = _small_enough(session, choose_batch(session))
        chosen = sqlalchemy.select(*columns).outerjoin(Hook, of_hook).where(col(Delivery.id).in_(ids))
        found = session.execute(chosen.order_by(col(Delivery.id))).all() if ids else []
    events = [_read(*row) for row in found]
    if not events:
        return 0
    with runtime.database.transaction() as session:
        # Another worker may have taken some of them since.
        mine = select(Delivery.id).where(col(Delivery.id).in_(ids), IS_WAITING).order_by(col(Delivery.id))
        claimed = set(session.exec(mine.with_for_update()))
        by_connection: defaultdict[int, list[Event]] = defaultdict(list)
        for event in events:
            if event.delivery_id in claimed:
                by_connection[event.connection_id].append(event)
        for connection_id, some in by_connection.items():
            _apply(runtime, session, connection_id, some)
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


def _read(
    delivery_id: int,
    connection_id: int,
    received_at: datetime,
    packed: bytes,
    level: str | None,
    subject_id: int | None,
) -> Event:
    """Return what one delivery says, as far as the hook that it came from may say it."""
    event = Event(delivery_id, connection_id, received_at)
    try:
        body = read_json(zlib.decompress(packed or b""), "application/json", dict[str, Any])
    except (JSONRefused, zlib.error):
        return replace(event, verdict=Verdict.POISON, effect="no_json")
    about = [body, body.get("project"), body.get("object_attributes")]
    named = [item.get(name) for item in about if isinstance(item, dict) for name in ("project_id", "target_project_id")]
    project = body.get("project")
    named += [project.get("id")] if isinstance(project, dict) else []
    ids = [one for one in named if one is not None]
    number = next((one for one in ids if type(one) is int and 0 < one <= MAX_ID), None)
    if level == Level.PROJECT and ids:
        if subject_id not in ids:
            return replace(event, project_id=number, verdict=Verdict.POISON, effect="other_project")
        # It may name others too, such as where a merge request comes from. Its secret is for this project only.
        number = subject_id
    kind = str(body.get("object_kind") or body.get("event_name") or "")
    event = replace(event, project_id=number, kind=kind, at=_time_of(body, received_at), body=body)
    if kind in ACTIVITY or kind == "repository_update":
        return replace(event, about="activity")
    if kind == COALESCED:
        return replace(event, project_id=subject_id if level == Level.PROJECT else None, about="structure")
    if kind.startswith(STRUCTURE) and level != Level.PROJECT:  # GitLab sends none of these to the hook of a project.
        return replace(event, about="structure")
    return replace(event, verdict=Verdict.IGNORED, effect="unused")


def _time_of(body: dict[str, Any], received_at: datetime) -> datetime | None:
    """Return when it happened; None if GitLab does not say, as about a push, whose commits may be of any time."""
    about = body.get("object_attributes")
    said = about.get("updated_at") or about.get("created_at") if isinstance(about, dict) else None
    if not isinstance(said, str) or len(said) > MAX_TIME:
        return None
    try:
        # `2013-12-03T17:23:34Z` and `2017-09-15 16:50:55 UTC` (user/project/integrations/webhook_events).
        at = datetime.fromisoformat(said.replace(" UTC", "Z"))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(at, received_at) if at > EPOCH else None


def _apply(runtime: Runtime, session: Session, connection_id: int, events: list[Event]) -> None:
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
        if event.about == "structure":
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
    _pass_on(runtime, session, connection_id, events, outcomes)
    connection, now = session.connection(), utc_now()
    if moved:
        rows = [{"of": number, "last_activity_at": at} for number, at in moved.items()]
        connection.execute(update(_REPOSITORIES).where(_REPOSITORIES.c.id == bindparam("of")), rows)
    # One statement for each is quick here, and the session's own way is not.
    done = update(_DELIVERIES).where(_DELIVERIES.c.id == bindparam("of")).values(applied_at=now, body=None)
    applied = [
        {"of": event.delivery_id, "gitlab_project_id": event.project_id, "verdict": verdict, "effect": effect}
        for event, (verdict, effect) in zip(events, outcomes.values(), strict=True)
    ]
    connection.execute(done, applied)
    owner = session.get_one(Connection, connection_id)
    if owner.state in {ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION}:
        if (Verdict.APPLIED, "read") in outcomes.values():
            enqueue_catalogue_read(session, owner)
        if (Verdict.READING, "") in outcomes.values():
            enqueue_projects_read(session, owner)


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
            unused = [event for event in wanted if outcomes[event.delivery_id][0] == Verdict.IGNORED]
            outcomes |= {event.delivery_id: (Verdict.APPLIED, "passed_on") for event in unused}


# What people see.


@dataclass(frozen=True)
class DeliveryRow:
    """One line of the list."""

    delivery: Delivery
    path: str

    @property
    def effect(self) -> str:
        """What it changed."""
        return EFFECTS.get(self.delivery.effect, "")


@dataclass(frozen=True)
class DeliveriesPage:
    """Deliveries of a connection or of one hook, the newest first; `before` begins the next page."""

    rows: list[DeliveryRow]
    hook: Hook | None
    before: int | None
    query: str = ""
    verdict: str = ""


def load_deliveries(
    runtime: Runtime,
    principal: Principal,
    connection: Connection,
    hook_id: int | None,
    before: int | None,
    query: str = "",
    verdict: str = "",
) -> DeliveriesPage:
    """Return one page as this person may see it.

    Args:
        runtime: of this process.
        principal: who asks.
        connection: whose deliveries.
        hook_id: our id of the only hook; None for all.
        before: our id of the last delivery of the page before; None for the first page.
        query: part of a repository's path or of an event's name, or a delivery's key.
        verdict: the only one; empty for all.

    Raises:
        NotFound: there is no such hook that they may see.
    """
    statement = (
        select(Delivery, func.coalesce(col(Repository.path_with_namespace), ""))
        .join(Connection, col(Connection.id) == col(Delivery.connection_id))
        .outerjoin(Hook, col(Hook.id) == col(Delivery.hook_id))
        .outerjoin(Repository, _is_about())
        .where(col(Delivery.connection_id) == connection.id, visible_to(principal))
    )
    if query := query.strip()[:MAX_QUERY]:
        like = f"%{escape_like(query)}%"
        named = (col(part).ilike(like, escape=LIKE_ESCAPE) for part in (Repository.path_with_namespace, Delivery.event))
        statement = statement.where(or_(*named, col(Delivery.key) == query))
    if verdict:
        statement = statement.where(col(Delivery.verdict) == verdict)
    with runtime.database.reading() as session:
        hook = find_hook(session, principal, connection, hook_id) if hook_id is not None else None
        if hook is not None:
            statement = statement.where(col(Delivery.hook_id) == hook.id)
        if before is not None:
            statement = statement.where(col(Delivery.id) < before)
        found = session.exec(statement.order_by(col(Delivery.id).desc()).limit(PER_PAGE + 1)).all()
    rows = [DeliveryRow(delivery, path or connection.display_name) for delivery, path in found[:PER_PAGE]]
    return DeliveriesPage(rows, hook, rows[-1].delivery.id if len(found) > PER_PAGE else None, query, verdict)


def _is_about() -> ColumnElement[bool]:
    """Return the condition for the repository that a delivery names: of a hook that has only one, or by its id."""
    same = (col(Repository.connection_id) == col(Delivery.connection_id)) & (
        col(Repository.gitlab_project_id) == col(Delivery.gitlab_project_id)
    )
    return or_(col(Repository.id) == col(Hook.repository_id), and_(col(Hook.repository_id).is_(None), same))


def has_old(runtime: Runtime) -> bool:
    """Return whether there is a delivery to forget."""
    # The one with the lowest id: there is no index of times, which every delivery would have to be written to.
    first = select(func.min(col(Delivery.id))).scalar_subquery()
    with runtime.database.reading() as session:
        received_at = session.exec(select(Delivery.received_at).where(col(Delivery.id) == first)).first()
    return received_at is not None and received_at < _oldest(runtime)


def forget_old(context: JobContext) -> None:
    """Delete what is older than the setting says."""
    old = select(Delivery.id).where(col(Delivery.received_at) < _oldest(context.runtime))
    context.progress(context.runtime.database.delete_in_batches(Delivery, old, context.raise_if_stopped))


def _oldest(runtime: Runtime) -> datetime:
    return utc_now() - timedelta(days=runtime.settings.delivery_days)
