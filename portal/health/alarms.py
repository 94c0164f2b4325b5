"""Notify the owners and administrators by e-mail: once when something breaks, once when it works again.

The incident rows say who must be told what; the job does it, and is started again until it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import Select

from portal.accounts.models import Membership, User
from portal.actor import Role
from portal.connections.models import Connection
from portal.db import utc_now
from portal.errors import Card, Surface
from portal.health.findings import UNREACHABLE
from portal.health.judge import CONTINUES_WITHIN
from portal.health.mail import MailFailed, Message, is_configured, send
from portal.health.models import AlarmMail, HealthWatch, Incident, Level, Phase
from portal.health.times import clock_of, lasted
from portal.jobs import Job, enqueue
from portal.runtime import Runtime

MAIL_ALARM = "health.mail_alarm"
OPENED, OVER = "opened", "over"
TOLD_ROLES = (Role.OWNER, Role.ADMINISTRATOR)
# What could not be mailed for a day is on every page anyway.
GIVE_UP_AFTER = timedelta(days=1)
FIRST_PAUSE = timedelta(minutes=1)
MOST_DOUBLINGS = 10


def enqueue_mail(session: Session, runtime: Runtime, connection: Connection, incident: Incident, kind: str) -> None:
    """Start the job that mails, in the transaction that decides it; without a mail server only the pages report it."""
    if not is_configured(runtime.settings):
        return
    enqueue(
        session,
        MAIL_ALARM,
        {"incident_id": incident.id, "kind": kind},
        organization_id=connection.organization_id,
        title=f"Mail about {connection.display_name}",
        key=_key_of(incident, kind),
        subject=f"connection:{connection.id}",
    )


def enqueue_due_mails(runtime: Runtime, now: datetime | None = None) -> None:
    """Start the mails of incidents that have finally ended, and retry, less and less often, those that were not
    accepted.
    """
    now = now or utc_now()
    if not is_configured(runtime.settings):
        return
    with runtime.database.transaction() as session:
        for incident, connection, kind in _due_mails(session, now):
            enqueue_mail(session, runtime, connection, incident, kind)


def has_due_mails(runtime: Runtime) -> bool:
    """Return whether a mail must be started."""
    with runtime.database.reading() as session:
        return is_configured(runtime.settings) and any(_due_mails(session, utc_now()))


def mail_alarm(runtime: Runtime, incident_id: int, kind: str) -> None:
    """Mail everyone who was not mailed yet.

    Raises:
        MailFailed: the mail server did not accept one of them; those it accepted are not sent again.
    """
    with runtime.database.reading() as session:
        incident = session.get(Incident, incident_id)
        if incident is None:
            return
        connection = session.get_one(Connection, incident.connection_id)
        watch = session.get(HealthWatch, incident.connection_id)
        people = _people_to_tell(session, connection.organization_id, incident_id, kind)
    subject, text = write(runtime.settings.base_url, connection, incident, watch, kind)
    failures = [error for person in people if (error := _mail_one(runtime, incident_id, kind, person, subject, text))]
    if failures:
        raise failures[0]
    with runtime.database.transaction() as session:
        row = session.get(Incident, incident_id)
        if row and kind == OPENED:
            row.alarm_mailed_at = row.alarm_mailed_at or utc_now()
        elif row:
            row.end_mailed_at = row.end_mailed_at or utc_now()


def write(
    base_url: str, connection: Connection, incident: Incident, watch: HealthWatch | None, kind: str
) -> tuple[str, str]:
    """Return subject and text of a message; it contains no words of GitLab's, because no one could tell them from
    ours.
    """
    card = Card.from_json(incident.card).at(Surface.HEALTH)
    link = f"{base_url}/connections/{connection.slug}/health"
    began = incident.opened_at or incident.last_failed_at
    if kind == OVER:
        ended = incident.closed_at or incident.last_failed_at
        text = f"It has worked again since {clock_of(ended)}, after {lasted(began, ended)}: {card.sentence}"
        return f"Over: {connection.display_name}", f"{text}\n\nThe history: {link}\n"
    lines = [
        card.sentence,
        "",
        f"What to do: {card.remedy}",
        f"Who can: {card.responsible}",
        "",
        f"Since: {clock_of(began)}",
    ]
    if incident.cause == UNREACHABLE:
        answered = f" GitLab last answered at {clock_of(watch.answered_at)}." if watch and watch.answered_at else ""
        lines.insert(2, f"The credentials are kept.{answered}\n")
    lines += [
        f"Connection: {connection.display_name}",
        f"Details: {link}",
        "",
        "You will get one more message when it works again.",
    ]
    word = "Soon" if incident.level == Level.WARNING else "Broken"
    return f"{word}: {connection.display_name}: {card.sentence}", "\n".join(lines) + "\n"


def _key_of(incident: Incident, kind: str) -> str:
    return f"alarm:{incident.id}:{kind}"


def _due_mails(session: Session, now: datetime) -> Iterator[tuple[Incident, Connection, str]]:
    for incident, connection in session.exec(_unmailed(now)).all():
        kind = OVER if incident.phase == Phase.CLOSED else OPENED
        if _is_due(session, incident, kind, now):
            yield incident, connection, kind


def _is_due(session: Session, incident: Incident, kind: str, now: datetime) -> bool:
    """Return whether it is time for another attempt: 0, 1, 3, 7, 15 … minutes after the mail was first due."""
    since = incident.alarmed_at if kind == OPENED else incident.closed_at
    tries = session.exec(select(func.count()).select_from(Job).where(Job.key == _key_of(incident, kind))).one()
    pause = FIRST_PAUSE * (2 ** min(tries, MOST_DOUBLINGS) - 1)
    return since is None or now >= since + (pause if kind == OPENED else CONTINUES_WITHIN + pause)


def _unmailed(now: datetime) -> Select[Incident, Connection]:
    alarm = col(Incident.alarm_mailed_at).is_(None) & (col(Incident.phase) == Phase.OPEN)
    alarm &= col(Incident.alarmed_at) > now - GIVE_UP_AFTER
    # One address that the mail server refuses leaves `alarm_mailed_at` empty: everyone who got the alarm also gets its
    # end.
    told = select(AlarmMail.incident_id).where(AlarmMail.kind == OPENED)
    end = col(Incident.id).in_(told) & col(Incident.end_mailed_at).is_(None)
    end &= (col(Incident.phase) == Phase.CLOSED) & (col(Incident.row_count) == 0)
    end &= (col(Incident.closed_at) < now - CONTINUES_WITHIN) & (col(Incident.closed_at) > now - GIVE_UP_AFTER)
    return (
        select(Incident, Connection)
        .join(Connection, col(Connection.id) == col(Incident.connection_id))
        .where(alarm | end)
        .order_by(col(Incident.id))
        .limit(200)
    )


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


def _mail_one(
    runtime: Runtime, incident_id: int, kind: str, person: User, subject: str, text: str
) -> MailFailed | None:
    assert person.id is not None
    reference = f"incident-{incident_id}-{kind}-{person.id}"
    try:
        send(runtime.settings, Message(person.name, person.email, subject, text, reference))
    except MailFailed as error:
        return error
    with runtime.database.transaction() as session:
        session.add(AlarmMail(incident_id=incident_id, kind=kind, user_id=person.id))
    return None
