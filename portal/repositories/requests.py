"""Ask for a repository: people who see but may not enable it ask, and those who may enable it answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.models import User
from portal.accounts.principal import require_right_now
from portal.actor import SYSTEM, Actor, Principal, Right
from portal.connections.models import Connection
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput, NotFound
from portal.foreign import clean
from portal.jobs import JobContext
from portal.repositories.enablement import change_rows
from portal.repositories.models import (
    Enablement,
    ItemResult,
    Repository,
    RepositoryRequest,
    RequestState,
    keep_counts,
    visible_to,
)
from portal.repositories.selection import Row, get_rows
from portal.runtime import Runtime

MAX_TEXT = 1000
MAX_OPEN = 100
# How long what was decided stays on the page, and how many of those.
SHOWN_DAYS, SHOWN = 30, 50
# The oldest come first; no one answers more on one page.
MAX_WAITING = 500
LONGEST_DAYS = 3 * 365
IS_OPEN = col(RepositoryRequest.state) == RequestState.OPEN
ENDED = "Someone has answered this request in the meantime."


@dataclass(frozen=True)
class Asked:
    """One request, as the page shows it."""

    request: RepositoryRequest
    repository: Repository
    connection: Connection
    asker: str
    decider: str
    is_mine: bool


def may_ask(principal: Principal) -> bool:
    """Return whether a person asks for repositories because they may not enable any."""
    return principal.may(Right.SEE_REPOSITORIES) and not principal.may(Right.ENABLE_REPOSITORIES)


def row_to_ask_for(runtime: Runtime, principal: Principal, repository_id: int) -> Row:
    """Return a repository that a person may ask for.

    Raises:
        NotFound: they may not see it, or need not ask.
    """
    with runtime.database.reading() as session:
        rows = get_rows(session, principal, [repository_id])
    if not rows or not may_ask(principal):
        raise NotFound
    return rows[0]


def ask(runtime: Runtime, principal: Principal, repository_id: int, reason: str) -> None:
    """Ask for a repository.

    Raises:
        NotFound: the person may not see it, or need not ask.
        InvalidInput: the reason is missing, or it is too long.
        Conflict: it is enabled, cannot be, or has been asked for.
    """
    reason = _checked(reason, "reason")
    if not reason:
        raise InvalidInput(field_errors={"reason": "Say what it is needed for: whoever decides reads it."})
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.SEE_REPOSITORIES)
        rows = get_rows(session, principal, [repository_id])
        if not rows or not may_ask(principal):
            raise NotFound
        row = rows[0]
        if row.enablement:
            raise Conflict("This repository is enabled already.")
        if row.reason:
            raise Conflict("This repository cannot be enabled at the moment; the list says why.")
        mine = (
            select(func.count())
            .select_from(RepositoryRequest)
            .where(RepositoryRequest.user_id == principal.user_id, RepositoryRequest.state == RequestState.OPEN)
        )
        if session.exec(mine).one() >= MAX_OPEN:
            raise Conflict(f"You have {MAX_OPEN} open requests. Withdraw one, or wait until some are answered.")
        try:
            with session.begin_nested():
                session.add(
                    RepositoryRequest(
                        repository_id=repository_id,
                        connection_id=row.repository.connection_id,
                        user_id=principal.user_id,
                        reason=reason,
                    )
                )
                session.flush()
        except IntegrityError:
            raise Conflict("Someone has asked for this repository already.") from None
        _record(session, principal.organization_id, principal.actor, row.repository, "repository.requested")


def list_requests(runtime: Runtime, principal: Principal) -> tuple[list[Asked], list[Asked]]:
    """Return the open requests, oldest first, and those that ended lately, as far as a person may see them."""
    with runtime.database.reading() as session:
        lately = col(RepositoryRequest.decided_at) > utc_now() - timedelta(days=SHOWN_DAYS)
        waiting = _load(session, principal, IS_OPEN, col(RepositoryRequest.created_at), MAX_WAITING)
        ended = _load(session, principal, ~IS_OPEN & lately, col(RepositoryRequest.decided_at).desc(), SHOWN)
    return waiting, ended


def count_waiting(runtime: Runtime, principal: Principal) -> int:
    """Return how many requests wait for this person's answer, or for someone else's if they asked."""
    counted = (
        select(func.count(col(RepositoryRequest.id)))
        .join(Repository, col(Repository.id) == col(RepositoryRequest.repository_id))
        .join(Connection, col(Connection.id) == col(RepositoryRequest.connection_id))
        .where(*_seen_by(principal), IS_OPEN)
    )
    with runtime.database.reading() as session:
        return session.exec(counted).one()


def decide(
    runtime: Runtime, principal: Principal, request_id: int, *, is_approved: bool, answer: str, ends_on: date | None
) -> str:
    """Approve a request, which enables its repository, or decline it; return the repository's path.

    Args:
        runtime: of this process.
        principal: who decides; may enable that repository.
        request_id: our id.
        is_approved: whether it is enabled.
        answer: for whoever asked; needed to decline.
        ends_on: the last day (UTC) on which an approved one is enabled; None for no end.

    Raises:
        NotFound: there is none, or the person may not see the repository.
        RightLost: they may no longer enable repositories.
        InvalidInput: the answer or the date is not acceptable.
        Conflict: it has been answered, or the repository can no longer be enabled.
    """
    answer = _checked(answer, "answer")
    if not is_approved and not answer:
        raise InvalidInput(field_errors={"answer": "Say why: whoever asked reads it."})
    today = utc_now().date()
    if is_approved and ends_on is not None and not today <= ends_on <= today + timedelta(days=LONGEST_DAYS):
        raise InvalidInput(field_errors={"ends_on": "Choose a day from today on, within three years."})
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        request = _locked(session, principal, request_id)
        row = get_rows(session, principal, [request.repository_id])[0]
        now = utc_now()
        request.state = RequestState.APPROVED if is_approved else RequestState.DECLINED
        request.decided_by_user_id, request.decided_at, request.answer = principal.user_id, now, answer
        if is_approved:
            with keep_counts(session, col(Repository.id) == request.repository_id):
                result = change_rows(session, principal, [row], enabled=True, at=now)[request.repository_id]
            if result == ItemResult.UNAVAILABLE:
                raise Conflict("This repository can no longer be enabled; the list says why.")
            if ends_on is not None and result == ItemResult.CHANGED:
                request.ends_at = datetime.combine(ends_on + timedelta(days=1), time(), UTC)
                of_it = select(Enablement).where(Enablement.repository_id == request.repository_id)
                session.exec(of_it).one().ends_at = request.ends_at
        action = "repository.request_approved" if is_approved else "repository.request_declined"
        _record(session, principal.organization_id, principal.actor, row.repository, action)
        return row.repository.path_with_namespace


def withdraw(runtime: Runtime, principal: Principal, request_id: int) -> None:
    """Take back a request that you made.

    Raises:
        NotFound: it is not theirs.
        Conflict: it has been answered.
    """
    with runtime.database.transaction() as session:
        request = _locked(session, principal, request_id)
        if request.user_id != principal.user_id:
            raise NotFound
        request.state, request.decided_at = RequestState.WITHDRAWN, utc_now()
        repository = session.get_one(Repository, request.repository_id)
        _record(session, principal.organization_id, principal.actor, repository, "repository.request_withdrawn")


def ended_enablements(runtime: Runtime) -> list[int]:
    """Return our ids of the repositories whose time is over."""
    with runtime.database.reading() as session:
        return list(session.exec(select(Enablement.repository_id).where(col(Enablement.ends_at) <= utc_now())))


def disable_ended(context: JobContext) -> None:
    """Disable the repositories whose time is over."""
    done = 0
    for repository_id in ended_enablements(context.runtime):
        context.raise_if_stopped()
        over = (col(Enablement.repository_id) == repository_id, col(Enablement.ends_at) <= utc_now())
        with context.transaction() as session, keep_counts(session, col(Repository.id) == repository_id):
            if session.connection().execute(delete(Enablement).where(*over)).rowcount:
                repository = session.get_one(Repository, repository_id)
                connection = session.get_one(Connection, repository.connection_id)
                _record(session, connection.organization_id, SYSTEM, repository, "repository.time_over")
                done += 1
    context.progress(done, done, f"{done:,} disabled")


def _checked(text: str, field: str) -> str:
    text = clean(text.strip())
    if len(text) > MAX_TEXT:
        raise InvalidInput(field_errors={field: f"Use at most {MAX_TEXT:,} characters."})
    return text


def _locked(session: Session, principal: Principal, request_id: int) -> RepositoryRequest:
    request = session.exec(
        select(RepositoryRequest).where(RepositoryRequest.id == request_id).with_for_update()
    ).first()
    if request is None or not get_rows(session, principal, [request.repository_id]):
        raise NotFound
    if request.state != RequestState.OPEN:
        raise Conflict(ENDED)
    return request


def _seen_by(principal: Principal) -> list[ColumnElement[bool]]:
    """Return the conditions for what a person sees: those who may not answer see what they asked for."""
    if principal.may(Right.ENABLE_REPOSITORIES):
        return [visible_to(principal)]
    return [visible_to(principal), col(RepositoryRequest.user_id) == principal.user_id]


def _load(session: Session, principal: Principal, which: ColumnElement[bool], order: Any, limit: int) -> list[Asked]:
    found = session.exec(
        select(RepositoryRequest, Repository, Connection)
        .join(Repository, col(Repository.id) == col(RepositoryRequest.repository_id))
        .join(Connection, col(Connection.id) == col(RepositoryRequest.connection_id))
        .where(*_seen_by(principal), which)
        .order_by(order)
        .limit(limit)
    ).all()
    ids = {one.user_id for one, _, _ in found} | {one.decided_by_user_id for one, _, _ in found}
    names = {user.id: user.name for user in session.exec(select(User).where(col(User.id).in_(ids - {None})))}
    return [
        Asked(
            one,
            repository,
            connection,
            names.get(one.user_id, ""),
            names.get(one.decided_by_user_id, ""),
            one.user_id == principal.user_id,
        )
        for one, repository, connection in found
    ]


def _record(session: Session, organization_id: int, actor: Actor, repository: Repository, action: str) -> None:
    path = audit.Foreign(repository.path_with_namespace)
    target = audit.Target(organization_id, "repository", repository.id, path)
    audit.record(session, actor, action, target, path=path)
