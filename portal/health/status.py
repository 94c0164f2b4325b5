"""What the health page shows about one connection, and the banner about all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from portal.actor import Principal, Right
from portal.connections.checklist import Check, CheckState
from portal.connections.models import Connection
from portal.db import utc_now
from portal.errors import Card
from portal.health.addresses import Route, routes_of
from portal.health.checks import WATCHED, check_key, is_watched
from portal.health.curl import curl_for
from portal.health.directions import DIRECTIONS, TITLES, Direction
from portal.health.findings import UNREACHABLE
from portal.health.history import Strip, load_history, strip_of
from portal.health.models import HealthCheck, HealthWatch, Incident, Level, Phase
from portal.health.times import clock_of, lasted
from portal.jobs.models import Job
from portal.runtime import Runtime

PAST_SHOWN = 20
BANNERS_SHOWN = 3


@dataclass(frozen=True)
class Line:
    """One check: its last result, since when, the past day, and how to try it yourself."""

    check: Check
    since: datetime | None
    strip: Strip
    curl: str


@dataclass(frozen=True)
class Way:
    """One direction with its lines; `route` is the address it leads to, None if it leads to none."""

    direction: Direction
    lines: list[Line]
    strip: Strip
    route: Route | None

    @property
    def state(self) -> str:
        """The worst of its lines; empty if none was checked."""
        seen = {line.check.state for line in self.lines}
        return next((str(state) for state in (CheckState.FAIL, CheckState.WARN, CheckState.PASS) if state in seen), "")


@dataclass(frozen=True)
class Alarm:
    """One incident as people read it.

    Attributes:
        note: what people have to know besides the card; empty if nothing.
    """

    incident: Incident
    card: Card
    note: str
    curl: str
    connection: Connection

    @property
    def is_warning(self) -> bool:
        """Whether it still works."""
        return self.incident.level == Level.WARNING

    @property
    def lasted(self) -> str:
        """How long it took; empty while it continues."""
        began, ended = self.incident.opened_at, self.incident.closed_at
        return lasted(began, ended) if began and ended else ""


@dataclass(frozen=True)
class Health:
    """A snapshot of a connection's health.

    Attributes:
        watch: None before the first check.
        job: the check someone last asked for; None if no one did.
    """

    connection: Connection
    watch: HealthWatch | None
    ways: list[Way]
    alarms: list[Alarm]
    past: list[Alarm]
    job: Job | None
    is_watched: bool
    may_manage: bool

    @property
    def is_checking(self) -> bool:
        """Whether a check is running."""
        return self.job is not None and not self.job.is_finished

    @property
    def failed_job(self) -> Card | None:
        """Why the last check could not be made; None if it could."""
        failure = self.job.failure if self.job and self.job.is_finished else None
        return Card.from_json(failure) if failure else None


def load_health(runtime: Runtime, principal: Principal, connection: Connection, now: datetime | None = None) -> Health:
    """Read everything of one connection that this person may see."""
    assert connection.id is not None
    may_manage = principal.may(Right.MANAGE_CONNECTIONS)
    with runtime.database.reading() as session:
        watch = session.get(HealthWatch, connection.id)
        rows = load_history(session, connection.id, now or utc_now())
        incidents = _incidents(session, connection.id)
        newest = select(Job).where(col(Job.key) == check_key(connection)).order_by(col(Job.id).desc()).limit(1)
        job = session.exec(newest).first()
    alarms = [_alarm(item, connection, watch) for item in incidents]
    routes = {route.title: route for route in routes_of(runtime, connection, watch, rows)}
    return Health(
        connection=connection,
        watch=watch,
        ways=_ways(connection, rows, now or utc_now(), routes) if watch else [],
        alarms=[alarm for alarm in alarms if alarm.incident.phase == Phase.OPEN],
        past=[alarm for alarm in alarms if alarm.incident.phase == Phase.CLOSED],
        job=job,
        is_watched=is_watched(connection),
        may_manage=may_manage,
    )


def open_alarms(runtime: Runtime, principal: Principal) -> list[Alarm]:
    """Return every open incident of the organization's connections, failures first, oldest first."""
    statement = (
        select(Incident, Connection, HealthWatch)
        .join(Connection, col(Connection.id) == col(Incident.connection_id))
        .join(HealthWatch, col(HealthWatch.connection_id) == col(Incident.connection_id))
        .where(Connection.organization_id == principal.organization_id, col(Connection.state).in_(WATCHED))
        .where(Incident.phase == Phase.OPEN)
        .order_by(col(Incident.level), col(Incident.id))
    )
    with runtime.database.reading() as session:
        return [_alarm(found, connection, watch) for found, connection, watch in session.exec(statement)]


def _incidents(session: Session, connection_id: int) -> list[Incident]:
    mine = select(Incident).where(Incident.connection_id == connection_id, Incident.phase != Phase.SUSPECTED)
    opened = session.exec(mine.where(Incident.phase == Phase.OPEN).order_by(col(Incident.level), col(Incident.id)))
    closed = mine.where(Incident.phase == Phase.CLOSED).order_by(col(Incident.id).desc()).limit(PAST_SHOWN)
    return [*opened, *session.exec(closed)]


def _alarm(incident: Incident, connection: Connection, watch: HealthWatch | None) -> Alarm:
    return Alarm(
        incident=incident,
        card=Card.from_json(incident.card),
        note=_outage_note(watch) if incident.cause == UNREACHABLE else "",
        curl=curl_for(connection, incident.check_key),
        connection=connection,
    )


def _outage_note(watch: HealthWatch | None) -> str:
    if watch is None or watch.answered_at is None:
        return "The credentials are kept."
    return f"GitLab has not answered since {clock_of(watch.answered_at)}; the credentials are kept."


def _ways(connection: Connection, rows: list[HealthCheck], now: datetime, routes: dict[str, Route]) -> list[Way]:
    by_key: dict[str, list[HealthCheck]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    return [
        Way(
            direction,
            [_line(connection, key, by_key.get(key, []), now) for key in direction.keys],
            strip_of([row for key in direction.keys for row in by_key.get(key, [])], now),
            routes.get(direction.route),
        )
        for direction in DIRECTIONS
        if direction.keys != ("hooks",) or connection.hooks_wanted
    ]


def _line(connection: Connection, key: str, rows: list[HealthCheck], now: datetime) -> Line:
    current = next((row for row in rows if row.is_current), None)
    strip = strip_of(rows, now)
    if current is None:
        return Line(Check(key, TITLES[key], CheckState.SKIPPED), None, strip, "")
    check = Check(key, TITLES[key], CheckState(current.state), current.detail, current.card)
    curl = curl_for(connection, key) if check.state in {CheckState.FAIL, CheckState.WARN} else ""
    return Line(check, current.at, strip, curl)
