"""The life of a hand-over link: made, opened once, used once; or declined, withdrawn, expired.

A link acts with the rights of the person who made it, read again each time, for one step of one connection and for the
GitLab that the connection had then. If anything of that no longer holds, the link looks as if it had never existed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.principal import load_principal
from portal.actor import Actor, ActorKind, Principal, Right, RightLost
from portal.connections.applications import save_credentials
from portal.connections.models import Connection, ConnectionState
from portal.connections.panels import Panel, Place
from portal.connections.steps import STEPS_OF, Step, step_to_do_first
from portal.connections.store import application_of, get_connection_for_admin, is_included, require_plan
from portal.db import utc_now
from portal.errors import Card, InvalidInput, NotFound
from portal.handover.models import HandOver, Outcome
from portal.jobs import JobContext
from portal.requestinfo import current_request_info
from portal.runtime import Runtime
from portal.tokens import hash_of, new_token

STEPS = (Step.APPLICATION, Step.AUTHORIZE)
DAYS = (1, 3, 7)
KEEP_DAYS = 30
MAX_NAME = 100
MAX_REASON = 500
# No one mistypes two values this often; guessing takes more.
MAX_TRIES = 20


class LinkOver(NotFound):
    """The link was used, withdrawn, has expired or was never made: no one is told which."""

    code = "hand_over_link"
    title = "This link does not work"
    sentence = "It may have been used or withdrawn, or it may have expired. Ask whoever sent it for a new one."


@dataclass(frozen=True)
class Task:
    """A link that can be used now: what for, and with whose rights."""

    link: HandOver
    connection: Connection
    principal: Principal


def hand_over(runtime: Runtime, principal: Principal, slug: str, step: Step, recipient: str, days: int) -> str:
    """Make a link for a step, void the one before, and return it: it is shown once and not stored.

    Raises:
        InvalidInput: no name, or a time that is not offered.
        NotFound: no such connection for this person, or the step cannot be done yet.
    """
    name = " ".join(recipient.split())
    problems = {}
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        problems["recipient"] = f"Enter the name of whoever gets the link, at most {MAX_NAME} characters."
    if days not in DAYS:
        problems["days"] = "Choose how long the link works."
    if problems:
        raise InvalidInput(field_errors=problems)
    token, now = new_token(), utc_now()
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        require_plan(principal, connection)
        if not _may_be_done(connection, step):
            raise NotFound
        assert connection.id is not None
        _end_open(session, principal, connection, step)
        link = HandOver(
            public_id=secrets.token_urlsafe(16),
            connection_id=connection.id,
            step=step,
            token_hash=hash_of(token),
            recipient=name,
            requested_by_user_id=principal.user_id,
            external_url=connection.external_url,
            api_url=connection.api_url,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        session.add(link)
        details: dict[str, Any] = {"recipient": name, "step": step.value, "days": days}
        audit.record(session, principal.actor, "handover.created", connection.target, **details)
    return f"{runtime.settings.base_url}/hand-over/{token}"


def latest_link(runtime: Runtime, connection: Connection, step: Step) -> HandOver | None:
    """Return the newest link for a step, ended or not."""
    statement = select(HandOver).where(HandOver.connection_id == connection.id, HandOver.step == step)
    with runtime.database.reading() as session:
        return session.exec(statement.order_by(col(HandOver.id).desc()).limit(1)).first()


def hand_over_panels(runtime: Runtime, principal: Principal, connection: Connection) -> list[Panel]:
    """Return the newest link of a connection while someone has it, and if they declined."""
    if not principal.may(Right.MANAGE_CONNECTIONS):
        return []
    statement = select(HandOver).where(HandOver.connection_id == connection.id)
    with runtime.database.reading() as session:
        link = session.exec(statement.order_by(col(HandOver.id).desc()).limit(1)).first()
    is_declined = link is not None and link.outcome == Outcome.DECLINED and link.step not in connection.steps_done
    if link is None or not (is_open(link) or is_declined):
        return []
    return [Panel(Place.NEEDS, "handover/_needs.html", {"link": link})]


def is_open(link: HandOver, now: datetime | None = None) -> bool:
    """Return whether no one has ended it and it has not expired."""
    return not link.outcome and link.expires_at > (now or utc_now())


def withdraw(runtime: Runtime, principal: Principal, slug: str, step: Step) -> None:
    """Void the open link of a step, if there is one.

    Raises:
        NotFound: no such connection for this person.
    """
    with runtime.database.transaction() as session:
        _end_open(session, principal, get_connection_for_admin(session, principal, slug, is_locked=True), step)


def find_sealed(runtime: Runtime, token: str) -> Task:
    """Return what a link is for that no one has opened yet.

    Raises:
        LinkOver: it cannot be opened.
    """
    with runtime.database.reading() as session:
        return _sealed(session, token)


def open_link(runtime: Runtime, token: str) -> tuple[HandOver, str]:
    """Bind a link to one browser; return it, and the value of the cookie that this browser keeps.

    Raises:
        LinkOver: it cannot be opened, or another browser was faster.
    """
    cookie = new_token()
    with runtime.database.transaction() as session:
        task = _sealed(session, token, is_locked=True)
        link = task.link
        link.opened_at, link.opened_from = utc_now(), current_request_info().source_address
        link.browser_hash = hash_of(cookie)
        audit.record(session, link.actor, "handover.opened", task.connection.target, step=link.step)
        return link, cookie


def find_resumed(runtime: Runtime, token: str, cookies: Mapping[str, str]) -> str | None:
    """Return the public id of a link that is opened again in the browser that opened it first; None otherwise."""
    with runtime.database.reading() as session:
        link = session.exec(select(HandOver).where(HandOver.token_hash == hash_of(token))).first()
        if link is None:
            return None
        with suppress(LinkOver):
            return _opened(session, link.public_id, cookies.get(link.public_id, "")).link.public_id
    return None


def find_opened(runtime: Runtime, public_id: str, cookie: str) -> Task:
    """Return what this browser has opened and can still do.

    Raises:
        LinkOver: nothing.
    """
    with runtime.database.reading() as session:
        return _opened(session, public_id, cookie)


def find_finished(runtime: Runtime, public_id: str, cookie: str) -> HandOver | None:
    """Return a link that this browser has used or declined; None if it has not."""
    with runtime.database.reading() as session:
        link = session.exec(select(HandOver).where(HandOver.public_id == public_id)).first()
    is_mine = bool(link and link.browser_hash and secrets.compare_digest(link.browser_hash, hash_of(cookie)))
    return link if link and is_mine and link.outcome in {Outcome.ACCEPTED, Outcome.DECLINED} else None


def send_application(runtime: Runtime, task: Task, cookie: str, client_id: str, client_secret: str) -> Card | None:
    """Have GitLab check what was sent, and store it; return what GitLab has against it, None if it accepts both.

    Raises:
        LinkOver: the link has ended, possibly while GitLab was asked; nothing is stored.
        InvalidInput, Conflict, RateLimited: as `save_credentials`.
    """
    public_id = task.link.public_id
    with runtime.database.transaction() as session:
        link = _opened(session, public_id, cookie, Step.APPLICATION, is_locked=True).link
        if link.tries >= MAX_TRIES:
            raise LinkOver
        link.tries, link.sent_at = link.tries + 1, utc_now()

    def end(session: Session, card: Card | None) -> None:
        now = _opened(session, public_id, cookie, Step.APPLICATION, is_locked=True)
        if card is None:
            _end(session, now.link.actor, now.link, now.connection, Outcome.ACCEPTED)

    version = task.connection.row_version
    typed = (task.connection.slug, client_id, client_secret)
    try:
        _, card = save_credentials(runtime, task.principal, *typed, row_version=version, on_answer=end)
    except RightLost:
        raise LinkOver from None
    if card:
        with runtime.database.transaction() as session:
            session.get_one(HandOver, task.link.id).card = card.to_json()
    return card


def decline(runtime: Runtime, public_id: str, cookie: str, reason: str) -> None:
    """End a link because the person who got it will not do the step.

    Raises:
        LinkOver: it has ended already.
        InvalidInput: the reason is too long.
    """
    clean = "".join(mark if mark.isprintable() else " " for mark in reason).strip()
    if len(clean) > MAX_REASON:
        raise InvalidInput(field_errors={"reason": f"Write at most {MAX_REASON} characters."})
    with runtime.database.transaction() as session:
        task = _opened(session, public_id, cookie, is_locked=True)
        task.link.reason = clean
        _end(session, task.link.actor, task.link, task.connection, Outcome.DECLINED)


def note_refused(runtime: Runtime, *, token: str = "", public_id: str = "") -> None:
    """Record that someone tried to use a link that has ended; one that was never made belongs to no one."""
    mine = HandOver.token_hash == hash_of(token) if token else HandOver.public_id == public_id
    with runtime.database.transaction() as session:
        link = session.exec(select(HandOver).where(mine)).first()
        if link is not None:
            connection = session.get_one(Connection, link.connection_id)
            code = link.outcome or ("expired" if not is_open(link) else "not_allowed")
            details: dict[str, Any] = {"step": link.step, "code": code}
            audit.record(session, link.actor, "handover.refused", connection.target, result="refused", **details)


def end_with_authorization(session: Session, connection: Connection, actor: Actor) -> None:
    """End the links for authorizing a connection in the transaction that stores what someone authorized.

    Raises:
        RightLost: they did it through a link that has ended since.
    """
    mine = (HandOver.connection_id == connection.id, HandOver.step == Step.AUTHORIZE, HandOver.outcome == "")
    found = session.exec(select(HandOver).where(*mine).with_for_update()).all()
    if actor.kind == ActorKind.HAND_OVER and not any(str(link.id) == actor.id and is_open(link) for link in found):
        raise RightLost(Right.MANAGE_CONNECTIONS)
    for link in found:
        is_used = actor.kind == ActorKind.HAND_OVER and str(link.id) == actor.id
        _end(session, actor, link, connection, Outcome.ACCEPTED if is_used else Outcome.WITHDRAWN)


def has_old(runtime: Runtime) -> bool:
    """Return whether there is a link to delete."""
    with runtime.database.reading() as session:
        return session.exec(select(HandOver.id).where(_is_old()).limit(1)).first() is not None


def forget_old(context: JobContext) -> None:
    """Delete links that ended long ago; the audit log keeps what was done with them."""
    with context.transaction() as session:
        session.execute(delete(HandOver).where(_is_old()))


def _is_old() -> ColumnElement[bool]:
    return col(HandOver.expires_at) < utc_now() - timedelta(days=KEEP_DAYS)


def _sealed(session: Session, token: str, *, is_locked: bool = False) -> Task:
    statement = select(HandOver).where(HandOver.token_hash == hash_of(token))
    link = session.exec(statement.with_for_update() if is_locked else statement).first()
    if link is None or link.opened_at is not None:
        raise LinkOver
    return _task(session, link)


def _opened(
    session: Session, public_id: str, cookie: str, step: Step | None = None, *, is_locked: bool = False
) -> Task:
    statement = select(HandOver).where(HandOver.public_id == public_id).execution_options(populate_existing=True)
    link = session.exec(statement.with_for_update() if is_locked else statement).first()
    if link is None or not link.browser_hash or not secrets.compare_digest(link.browser_hash, hash_of(cookie)):
        raise LinkOver
    if step is not None and link.step != step:
        raise LinkOver
    return _task(session, link)


def _task(session: Session, link: HandOver) -> Task:
    """Return what a link is for, if everything that it was made with still holds.

    Raises:
        LinkOver: something does not.
    """
    connection = session.get_one(Connection, link.connection_id)
    principal = load_principal(session, link.requested_by_user_id, connection.organization_id)
    if not is_open(link) or principal is None or not principal.may(Right.MANAGE_CONNECTIONS):
        raise LinkOver
    is_same_gitlab = (link.external_url, link.api_url) == (connection.external_url, connection.api_url)
    if not is_same_gitlab or not is_included(principal, connection) or not _may_be_done(connection, Step(link.step)):
        raise LinkOver
    # To change a connection in use, its maker would have had to give the password.
    if connection.authorized_at and connection.authorized_at > link.created_at:
        raise LinkOver
    application = application_of(session, connection.id) if link.step == Step.APPLICATION else None
    # Someone else was faster; an application that is older is the one to be replaced.
    if application and application.checked_at and application.updated_at > link.created_at:
        raise LinkOver
    return Task(link, connection, replace(principal, acted_by=link.actor))


def _may_be_done(connection: Connection, step: Step) -> bool:
    is_live = connection.state != ConnectionState.DISCONNECTED
    return is_live and step in STEPS_OF[connection.method] and step_to_do_first(connection, step) is None


def _end_open(session: Session, principal: Principal, connection: Connection, step: Step) -> None:
    mine = (HandOver.connection_id == connection.id, HandOver.step == step, HandOver.outcome == "")
    for link in filter(is_open, session.exec(select(HandOver).where(*mine).with_for_update()).all()):
        _end(session, principal.actor, link, connection, Outcome.WITHDRAWN)


def _end(session: Session, actor: Actor, link: HandOver, connection: Connection, outcome: Outcome) -> None:
    link.outcome, link.ended_at = outcome, utc_now()
    session.add(link)
    reason = {"reason": link.reason} if link.reason else {}
    audit.record(session, actor, f"handover.{outcome}", connection.target, step=link.step, **reason)
