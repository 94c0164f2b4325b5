"""What people see of deliveries: the list, one of them, and how many came in the last day."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_
from sqlmodel import Session, col, select

from portal.actor import Principal
from portal.connections.models import Connection
from portal.db import utc_now
from portal.errors import NotFound
from portal.repositories.models import GitLabGroup, Repository, visible_to
from portal.repositories.selection import LIKE_ESCAPE, escape_like
from portal.runtime import Runtime
from portal.web.charts import Column
from portal.webhooks.changes import find_hook
from portal.webhooks.counts import hour_of
from portal.webhooks.deliveries import EFFECTS
from portal.webhooks.happenings import headline
from portal.webhooks.models import Delivery, DeliveryCount, Hook, Outcome, Verdict

PER_PAGE = 50
# Of one page of deliveries: hours with refused ones.
MAX_REFUSED = 200
MAX_QUERY = 200
# As in `X-Gitlab-Event` (user/project/integrations/webhook_events).
EVENTS = (
    *("Push Hook", "Tag Push Hook", "Merge Request Hook", "Issue Hook", "Confidential Issue Hook", "Note Hook"),
    *("Confidential Note Hook", "Member Hook", "Subgroup Hook", "Project Hook", "System Hook"),
)
TIMES = {"": None, "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
REASONS = {
    Outcome.WRONG_SIGNATURE: "Its signature was not made with this webhook's signing token within the last 5 minutes",
    Outcome.WRONG_TOKEN: "It carried another secret token than this webhook's",
    Outcome.NO_SIGNATURE: "It carried no signature, which this webhook needs",
    Outcome.NO_SECRET: "It carried neither a signature nor a secret token",
    Outcome.TOO_LARGE: "It was larger than 1 MiB",
    Outcome.NOT_JSON: "It was not sent as JSON",
}
HOURS = 24
# So many deliveries tell how long it takes to apply one.
NEWEST = 200


class Shown(StrEnum):
    """The filter by the outcome of a delivery, as in the address; empty means all."""

    ALL = ""
    APPLIED = "applied"
    WAITING = "waiting"
    IGNORED = "ignored"
    POISON = "poison"
    KNOWN = "known"
    REFUSED = "refused"


@dataclass(frozen=True)
class Asked:
    """What the page's address asks for."""

    hook_id: int | None = None
    before: int | None = None
    query: str = ""
    shown: Shown = Shown.ALL
    event: str = ""
    since: str = ""

    @property
    def is_narrowed(self) -> bool:
        """Whether the list may lack something for another reason than its page."""
        return bool(self.query or self.shown or self.event or self.since)


@dataclass(frozen=True)
class DeliveryRow:
    """One delivery."""

    delivery: Delivery
    path: str

    @property
    def at(self) -> datetime:
        """When it came."""
        return self.delivery.received_at

    @property
    def effect(self) -> str:
        """What it changed."""
        return EFFECTS.get(self.delivery.effect, "")

    @property
    def note(self) -> str:
        """What it changed, and whether it came again."""
        copies = self.delivery.copies
        return f"{self.effect}; it came {copies + 1:,} times and counted once" if copies else self.effect

    @property
    def headline(self) -> str:
        """What happened, or GitLab's name of the event if nothing else is known."""
        return headline(self.delivery.happening) or self.delivery.event or "unnamed event"


@dataclass(frozen=True)
class RefusedRow:
    """Deliveries that were refused within one hour for one reason."""

    counted: DeliveryCount
    path: str

    @property
    def at(self) -> datetime:
        """When the last of them came."""
        return self.counted.last_at

    @property
    def reason(self) -> str:
        """Why."""
        return REASONS[Outcome(self.counted.outcome)]


@dataclass(frozen=True)
class Hour:
    """How many deliveries came within an hour, and how many were refused."""

    begin: datetime
    received: int
    refused: int


@dataclass(frozen=True)
class DeliveriesPage:
    """Deliveries of a connection or of one hook, the newest first; `before` begins the next page."""

    asked: Asked
    rows: list[DeliveryRow | RefusedRow]
    hook: Hook | None
    before: int | None
    # Received and refused of each day on the page, where nothing is left out.
    days: dict[date, tuple[int, int]] = field(default_factory=dict)


def load_deliveries(runtime: Runtime, principal: Principal, connection: Connection, asked: Asked) -> DeliveriesPage:
    """Return one page as this person may see it.

    Raises:
        NotFound: there is no such hook that they may see.
    """
    with runtime.database.reading() as session:
        hook = find_hook(session, principal, connection, asked.hook_id) if asked.hook_id is not None else None
        until = None
        if asked.before is not None:
            last = select(Delivery.received_at).where(_of(connection, hook), col(Delivery.id) == asked.before)
            until = session.exec(last).first()
        found: list[Any] = []
        if asked.shown != Shown.REFUSED:
            which = _narrowed(asked, connection, hook)
            listed = _deliveries(principal).where(*which).order_by(col(Delivery.id).desc()).limit(PER_PAGE + 1)
            found = list(session.exec(listed).all())
        rows: list[DeliveryRow | RefusedRow] = [
            DeliveryRow(delivery, path or connection.display_name) for delivery, path in found[:PER_PAGE]
        ]
        has_more = len(found) > PER_PAGE
        before = found[PER_PAGE - 1][0].id if has_more else None
        if asked.shown in {Shown.ALL, Shown.REFUSED} and not asked.event:
            oldest = rows[-1].at if has_more else None
            rows += _refused(session, principal, connection, hook, asked, (oldest, until))
            rows.sort(key=lambda row: row.at, reverse=True)
        days: Counter[tuple[date, bool]] = Counter()
        if rows and not asked.is_narrowed:
            midnight = rows[-1].at.replace(hour=0, minute=0, second=0, microsecond=0)
            for hour, is_refused, number in _sums(session, principal, connection, hook, midnight):
                days[hour.date(), is_refused] += number
    shown_days = {row.at.date() for row in rows} if days else set()
    return DeliveriesPage(asked, rows, hook, before, {day: (days[day, False], days[day, True]) for day in shown_days})


def load_delivery(runtime: Runtime, principal: Principal, connection: Connection, delivery_id: int) -> DeliveryRow:
    """Return one delivery.

    Raises:
        NotFound: there is none that this person may see.
    """
    mine = (col(Delivery.connection_id) == connection.id, col(Delivery.id) == delivery_id)
    with runtime.database.reading() as session:
        found = session.exec(_deliveries(principal).where(*mine)).first()
    if found is None:
        raise NotFound
    delivery, path = found
    return DeliveryRow(delivery, path or connection.display_name)


@dataclass(frozen=True)
class LastDay:
    """What came in the last 24 hours.

    Attributes:
        hours: of the connection, the oldest first; the last one isn't over.
        of_hook: the same for some hooks, by our id.
        slowest_ms: within this time of their arrival, 95% of the newest deliveries were applied; None without any.
    """

    hours: list[Hour]
    of_hook: dict[int, list[Hour]]
    slowest_ms: int | None

    @property
    def received(self) -> int:
        """How many valid deliveries came."""
        return sum(hour.received for hour in self.hours)

    @property
    def refused(self) -> int:
        """How many were refused."""
        return sum(hour.refused for hour in self.hours)

    def columns(self) -> list[Column]:
        """Return them as a chart: received, and refused above."""
        return [
            Column(
                f"{hour.begin:%H:%M}",
                (hour.received, hour.refused),
                has_tick=hour.begin.hour % 3 == 0,
                is_open=hour is self.hours[-1],
            )
            for hour in self.hours
        ]


def load_last_day(
    runtime: Runtime, principal: Principal, connection: Connection, hook_ids: list[int], now: datetime | None = None
) -> LastDay:
    """Return what came in the last 24 hours, of the connection and of some of its hooks."""
    last = hour_of(now or utc_now())
    begins = [last - timedelta(hours=HOURS - 1 - place) for place in range(HOURS)]
    counts: Counter[tuple[int | None, datetime, bool]] = Counter()
    mine = (col(DeliveryCount.hook_id).in_(hook_ids), col(DeliveryCount.hour) >= begins[0])
    newest = (
        select(Delivery.received_at, Delivery.applied_at)
        .where(Delivery.connection_id == connection.id, col(Delivery.applied_at).is_not(None))
        .order_by(col(Delivery.id).desc())
        .limit(NEWEST)
    )
    with runtime.database.reading() as session:
        for hour, is_refused, number in _sums(session, principal, connection, None, begins[0]):
            counts[None, hour, is_refused] += number
        for row in session.exec(select(DeliveryCount).where(*mine)):
            counts[row.hook_id, row.hour, row.outcome != Outcome.RECEIVED] += row.number
        waited = sorted((applied - received).total_seconds() for received, applied in session.exec(newest) if applied)

    def hours_of(hook_id: int | None) -> list[Hour]:
        return [Hour(begin, counts[hook_id, begin, False], counts[hook_id, begin, True]) for begin in begins]

    slowest = round(waited[int(len(waited) * 0.95)] * 1000) if waited else None
    return LastDay(hours_of(None), {hook_id: hours_of(hook_id) for hook_id in hook_ids}, slowest)


def _of(connection: Connection, hook: Hook | None) -> ColumnElement[bool]:
    mine = col(Delivery.connection_id) == connection.id
    return mine if hook is None else and_(mine, col(Delivery.hook_id) == hook.id)


def _deliveries(principal: Principal) -> Any:
    # The repository that a delivery names: of a hook that has only one, or by its id.
    same = (col(Repository.connection_id) == col(Delivery.connection_id)) & (
        col(Repository.gitlab_project_id) == col(Delivery.gitlab_project_id)
    )
    is_about = or_(col(Repository.id) == col(Hook.repository_id), and_(col(Hook.repository_id).is_(None), same))
    return (
        select(Delivery, func.coalesce(col(Repository.path_with_namespace), ""))
        .join(Connection, col(Connection.id) == col(Delivery.connection_id))
        .outerjoin(Hook, col(Hook.id) == col(Delivery.hook_id))
        .outerjoin(Repository, is_about)
        .where(visible_to(principal))
    )


def _narrowed(asked: Asked, connection: Connection, hook: Hook | None) -> list[ColumnElement[bool]]:
    which = [_of(connection, hook)]
    if asked.before is not None:
        which.append(col(Delivery.id) < asked.before)
    if query := asked.query.strip()[:MAX_QUERY]:
        like = f"%{escape_like(query)}%"
        named = (col(part).ilike(like, escape=LIKE_ESCAPE) for part in (Repository.path_with_namespace, Delivery.event))
        which.append(or_(*named, col(Delivery.key) == query))
    if asked.event in EVENTS:
        which.append(col(Delivery.event) == asked.event)
    if span := TIMES.get(asked.since):
        which.append(col(Delivery.received_at) > utc_now() - span)
    if asked.shown == Shown.KNOWN:
        which.append((col(Delivery.copies) > 0) | (col(Delivery.effect) == "twice"))
    elif asked.shown == Shown.WAITING:
        which.append(col(Delivery.verdict).in_((Verdict.WAITING, Verdict.READING)))
    elif asked.shown:
        which.append(col(Delivery.verdict) == asked.shown.value)
    return which


def _refused(
    session: Session,
    principal: Principal,
    connection: Connection,
    hook: Hook | None,
    asked: Asked,
    between: tuple[datetime | None, datetime | None],
) -> list[RefusedRow]:
    path = func.coalesce(col(Repository.path_with_namespace), col(GitLabGroup.full_path), "")
    oldest, until = between
    statement = (
        select(DeliveryCount, path)
        .join(Connection, col(Connection.id) == col(DeliveryCount.connection_id))
        .join(Hook, col(Hook.id) == col(DeliveryCount.hook_id))
        .outerjoin(Repository, col(Repository.id) == col(Hook.repository_id))
        .outerjoin(
            GitLabGroup,
            (col(GitLabGroup.connection_id) == col(Hook.connection_id))
            & (col(GitLabGroup.gitlab_group_id) == col(Hook.subject_id))
            & (col(Hook.level) == "group"),
        )
        .where(col(DeliveryCount.connection_id) == connection.id, visible_to(principal))
        .where(col(DeliveryCount.outcome) != Outcome.RECEIVED)
    )
    if hook is not None:
        statement = statement.where(col(DeliveryCount.hook_id) == hook.id)
    if query := asked.query.strip()[:MAX_QUERY]:
        statement = statement.where(path.ilike(f"%{escape_like(query)}%", escape=LIKE_ESCAPE))
    since = [utc_now() - span] if (span := TIMES.get(asked.since)) else []
    since += [oldest] if oldest else []
    if since:
        statement = statement.where(col(DeliveryCount.last_at) >= max(since))
    if until:
        statement = statement.where(col(DeliveryCount.last_at) < until)
    newest = (col(DeliveryCount.hour).desc(), col(DeliveryCount.last_at).desc(), col(DeliveryCount.id))
    found = session.exec(statement.order_by(*newest).limit(MAX_REFUSED))
    return [RefusedRow(counted, name or connection.display_name) for counted, name in found]


def _sums(
    session: Session, principal: Principal, connection: Connection, hook: Hook | None, since: datetime
) -> list[tuple[datetime, bool, int]]:
    """Return hours since a time, with whether they were refused, and how many."""
    is_refused = col(DeliveryCount.outcome) != Outcome.RECEIVED
    statement = (
        select(col(DeliveryCount.hour), is_refused, func.sum(col(DeliveryCount.number)))
        .join(Connection, col(Connection.id) == col(DeliveryCount.connection_id))
        .join(Hook, col(Hook.id) == col(DeliveryCount.hook_id))
        .outerjoin(Repository, col(Repository.id) == col(Hook.repository_id))
        .where(col(DeliveryCount.connection_id) == connection.id, visible_to(principal))
        .where(col(DeliveryCount.hour) >= since)
        .group_by(col(DeliveryCount.hour), is_refused)
    )
    if hook is not None:
        statement = statement.where(col(DeliveryCount.hook_id) == hook.id)
    return [(hour, bool(refused), int(number)) for hour, refused, number in session.execute(statement)]
