"""Store what one check found: history, incidents, the connection's own state, and the alarms. One transaction."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from portal import audit
from portal.actor import SYSTEM
from portal.connections.attention import end_attention, need_attention
from portal.connections.checklist import Check, CheckState, note_announcement
from portal.connections.models import Connection
from portal.errors import Card
from portal.health.findings import UNREACHABLE, Finding, Findings, is_over, read_findings
from portal.health.judge import CONTINUES_WITHIN, Seen, Track, judge
from portal.health.models import HealthCheck, HealthWatch, Incident, Level, Phase
from portal.health.probe import Looked

EVERY_SECONDS = 300.0
# While something fails, so that an outage is confirmed, and its end noticed, within about a minute.
SOON_SECONDS = 60.0
JITTER = 0.2
_WORST = (CheckState.FAIL, CheckState.WARN)


def keep(session: Session, connection: Connection, looked: Looked, now: datetime) -> list[Incident]:
    """Store the results; the caller holds the lock on the connection's row.

    Returns:
        The incidents that people must be told about now.
    """
    assert connection.id is not None
    findings = read_findings(looked.checks)
    _keep_history(session, connection.id, looked.checks, now)
    alarms = _judge_all(session, connection, findings, now)
    _clear_attention(connection, findings)
    note_announcement(connection, looked.announces_issuer, looked.issuer)
    watch = _keep_watch(session, connection.id, looked, now, _pause(session, connection.id, now))
    if looked.is_answering and UNREACHABLE not in findings.by_cause:
        watch.answered_at = now
    return alarms


def close_all(session: Session, connection: Connection, now: datetime) -> None:
    """End every incident of a connection that is no longer watched."""
    for incident in _newest_incidents(session, connection.id or 0, now).values():
        if incident.phase == Phase.SUSPECTED:
            session.delete(incident)
        elif incident.phase == Phase.OPEN:
            incident.phase, incident.closed_at, incident.row_count = Phase.CLOSED, now, 0
            incident.end_mailed_at = now  # Nothing was fixed, so no one is told that it was.
            _record(session, connection, incident, "incident.closed")


def worst_of(checks: list[Check]) -> str:
    """Return the state that a connection has with these checks."""
    found = {check.state for check in checks}
    return next((state for state in _WORST if state in found), CheckState.PASS)


def _keep_history(session: Session, connection_id: int, checks: list[Check], now: datetime) -> None:
    mine = (col(HealthCheck.connection_id) == connection_id, col(HealthCheck.is_current).is_(True))
    current = {row.key: row for row in session.exec(select(HealthCheck).where(*mine))}
    for check in checks:
        row = current.get(check.key)
        if row and (row.state, (row.card or {}).get("code")) == (check.state, (check.card or {}).get("code")):
            row.seen_at, row.detail, row.card = now, check.detail[:1000], check.card
            continue
        if row:
            row.is_current = False
            session.flush()  # Two current rows at once would break the index.
        session.add(
            HealthCheck(
                connection_id=connection_id,
                key=check.key,
                at=now,
                seen_at=now,
                state=check.state,
                detail=check.detail[:1000],
                card=check.card,
            )
        )


def _keep_watch(session: Session, connection_id: int, looked: Looked, now: datetime, seconds: float) -> HealthWatch:
    state = worst_of(looked.checks)
    watch = session.get(HealthWatch, connection_id)
    if watch is None:
        watch = HealthWatch(connection_id=connection_id, state=state, since=now, checked_at=now, due_at=now)
        session.add(watch)
    if watch.state != state:
        watch.state, watch.since = state, now
    watch.checked_at = now
    # Always later than asked, never earlier: two failed checks must be a minute apart to count.
    spread = 1 + JITTER * random.random()  # noqa: S311 - spreads load, protects nothing
    watch.due_at = now + timedelta(seconds=seconds * spread)
    watch.addresses = {**watch.addresses, **looked.addresses}
    return watch


def _judge_all(session: Session, connection: Connection, findings: Findings, now: datetime) -> list[Incident]:
    assert connection.id is not None
    known = _newest_incidents(session, connection.id, now)
    alarms = []
    for cause in {**known, **findings.by_cause}:
        if alarm := _judge_one(session, connection, known.get(cause), findings.by_cause.get(cause), findings, now):
            alarms.append(alarm)
    session.flush()
    return alarms


def _judge_one(
    session: Session,
    connection: Connection,
    incident: Incident | None,
    finding: Finding | None,
    findings: Findings,
    now: datetime,
) -> Incident | None:
    """Change, add or delete the incident of one cause; return it if people must be told."""
    seen = Seen.BAD if finding else Seen.UNKNOWN
    if finding is None and incident and incident.check_key in findings.settled:
        seen = Seen.GOOD
    passing = finding.passing if finding else bool(incident and incident.is_passing)
    judgement = judge(_track_of(incident), seen, now, passing=passing)
    if judgement.track is None:
        if incident:
            session.delete(incident)
        return None
    if judgement.is_new and finding:
        incident = _new_incident(connection, finding, now)
    assert incident is not None
    _apply(session, connection, incident, judgement.track, finding, now)
    if not judgement.alarm:
        return None
    incident.alarmed_at = now
    return incident


def _apply(
    session: Session, connection: Connection, incident: Incident, track: Track, finding: Finding | None, now: datetime
) -> None:
    before, incident.phase = incident.phase, track.phase
    incident.count, incident.row_count, incident.row_began_at = track.count, track.row_count, track.row_began_at
    incident.opened_at, incident.closed_at = track.opened_at, track.closed_at
    if finding:
        incident.card, incident.layer, incident.last_failed_at = finding.card.to_json(), finding.card.layer, now
    session.add(incident)
    if before == track.phase or track.phase == Phase.SUSPECTED:
        return
    _record(session, connection, incident, "incident.opened" if track.phase == Phase.OPEN else "incident.closed")
    if finding and track.phase == Phase.OPEN and not finding.passing and finding.level == Level.FAILURE:
        need_attention(session, incident.connection_id, finding.card)


def _new_incident(connection: Connection, finding: Finding, now: datetime) -> Incident:
    assert connection.id is not None
    return Incident(
        connection_id=connection.id,
        cause=finding.cause,
        check_key=finding.check_key,
        is_passing=finding.passing,
        level=finding.level,
        layer=finding.card.layer,
        phase=Phase.SUSPECTED,
        row_began_at=now,
        last_failed_at=now,
    )


def _newest_incidents(session: Session, connection_id: int, now: datetime) -> dict[str, Incident]:
    """Return the newest incident of each cause that is open or may still recur."""
    goes_on = (col(Incident.phase) != Phase.CLOSED) | (col(Incident.closed_at) >= now - CONTINUES_WITHIN)
    statement = select(Incident).where(Incident.connection_id == connection_id, goes_on | (col(Incident.row_count) > 0))
    return {row.cause: row for row in session.exec(statement.order_by(col(Incident.id)))}


def _track_of(incident: Incident | None) -> Track | None:
    if incident is None:
        return None
    return Track(
        phase=Phase(incident.phase),
        count=incident.count,
        row_count=incident.row_count,
        row_began_at=incident.row_began_at,
        opened_at=incident.opened_at,
        closed_at=incident.closed_at,
    )


def _pause(session: Session, connection_id: int, now: datetime) -> float:
    """Return the seconds to the next check; fewer while something fails or has only just started to work again."""
    newest = _newest_incidents(session, connection_id, now).values()
    return SOON_SECONDS if any(item.phase != Phase.CLOSED or item.row_count for item in newest) else EVERY_SECONDS


def _clear_attention(connection: Connection, findings: Findings) -> None:
    """Clear the connection's failure if the checks looked for it and no longer find it."""
    if connection.attention and is_over(Card.from_json(connection.attention), findings):
        end_attention(connection)


def _record(session: Session, connection: Connection, incident: Incident, action: str) -> None:
    about: dict[str, Any] = {
        "cause": incident.cause,
        "layer": incident.layer,
        "level": incident.level,
        "count": incident.count,
    }
    audit.record(session, SYSTEM, action, connection.target, **about)
