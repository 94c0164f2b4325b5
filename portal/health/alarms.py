"""Notify the owners and administrators by e-mail: once when something breaks, once when it works again.

The incident rows say who must be told what; the job does it, and is started again until it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlmodel import Session, col, func, select

from portal.accounts.models import Membership, User
from portal.actor import Role
from portal.connections.models import Connection
from portal.credentials.models import Credential
from portal.credentials.store import get_credential
from portal.db import utc_now
from portal.errors import Card, Surface
from portal.health.judge import CONTINUES_WITHIN
from portal.health.models import UNREACHABLE, AlarmMail, HealthWatch, Incident, IncidentPhase, Level
from portal.health.probe import EXPIRES, expiry_card, warning_due
from portal.jobs import Job, enqueue
from portal.mail import MailFailed, Message, is_configured, send
from portal.runtime import Runtime
from portal.web.times import moment

MAIL_ALARM = "health.mail_alarm"
OPENED, OVER = "opened", "over"
TOLD_ROLES = (Role.OWNER, Role.ADMINISTRATOR)
# What could not be mailed for a day is on every page anyway.
GIVE_UP_AFTER = timedelta(days=1)
FIRST_PAUSE = timedelta(minutes=1)
MOST_DOUBLINGS = 10


def enqueue_due_mails(runtime: Runtime, now: datetime | None = None) -> None:
    """Start the mails of incidents that are new or have finally ended; retry failed ones less and less often."""
    if not is_configured(runtime.settings):
        return  # The pages say it.
    with runtime.database.transaction() as session:
        for incident, connection, kind in _due_mails(session, now or utc_now()):
            enqueue(
                session,
                MAIL_ALARM,
                {"incident_id": incident.id, "kind": kind},
                organization_id=connection.organization_id,
                title=f"Mail about {connection.display_name}",
                key=_key_of(incident, kind),
                subject=f"connection:{connection.id}",
            )


def has_due_mails(runtime: Runtime) -> bool:
    """Return whether a mail must be started."""
    with runtime.database.reading() as session:
        return is_configured(runtime.settings) and any(_due_mails(session, utc_now()))


def mail_alarm(runtime: Runtime, incident_id: int, kind: str) -> None:
    """Mail everyone who has not been mailed yet.

    Raises:
        MailFailed: the mail server did not accept one of them; those it accepted are not sent again.
    """
    with runtime.database.reading() as session:
        incident = session.get(Incident, incident_id)
        if incident is None:
            return
        connection = session.get_one(Connection, incident.connection_id)
        watch = session.get(HealthWatch, incident.connection_id)
        credential = get_credential(session, incident.connection_id)
        warned_days = warning_due(credential, utc_now()) if incident.cause == EXPIRES else None
        people = _people_to_tell(session, connection.organization_id, incident_id, kind)
    ends_at = credential.expires_at if credential is not None and incident.cause == EXPIRES else None
    if incident.cause == EXPIRES and kind == OVER and ends_at is not None and ends_at <= utc_now():
        people = []  # No one replaced it: they read that it ended.
    if incident.cause == EXPIRES and kind != OVER and warned_days is None:
        return  # Someone replaced it in the meantime.
    subject, text = write(runtime.settings.base_url, connection, incident, watch, kind, ends_at)
    failure = None
    for person in people:
        reference = f"incident-{incident_id}-{kind}-{person.id}"
        try:
            send(runtime.settings, Message(person.name, person.email, subject, text, reference))
        except MailFailed as error:
            failure = failure or error
            continue
        with runtime.database.transaction() as session:
            assert person.id is not None
            session.add(AlarmMail(incident_id=incident_id, kind=kind, user_id=person.id))
    if failure:
        raise failure
    with runtime.database.transaction() as session:
        row = session.get(Incident, incident_id)
        if row and kind == OVER:
            row.end_mailed_at = row.end_mailed_at or utc_now()
        elif row:
            row.alarm_mailed_at = row.alarm_mailed_at or utc_now()
            row.warned_days = warned_days


def write(
    base_url: str,
    connection: Connection,
    incident: Incident,
    watch: HealthWatch | None,
    kind: str,
    ends_at: datetime | None = None,
) -> tuple[str, str]:
    """Return subject and text of a message, without words of GitLab's: no one could tell them from ours.

    `ends_at`: of the access token that this is about.
    """
    card = expiry_card(ends_at, utc_now()) if ends_at else Card.from_json(incident.card)
    card = card.at(Surface.HEALTH, connection.method)
    link = f"{base_url}/connections/{connection.slug}/health"
    began = incident.opened_at or incident.last_failed_at
    if kind == OVER:
        ended = incident.closed_at or incident.last_failed_at
        text = f"It has worked again since {moment(ended)}, after {incident.lasted}: {card.sentence}"
        if incident.cause == EXPIRES:
            text = f"The access token no longer expires soon: another one has been in use since {moment(ended)}."
        return f"Over: {connection.display_name}", f"{text}\n\nThe history: {link}\n"
    lines = [
        card.sentence,
        "",
        f"What to do: {card.remedy}",
        f"Who can: {card.responsible}",
        "",
        f"Since: {moment(began)}",
    ]
    if incident.cause == UNREACHABLE:
        answered = f" GitLab last answered at {moment(watch.answered_at)}." if watch and watch.answered_at else ""
        lines.insert(2, f"The credentials are kept.{answered}\n")
    lines += [
        f"Connection: {connection.display_name}",
        f"Details: {link}",
        "",
        "You will get one more message when it works again.",
    ]
    if incident.cause == EXPIRES:
        lines[-1] = (
            "Unless the token is replaced, you will get another message before it expires, and one when it does."
        )
    word = "Soon" if incident.level == Level.WARNING else "Broken"
    return f"{word}: {connection.display_name}: {card.sentence}", "\n".join(lines) + "\n"


def _key_of(incident: Incident, kind: str) -> str:
    return f"alarm:{incident.id}:{kind}"


def _due_mails(session: Session, now: datetime) -> Iterator[tuple[Incident, Connection, str]]:
    """Yield what should be mailed: tried again 1, 3, 7, 15 … minutes after it was due first."""
    alarm = col(Incident.alarm_mailed_at).is_(None) & (col(Incident.phase) == IncidentPhase.OPEN)
    alarm &= col(Incident.alarmed_at) > now - GIVE_UP_AFTER
    # One address that the mail server refuses leaves `alarm_mailed_at` empty: everyone who got the alarm also gets its
    # end.
    told = select(AlarmMail.incident_id).where(AlarmMail.kind == OPENED)
    end = col(Incident.id).in_(told) & col(Incident.end_mailed_at).is_(None)
    end &= (col(Incident.phase) == IncidentPhase.CLOSED) & (col(Incident.row_count) == 0)
    end &= (col(Incident.closed_at) < now - CONTINUES_WITHIN) & (col(Incident.closed_at) > now - GIVE_UP_AFTER)
    unmailed = (
        select(Incident, Connection)
        .join(Connection, col(Connection.id) == col(Incident.connection_id))
        .where(alarm | end)
        .order_by(col(Incident.id))
        .limit(200)
    )
    due: list[tuple[Incident, Connection, str, datetime | None, timedelta]] = [
        (incident, connection, OVER, incident.closed_at, CONTINUES_WITHIN)
        if incident.phase == IncidentPhase.CLOSED
        else (incident, connection, OPENED, incident.alarmed_at, timedelta())
        for incident, connection in session.exec(unmailed).all()
    ]
    # The first warning about the end of an access token is the alarm. If several more passed while nothing ran, the
    # newest is sent.
    ending = (
        select(Incident, Connection, Credential)
        .join(Connection, col(Connection.id) == col(Incident.connection_id))
        .join(Credential, col(Credential.connection_id) == col(Incident.connection_id))
        .where(Incident.cause == EXPIRES, Incident.phase == IncidentPhase.OPEN)
        .where(col(Incident.warned_days).is_not(None) | (col(Incident.alarmed_at) <= now - GIVE_UP_AFTER))
    )
    for incident, connection, credential in session.exec(ending).all():
        days = warning_due(credential, now)
        if days is not None and credential.expires_at and days < (incident.warned_days or math.inf):
            crossed_at = credential.expires_at - timedelta(days=days)
            due.append((incident, connection, f"days{days}", crossed_at, timedelta()))
    for incident, connection, kind, since, pause in due:
        tries = session.exec(select(func.count()).select_from(Job).where(Job.key == _key_of(incident, kind))).one()
        pause += FIRST_PAUSE * (2 ** min(tries, MOST_DOUBLINGS) - 1)
        if since is None or now >= since + pause:
            yield incident, connection, kind


def _people_to_tell(session: Session, organization_id: int, incident_id: int, kind: str) -> list[User]:
    told = select(AlarmMail.user_id).where(AlarmMail.incident_id == incident_id, AlarmMail.kind == kind)
    statement = (
        select(User)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(Membership.organization_id == organization_id, col(Membership.role).in_(TOLD_ROLES))
        .where(col(User.is_disabled).is_(False), col(User.id).not_in(told))
        .order_by(col(User.id))
    )
    if kind == OVER:
        begun = select(AlarmMail.user_id).where(AlarmMail.incident_id == incident_id, AlarmMail.kind == OPENED)
        statement = statement.where(col(User.id).in_(begun))
    return list(session.exec(statement))
