"""What the health page shows about one connection, and the banner about all of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import col, select

from portal.actor import Principal, Right
from portal.connections.checks import TITLES_WITHOUT_TLS, Check, CheckState, note_text
from portal.connections.models import Connection, Method
from portal.db import utc_now
from portal.errors import Card, Surface
from portal.gitlab.answers import TOKEN_HEADER
from portal.health.addresses import what_to_change
from portal.health.checks import WATCHED, check_key, is_watched
from portal.health.models import (
    REACH,
    TITLES,
    UNREACHABLE,
    HealthCheck,
    HealthWatch,
    Incident,
    IncidentPhase,
    Level,
)
from portal.jobs.models import Job
from portal.net import is_same_address
from portal.runtime import Runtime
from portal.web.times import moment

PAST_SHOWN = 20
BANNERS_SHOWN = 3
HOURS = 24
_HOUR = timedelta(hours=1)
_WORST_FIRST = (CheckState.FAIL, CheckState.WARN, CheckState.PASS, CheckState.SKIPPED)
_WORDS = {
    CheckState.PASS: "passed",
    CheckState.WARN: "a note",
    CheckState.FAIL: "failed",
    CheckState.SKIPPED: "not checked",
}
CA_FILE = "gitlab-ca.pem"
_VERSION = "/api/v4/version"
_PROJECTS = "/api/v4/projects?membership=true&per_page=1&simple=true"
# The requests behind the checks. Nothing that spends a credential may be reproduced: only the token is sent to GitLab.
_WITH_TOKEN = {
    "version": "/api/v4/metadata",
    "credential": "/api/v4/user",
    "token": "/api/v4/user",
    "user": "/api/v4/user",
    "scopes": "/oauth/token/info",
    "git": _PROJECTS,
    "work": _PROJECTS,
}
_WITHOUT_TOKEN = {
    "name": _VERSION,
    "port": _VERSION,
    "certificate": _VERSION,
    "gitlab": _VERSION,
    "clock": _VERSION,
    "external_url": "/.well-known/openid-configuration",
    REACH: _VERSION,
}
_BELOW_HTTP = frozenset({"name", "port", "certificate", REACH})


@dataclass(frozen=True)
class Direction:
    """One route between browser, portal and GitLab, with the checks along it in order."""

    title: str
    note: str
    keys: tuple[str, ...]


DIRECTIONS = (
    Direction(
        "Gatehouse to GitLab’s API",
        "Layer by layer. After the first failure the rest are skipped.",
        ("name", "port", "certificate", "gitlab", "clock", "version"),
    ),
    Direction(
        "Credential",
        "What Gatehouse shows GitLab, and what GitLab says about it.",
        ("credential", "token", "user", "scopes", "work"),
    ),
    Direction(
        "Browser to GitLab",
        "People open GitLab there. Only a browser can test this route itself.",
        ("external_url",),
    ),
    Direction("Gatehouse to Git over HTTP", "Where GitLab says its repositories are.", ("git",)),
    Direction("GitLab to Gatehouse", "Webhooks report changes.", ("hooks",)),
)


@dataclass(frozen=True)
class Hour:
    """The worst that was seen in one hour; `state` is empty if nothing was checked."""

    begins_at: datetime
    state: str

    @property
    def label(self) -> str:
        """The text of the hour."""
        word = _WORDS[CheckState(self.state)] if self.state else "not checked"
        return f"{self.begins_at:%H}:00 UTC: {word}"


@dataclass(frozen=True)
class Strip:
    """A day, oldest hour first."""

    hours: tuple[Hour, ...]

    @property
    def summary(self) -> str:
        """The strip as a sentence."""
        looked = [hour for hour in self.hours if hour.state not in {"", CheckState.SKIPPED}]
        if not looked:
            return "Last 24 hours: not checked"
        failed = [hour for hour in looked if hour.state == CheckState.FAIL]
        if failed:
            hours = "hour" if len(failed) == 1 else "hours"
            return (
                f"Last 24 hours: failed in {len(failed)} {hours}, last in the one from {failed[-1].begins_at:%H}:00 UTC"
            )
        noted = sum(hour.state == CheckState.WARN for hour in looked)
        return f"Last 24 hours: passed, with a note in {noted} of them" if noted else "Last 24 hours: passed"


@dataclass(frozen=True)
class CheckLine:
    """One check: what it found last, since when, and how to try it yourself."""

    check: Check
    since: datetime | None = None
    curl: str = ""

    @property
    def title(self) -> str:
        """What the check is called once a connection is in use."""
        return TITLES_WITHOUT_TLS.get(self.check.note) or TITLES[self.check.key]


@dataclass(frozen=True)
class DirectionStatus:
    """One direction with its lines and the past day.

    Attributes:
        address: where it leads; empty if that is not known.
        known: how the portal knows the address; empty if it leads nowhere.
        change: which address to change, where and to what; empty if the four agree.
    """

    direction: Direction
    lines: list[CheckLine]
    strip: Strip
    address: str
    known: str
    change: str

    @property
    def state(self) -> str:
        """The worst of its lines; empty if none was checked."""
        seen = {line.check.state for line in self.lines}
        return next((str(state) for state in _WORST_FIRST[:-1] if state in seen), "")


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


@dataclass(frozen=True)
class Health:
    """A snapshot of a connection's health.

    Attributes:
        watch: None before the first check.
        job: the check someone asked for last; None if no one did.
    """

    connection: Connection
    watch: HealthWatch | None
    ways: list[DirectionStatus]
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
    now = now or utc_now()
    mine = select(Incident).where(Incident.connection_id == connection.id)
    opened = mine.where(Incident.phase == IncidentPhase.OPEN).order_by(col(Incident.level), col(Incident.id))
    closed = mine.where(Incident.phase == IncidentPhase.CLOSED).order_by(col(Incident.id).desc()).limit(PAST_SHOWN)
    recent = (col(HealthCheck.seen_at) >= now - HOURS * _HOUR) | col(HealthCheck.is_current).is_(True)
    checks = select(HealthCheck).where(HealthCheck.connection_id == connection.id, recent)
    newest = select(Job).where(col(Job.key) == check_key(connection)).order_by(col(Job.id).desc()).limit(1)
    with runtime.database.reading() as session:
        watch = session.get(HealthWatch, connection.id)
        rows = list(session.exec(checks.order_by(col(HealthCheck.id))))
        return Health(
            connection=connection,
            watch=watch,
            ways=_directions(runtime, connection, watch, rows, now) if watch else [],
            alarms=[_alarm(item, connection, watch) for item in session.exec(opened)],
            past=[_alarm(item, connection, watch) for item in session.exec(closed)],
            job=session.exec(newest).first(),
            is_watched=is_watched(connection),
            may_manage=principal.may(Right.MANAGE_CONNECTIONS),
        )


def open_alarms(runtime: Runtime, principal: Principal) -> list[Alarm]:
    """Return every open incident of the organization's connections, failures first, oldest first."""
    statement = (
        select(Incident, Connection, HealthWatch)
        .join(Connection, col(Connection.id) == col(Incident.connection_id))
        .join(HealthWatch, col(HealthWatch.connection_id) == col(Incident.connection_id))
        .where(Connection.organization_id == principal.organization_id, col(Connection.state).in_(WATCHED))
        .where(Incident.phase == IncidentPhase.OPEN)
        .order_by(col(Incident.level), col(Incident.id))
    )
    with runtime.database.reading() as session:
        return [_alarm(found, connection, watch) for found, connection, watch in session.exec(statement)]


def curl_for(connection: Connection, check_key: str) -> str:
    """Return the request behind a check as a command that anyone can run; empty if it makes no request.

    It contains a variable, never the token.
    """
    path = _WITH_TOKEN.get(check_key) or _WITHOUT_TOKEN.get(check_key)
    if path is None or not connection.api_url:
        return ""
    words = ["curl", "--verbose" if check_key in _BELOW_HTTP else "--include", "--max-time", "10"]
    if connection.ca_certificate:
        words += ["--cacert", CA_FILE]
    # As the outbound client does: the proxy that is set, through a tunnel, or none, whatever the environment says.
    words += ["--proxytunnel", "--proxy", connection.proxy] if connection.proxy else ["--noproxy", "*"]
    command = shlex.join(words)
    if check_key in _WITH_TOKEN:
        is_token = connection.method == Method.ACCESS_TOKEN
        command += f' --header "{f"{TOKEN_HEADER}:" if is_token else "Authorization: Bearer"} $TOKEN"'
    return f"{command} {shlex.quote(connection.api_url + path)}"


def strip_of(rows: Iterable[HealthCheck], now: datetime) -> Strip:
    """Return the day that ends with the hour of `now`, with the worst of some rows in each hour."""
    rows = list(rows)
    first = now.replace(minute=0, second=0, microsecond=0) - (HOURS - 1) * _HOUR
    hours = []
    for begins_at in (first + number * _HOUR for number in range(HOURS)):
        seen = {row.state for row in rows if row.at < begins_at + _HOUR and row.seen_at >= begins_at}
        hours.append(Hour(begins_at, next((state for state in _WORST_FIRST if state in seen), "")))
    return Strip(tuple(hours))


def _alarm(incident: Incident, connection: Connection, watch: HealthWatch | None) -> Alarm:
    note = ""
    if incident.cause == UNREACHABLE:
        note = "The credentials are kept."
        if watch and watch.answered_at:
            note = f"GitLab has not answered since {moment(watch.answered_at)}; the credentials are kept."
    card = Card.from_json(incident.card).at(Surface.HEALTH, connection.method)
    return Alarm(incident, card, note, curl_for(connection, incident.check_key), connection)


def _directions(
    runtime: Runtime, connection: Connection, watch: HealthWatch, rows: list[HealthCheck], now: datetime
) -> list[DirectionStatus]:
    current = {row.key: row for row in rows if row.is_current}
    changes = what_to_change(
        connection,
        issuer=watch.addresses.get("issuer", ""),
        git=watch.addresses.get("git", ""),
        base_url=runtime.settings.base_url,
        failed=[key for key, row in current.items() if row.state == CheckState.FAIL],
    )
    found = []
    for direction in DIRECTIONS:
        if direction.keys == ("hooks",) and not connection.hooks_wanted:
            continue
        lines = []
        for key in direction.keys:
            if row := current.get(key):
                check = Check(key, CheckState(row.state), row.note, row.params, row.card)
                curl = curl_for(connection, key) if check.state in {CheckState.FAIL, CheckState.WARN} else ""
                lines.append(CheckLine(check, row.at, curl))
            else:
                lines.append(CheckLine(Check(key, CheckState.SKIPPED)))
        strip = strip_of((row for row in rows if row.key in direction.keys), now)
        change = next((changes[key] for key in direction.keys if key in changes), "")
        told = _address(runtime, connection, watch, direction, current)
        found.append(DirectionStatus(direction, lines, strip, *told, change))
    return found


def _address(
    runtime: Runtime,
    connection: Connection,
    watch: HealthWatch,
    direction: Direction,
    current: dict[str, HealthCheck],
) -> tuple[str, str]:
    """Return where a direction leads and how the portal knows; both are empty for the credential."""
    if "hooks" in direction.keys:
        row = current.get("hooks")
        return runtime.settings.base_url, (note_text(row.note, row.params) if row else "") or "Not set up yet."
    if "external_url" in direction.keys:
        issuer = watch.addresses.get("issuer", "")
        known = f"GitLab calls itself {issuer}." if issuer else "GitLab has not reported its own address."
        if issuer and is_same_address(issuer, connection.external_url):
            known = "GitLab uses the same address for itself."
        return connection.external_url, known
    if "gitlab" in direction.keys:
        key, address, known = "gitlab", connection.api_url, "Gatehouse asks at each check."
    elif "git" in direction.keys:
        key, address, known = "git", watch.addresses.get("git", ""), "GitLab says so about its projects."
    else:
        return "", ""
    row = current.get(key)
    if row is None or row.state == CheckState.SKIPPED:
        known = (note_text(row.note, row.params) if row else "") or "Not seen yet."
    return address, known
