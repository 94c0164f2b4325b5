"""Check a connection, because it is due or because someone asked, and store the results."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.models import Organization
from portal.actor import SYSTEM, Principal
from portal.connections.checklist import note_announcement
from portal.connections.checks import CheckState
from portal.connections.models import Connection, ConnectionState, end_attention, need_attention
from portal.connections.store import get_connection_for_admin, note_version
from portal.db import utc_now
from portal.errors import Card, Conflict, RateLimited
from portal.health.judge import CONTINUES_WITHIN, Cause, Findings, Sighting, Track, judge, read_findings
from portal.health.models import UNREACHABLE, HealthCheck, HealthWatch, Incident, IncidentPhase, Level
from portal.health.probe import Looked, look
from portal.jobs import Job, enqueue
from portal.runtime import Runtime

CHECK_ONE = "health.check_one"
WATCHED = frozenset({ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION})
CHECKS_PER_MINUTE = 5
MAX_DUE = 500
EVERY_SECONDS = 300.0
# While something fails, so that an outage is confirmed, and its end noticed, within about a minute.
SOON_SECONDS = 60.0
JITTER = 0.2


def is_watched(connection: Connection) -> bool:
    """Return whether a connection is checked: from its first authorization until it is disconnected."""
    return connection.authorized_at is not None and connection.state in WATCHED


def due_connections(runtime: Runtime, now: datetime | None = None) -> list[int]:
    """Return the connections that are due, the longest overdue first."""
    statement = (
        select(Connection.id)
        .outerjoin(HealthWatch, col(HealthWatch.connection_id) == col(Connection.id))
        .where(col(Connection.state).in_(WATCHED), col(Connection.authorized_at).is_not(None))
        .where(col(HealthWatch.due_at).is_(None) | (col(HealthWatch.due_at) <= (now or utc_now())))
        .order_by(col(HealthWatch.due_at), col(Connection.id))
    )
    with runtime.database.reading() as session:
        return [found for found in session.exec(statement.limit(MAX_DUE)) if found is not None]


def check_connection(
    runtime: Runtime,
    connection_id: int,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
    *,
    is_background: bool = False,
    now: datetime | None = None,
) -> list[Incident]:
    """Check one connection and store the results.

    Args:
        runtime: of this process.
        connection_id: one that is gone or disconnected by now is skipped.
        progress: called with (done, total, what comes next).
        is_background: let people's requests go first, and do not ask a GitLab that has asked for a wait: it is known to
            be busy, so there is nothing to report.
        now: for tests; by default the current time at the end of the check.

    Returns:
        The incidents that people must be told about now.
    """
    with runtime.database.reading() as session:
        connection = session.get(Connection, connection_id)
    if connection is None or not is_watched(connection):
        return []
    if is_background and runtime.outbound.is_held(connection.api_url):
        return []
    looked = look(runtime, connection, progress, is_background=is_background)
    if looked.metadata and looked.metadata.version[:64] != connection.version_seen:
        note_version(runtime, connection_id, looked.metadata)
    with runtime.database.transaction() as session:
        locked = _locked(session, connection_id)
        # Edited since: the results are about another address or another credential.
        if locked is None or not is_watched(locked) or locked.row_version != connection.row_version:
            return []
        return _keep(session, locked, looked, now or utc_now())


def _keep(session: Session, connection: Connection, looked: Looked, now: datetime) -> list[Incident]:
    """Keep history, incidents, and the connection's own state; the caller holds the connection's row locked."""
    assert connection.id is not None
    findings = read_findings(looked.checks)
    mine = (col(HealthCheck.connection_id) == connection.id, col(HealthCheck.is_current).is_(True))
    current = {row.key: row for row in session.exec(select(HealthCheck).where(*mine))}
    for check in looked.checks:
        row = current.get(check.key)
        if row and (row.state, (row.card or {}).get("code")) == (check.state, (check.card or {}).get("code")):
            row.seen_at, row.note, row.params, row.card = now, check.note, dict(check.params), check.card
            continue
        if row:
            row.is_current = False
            session.flush()  # Two current rows at once would break the index.
        session.add(
            HealthCheck(
                connection_id=connection.id,
                key=check.key,
                at=now,
                seen_at=now,
                state=check.state,
                note=check.note,
                params=dict(check.params),
                card=check.card,
            )
        )
    known = _newest_incidents(session, connection.id, now)
    judged = [
        _judge_one(session, connection, known.get(name), findings.causes.get(name), findings, now)
        for name in {**known, **findings.causes}
    ]
    session.flush()
    if connection.attention and findings.ends(Card.from_json(connection.attention)):
        end_attention(connection)
    note_announcement(connection, looked.announces_issuer, looked.issuer)
    _keep_watch(session, connection.id, looked, findings, now)
    return [incident for incident in judged if incident]


def _judge_one(
    session: Session,
    connection: Connection,
    incident: Incident | None,
    cause: Cause | None,
    findings: Findings,
    now: datetime,
) -> Incident | None:
    """Change, add or forget the incident of one cause; return it if people must be told."""
    assert connection.id is not None
    seen = Sighting.BAD if cause else Sighting.UNKNOWN
    if cause is None and incident and incident.check_key in findings.settled:
        seen = Sighting.GOOD
    known = None
    if incident:
        known = Track(
            IncidentPhase(incident.phase),
            incident.count,
            incident.row_count,
            incident.row_began_at,
            incident.opened_at,
            incident.closed_at,
        )
    passing = cause.passing if cause else bool(incident and incident.is_passing)
    judgement = judge(known, seen, now, passing=passing)
    track = judgement.track
    if track is None:
        if incident:
            session.delete(incident)
        return None
    if judgement.is_new and cause:
        incident = Incident(
            connection_id=connection.id,
            cause=cause.name,
            check_key=cause.check_key,
            is_passing=cause.passing,
            level=cause.level,
            layer=cause.card.layer,
            phase=IncidentPhase.SUSPECTED,
            row_began_at=now,
            last_failed_at=now,
        )
    assert incident is not None
    before, incident.phase = incident.phase, track.phase
    incident.count, incident.row_count, incident.row_began_at = track.count, track.row_count, track.row_began_at
    incident.opened_at, incident.closed_at = track.opened_at, track.closed_at
    if cause:
        incident.card, incident.layer, incident.last_failed_at = cause.card.to_json(), cause.card.layer, now
    session.add(incident)
    if track.phase not in {before, IncidentPhase.SUSPECTED}:
        is_open = track.phase == IncidentPhase.OPEN
        _record(session, connection, incident, "incident.opened" if is_open else "incident.closed")
        if cause and is_open and not cause.passing and cause.level == Level.FAILURE:
            need_attention(session, connection.id, cause.card)
    if not judgement.alarm:
        return None
    incident.alarmed_at = now
    return incident


def _newest_incidents(session: Session, connection_id: int, now: datetime) -> dict[str, Incident]:
    """Return the newest incident of each cause that is open or may still recur."""
    continues = (col(Incident.phase) != IncidentPhase.CLOSED) | (col(Incident.closed_at) >= now - CONTINUES_WITHIN)
    statement = select(Incident).where(
        Incident.connection_id == connection_id, continues | (col(Incident.row_count) > 0)
    )
    return {row.cause: row for row in session.exec(statement.order_by(col(Incident.id)))}


def _keep_watch(session: Session, connection_id: int, looked: Looked, findings: Findings, now: datetime) -> None:
    found = {check.state for check in looked.checks}
    state = next((state for state in (CheckState.FAIL, CheckState.WARN) if state in found), CheckState.PASS)
    watch = session.get(HealthWatch, connection_id)
    if watch is None:
        watch = HealthWatch(connection_id=connection_id, state=state, since=now, checked_at=now, due_at=now)
        session.add(watch)
    if watch.state != state:
        watch.state, watch.since = state, now
    watch.checked_at = now
    watch.addresses = {**watch.addresses, **looked.addresses}
    if looked.is_answering and UNREACHABLE not in findings.causes:
        watch.answered_at = now
    # Sooner while something fails or has only just started to work again.
    newest = _newest_incidents(session, connection_id, now).values()
    is_unsettled = any(item.phase != IncidentPhase.CLOSED or item.row_count for item in newest)
    # Always later than asked, never earlier: two failed checks must be a minute apart to count.
    spread = 1 + JITTER * random.random()  # noqa: S311 - spreads load, protects nothing
    watch.due_at = now + timedelta(seconds=(SOON_SECONDS if is_unsettled else EVERY_SECONDS) * spread)


def end_unwatched(runtime: Runtime, now: datetime | None = None) -> None:
    """End the incidents of connections that are no longer in use; whoever disconnected them knows."""
    now = now or utc_now()
    for connection_id in unwatched_with_incidents(runtime):
        with runtime.database.transaction() as session:
            locked = _locked(session, connection_id)
            if locked is None or is_watched(locked):
                continue
            for incident in _newest_incidents(session, connection_id, now).values():
                if incident.phase == IncidentPhase.SUSPECTED:
                    session.delete(incident)
                elif incident.phase == IncidentPhase.OPEN:
                    incident.phase, incident.closed_at, incident.row_count = IncidentPhase.CLOSED, now, 0
                    incident.end_mailed_at = now  # Nothing was fixed, so no one is told that it was.
                    _record(session, locked, incident, "incident.closed")


def unwatched_with_incidents(runtime: Runtime) -> list[int]:
    """Return the connections that are no longer in use and have incidents that are not closed."""
    statement = (
        select(Connection.id)
        .join(Incident, col(Incident.connection_id) == col(Connection.id))
        .where(col(Connection.state).not_in(WATCHED), col(Incident.phase) != IncidentPhase.CLOSED)
        .distinct()
    )
    with runtime.database.reading() as session:
        return [found for found in session.exec(statement) if found is not None]


def request_check(runtime: Runtime, principal: Principal, slug: str) -> Job:
    """Have a connection checked now; if a check is running, return that one.

    Raises:
        NotFound: there is none that this person manages.
        Conflict: it is not in use.
        RateLimited: the organization asked five times in the last minute.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        if not is_watched(connection):
            raise Conflict("Only connections in use are checked. Finish the setup first.")
        # Locked, so that concurrent requests count one another.
        session.exec(select(Organization).where(Organization.id == principal.organization_id).with_for_update()).one()
        asked = select(func.count()).where(
            col(Job.name) == CHECK_ONE,
            col(Job.organization_id) == principal.organization_id,
            col(Job.created_at) > utc_now() - timedelta(minutes=1),
        )
        if session.exec(asked).one() >= CHECKS_PER_MINUTE:
            raise RateLimited("Connections were checked five times in the last minute. Wait a moment.")
        audit.record(session, principal.actor, "health.check_requested", connection.target)
        return enqueue(
            session,
            CHECK_ONE,
            {"connection_id": connection.id},
            organization_id=connection.organization_id,
            title=f"Check {connection.display_name}",
            key=check_key(connection),
            subject=f"connection:{connection.id}",
            lane=f"connection:{connection.id}",
            actor=principal.actor,
        )


def check_key(connection: Connection) -> str:
    """Return what keeps two checks of one connection that people asked for from running at once."""
    return f"health:{connection.id}"


def _locked(session: Session, connection_id: int) -> Connection | None:
    return session.exec(select(Connection).where(Connection.id == connection_id).with_for_update()).one_or_none()


def _record(session: Session, connection: Connection, incident: Incident, action: str) -> None:
    names = ("cause", "layer", "level", "count")
    about: dict[str, Any] = {name: getattr(incident, name) for name in names}
    audit.record(session, SYSTEM, action, connection.target, **about)
