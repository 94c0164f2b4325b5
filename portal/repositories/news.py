"""Mail people what concerns them about requests: new ones, answers, and enablements that end soon.

Each person gets one message for everything since the last one, at most one an hour. A message that the mail server
does not take is tried again with what has happened by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from portal.accounts.models import Membership
from portal.accounts.principal import load_principal
from portal.actor import Principal, Right
from portal.connections.models import Connection
from portal.db import insert_into, utc_now
from portal.jobs import JobContext
from portal.mail import MailFailed, Message, is_configured, send
from portal.repositories.models import Enablement, Repository, RepositoryRequest, RequestNews, RequestState, visible_to
from portal.runtime import Runtime
from portal.web.times import day

WARNED_BEFORE = timedelta(days=7)
BUNDLED_FOR = timedelta(hours=1)
# What happened earlier than this is not mailed any more, if no message could be sent for so long.
FORGOTTEN_AFTER = timedelta(days=3)
MOST_LINES = 20


@dataclass
class News:
    """What one message says: paths of repositories, each with what happened."""

    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    ending: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.asked or self.answered or self.ending)


def has_news(runtime: Runtime) -> bool:
    """Return whether something happened that not everyone has been told about."""
    if not is_configured(runtime.settings):
        return False
    with runtime.database.reading() as session:
        newest = _newest(session, utc_now())
        if newest is None:
            return False
        told = select(func.count()).select_from(RequestNews).where(RequestNews.told_until >= newest)
        return session.exec(told).one() < session.exec(select(func.count()).select_from(Membership)).one()


def mail_news(context: JobContext) -> None:
    """Mail everyone whom something concerns.

    Raises:
        MailFailed: the mail server did not take one of the messages; the others were sent.
    """
    runtime, failure, sent = context.runtime, None, 0
    with runtime.database.reading() as session:
        members = session.exec(select(Membership).order_by(col(Membership.id))).all()
    for member in members:
        context.raise_if_stopped()
        now = utc_now()
        with runtime.database.reading() as session:
            known = session.get(RequestNews, member.id)
            if known and known.mailed_at and known.mailed_at > now - BUNDLED_FOR:
                continue
            since = max(known.told_until if known else member.created_at, now - FORGOTTEN_AFTER)
            principal = load_principal(session, member.user_id, member.organization_id)
            news = news_of(session, principal, since, now) if principal else News()
        if news and principal:
            reference = f"requests-{member.id}-{int(now.timestamp())}"
            subject, text = write(runtime.settings.base_url, news)
            try:
                send(runtime.settings, Message(principal.name, principal.email, subject, text, reference))
            except MailFailed as error:
                failure = failure or error
                continue
            sent += 1
        with context.transaction() as session:
            told = {"told_until": now, **({"mailed_at": now} if news else {})}
            statement = insert_into(session, RequestNews).values(membership_id=member.id, **told)
            session.execute(statement.on_conflict_do_update(index_elements=["membership_id"], set_=told))
    context.progress(sent, sent, f"{sent:,} sent")
    if failure:
        raise failure


def news_of(session: Session, principal: Principal, since: datetime, until: datetime) -> News:
    """Return what concerns one person, with the rights they have now."""
    news = News()
    may_answer = principal.may(Right.ENABLE_REPOSITORIES)
    own = col(RepositoryRequest.user_id) == principal.user_id
    about = (
        select(RepositoryRequest, Repository)
        .join(Repository, col(Repository.id) == col(RepositoryRequest.repository_id))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .where(visible_to(principal))
        .order_by(col(RepositoryRequest.id))
    )
    if may_answer:
        new = (col(RepositoryRequest.created_at) > since) & (col(RepositoryRequest.created_at) <= until)
        waiting = about.where(new, RepositoryRequest.state == RequestState.OPEN, ~own)
        news.asked = [repository.path_with_namespace for _, repository in session.exec(waiting)]
    decided = (col(RepositoryRequest.decided_at) > since) & (col(RepositoryRequest.decided_at) <= until)
    by_others = col(RepositoryRequest.decided_by_user_id) != principal.user_id
    for request, repository in session.exec(about.where(own, decided, by_others)):
        done = "enabled" if request.state == RequestState.APPROVED else "declined"
        until_day = f" until {day(request.ends_at - timedelta(days=1))}" if request.ends_at else ""
        news.answered.append(f"{repository.path_with_namespace}: {done}{until_day}")
    # Told when the warning begins, not on each day after it; whoever reads the answer to a request knows the end.
    ends = col(Enablement.ends_at)
    warned = (ends > since + WARNED_BEFORE) & (ends <= until + WARNED_BEFORE)
    ending = (
        select(Enablement, Repository)
        .join(Repository, col(Repository.id) == col(Enablement.repository_id))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .where(visible_to(principal), warned)
        .order_by(ends, col(Repository.path_with_namespace))
    )
    if not may_answer:
        asked_for = select(RepositoryRequest.repository_id).where(own)
        ending = ending.where(col(Repository.id).in_(asked_for))
    for enablement, repository in session.exec(ending):
        assert enablement.ends_at is not None
        news.ending.append(f"{repository.path_with_namespace}: {day(enablement.ends_at - timedelta(days=1))}")
    return news


def write(base_url: str, news: News) -> tuple[str, str]:
    """Return subject and text of a message."""
    parts, subjects = [], []
    for lines, title, subject in (
        (news.asked, "Waiting for your answer:", "new request"),
        (news.answered, "Your requests were answered:", "answer"),
        (news.ending, "Their time ends soon. Their last day is:", "ending soon"),
    ):
        if lines:
            more = [f"  and {len(lines) - MOST_LINES:,} more"] if len(lines) > MOST_LINES else []
            parts.append("\n".join([title, *(f"  {line}" for line in lines[:MOST_LINES]), *more]))
            plural = "" if subject == "ending soon" or len(lines) == 1 else "s"
            subjects.append(f"{len(lines):,} {subject}{plural}")
    text = "\n\n".join([*parts, f"Everything about requests: {base_url}/repositories/requests"])
    return f"Repositories: {', '.join(subjects)}", f"{text}\n"


def _newest(session: Session, now: datetime) -> datetime | None:
    """Return when something last happened that could concern anyone; None if nothing did lately."""
    moments = [
        session.exec(select(func.max(RepositoryRequest.created_at))).one(),
        session.exec(select(func.max(RepositoryRequest.decided_at))).one(),
    ]
    soon = col(Enablement.ends_at) <= now + WARNED_BEFORE
    if ends := session.exec(select(func.max(Enablement.ends_at)).where(soon)).one():
        moments.append(ends - WARNED_BEFORE)
    newest = max((moment for moment in moments if moment is not None), default=None)
    return newest if newest and newest > now - FORGOTTEN_AFTER else None
