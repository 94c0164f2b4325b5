"""People: created at first run, by an invitation or on the command line; they sign in by e-mail and password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.limits import WINDOW_MINUTES, counted_try, note_success
from portal.accounts.models import Membership, Organization, SessionRecord, User
from portal.accounts.passwords import PasswordRefused, hash_password, verify_password
from portal.actor import ANONYMOUS, Actor, Principal, Role
from portal.audit.models import AuditEvent
from portal.db import utc_now
from portal.errors import InvalidInput, NotFound, RateLimited
from portal.runtime import Runtime

MAX_NAME = 100
MAX_EMAIL = 254
EMAIL_TAKEN = "Someone with this e-mail address already exists."
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


def clean_email(text: str) -> str:
    """Return an e-mail address as it is stored: lower case, without spaces around it.

    Raises:
        InvalidInput: it is not an e-mail address.
    """
    clean = text.strip().lower()
    if not _EMAIL.fullmatch(clean) or len(clean) > MAX_EMAIL or not clean.isprintable():
        raise InvalidInput(field_errors={"email": "Enter an e-mail address such as you@example.com."})
    return clean


def check_person(name: str, email: str, password: str) -> tuple[str, str, str]:
    """Return name, e-mail and the password's hash.

    Raises:
        InvalidInput: with a sentence per field.
    """
    problems: dict[str, str] = {}
    name, address, password_hash = " ".join(name.split()), "", ""
    if not _is_name(name):
        problems["name"] = "Enter your name, at most 100 characters."
    try:
        address = clean_email(email)
    except InvalidInput as error:
        problems |= error.field_errors
    if not problems:  # Hashing is slow, so only for a form that is otherwise valid.
        try:
            password_hash = hash_password(password, (name, address, address.partition("@")[0]))
        except PasswordRefused as error:
            problems["password"] = str(error)
    if problems:
        raise InvalidInput(field_errors=problems)
    return name, address, password_hash


def add_member(session: Session, organization_id: int, person: tuple[str, str, str], role: Role) -> Membership:
    """Create a membership for a person whose form is valid. Someone who was removed gets their old account back.

    Raises:
        InvalidInput: the e-mail address already belongs to a member.
    """
    name, email, password_hash = person
    user = session.exec(select(User).where(User.email == email)).first() or User(email=email, name=name)
    if user.id is not None and _membership(session, user) is not None:
        raise InvalidInput(field_errors={"email": EMAIL_TAKEN})
    user.name, user.password_hash, user.is_disabled = name, password_hash, False
    session.add(user)
    try:
        session.flush()
        membership = Membership(organization_id=organization_id, user_id=user.id or 0, role=role)
        session.add(membership)
        session.flush()
    except IntegrityError:  # Two at once, with the same address.
        raise InvalidInput(field_errors={"email": EMAIL_TAKEN}) from None
    return membership


def is_member(session: Session, email: str) -> bool:
    """Return whether an address, in its stored form, belongs to a member of an organization."""
    return _membership(session, session.exec(select(User).where(User.email == email)).first()) is not None


def check_sign_in(runtime: Runtime, email: str, password: str, source: str, device: str = "") -> Membership:
    """Return the membership of whoever gave the right password; text and time are the same for every failure.

    Args:
        runtime: of this portal.
        email: as typed.
        password: as typed.
        source: the client's address.
        device: from `throttle.known_device`.

    Raises:
        InvalidInput: unknown, disabled, no longer a member, or a wrong password.
        RateLimited: too many attempts.
    """
    clean = email.strip().lower()[:MAX_EMAIL]
    with _counted_try(runtime, clean, source, device=device) as attempt_id:
        with runtime.database.reading() as session:
            # A text that no database can hold (NUL) is no one's address either.
            user = session.exec(select(User).where(User.email == (clean if clean.isprintable() else ""))).first()
        usable = user is not None and not user.is_disabled
        right = verify_password(password, user.password_hash if user and usable else None)
    with runtime.database.transaction() as session:
        membership = _membership(session, user)
        # What an unknown person typed is not stored: it may be a password typed into the wrong field.
        organization_id = membership.organization_id if membership else None
        target = audit.Target(organization_id, "person", user.id if user else "", user.email if user else "")
        if not (user and membership and right):
            audit.record(session, ANONYMOUS, "session.refused", target, result="refused")
        else:
            audit.record(session, Actor.of_user(user.id, user.name), "session.started", target)
            note_success(session, attempt_id)
            session.get_one(User, user.id).last_signed_in_at = utc_now()
    if membership is None or not right:
        raise InvalidInput("E-mail address or password is wrong.")
    return membership


def verify_own_password(runtime: Runtime, principal: Principal, password: str, source: str) -> None:
    """Check a person's own password again (step-up, S5).

    Raises:
        InvalidInput: it is wrong.
        RateLimited: too many attempts.
    """
    with _counted_try(runtime, principal.email, source, session_id=principal.session_id) as attempt_id:
        with runtime.database.reading() as session:
            password_hash = session.get_one(User, principal.user_id).password_hash
        right = verify_password(password, password_hash)
    with runtime.database.transaction() as session:
        user = session.get_one(User, principal.user_id)
        _record(session, "session.proved", principal.organization_id, user, result="ok" if right else "refused")
        if right:
            note_success(session, attempt_id)
    if not right:
        raise InvalidInput(field_errors={"password": "That is not your password."})


def set_password(runtime: Runtime, email: str, password: str, *, keep_session: int | None = None) -> None:
    """Give a person another password and end their other sessions.

    Raises:
        InvalidInput: the password cannot be accepted.
        NotFound: there is no such person.
    """
    email = email.strip().lower()
    try:
        password_hash = hash_password(password, (email, email.partition("@")[0]))
    except PasswordRefused as error:
        raise InvalidInput(field_errors={"new_password": str(error)}) from None
    with runtime.database.transaction() as session:
        user = session.exec(select(User).where(User.email == email)).first()
        if user is None or user.id is None:
            raise NotFound("There is no such person.")
        user.password_hash = password_hash
        end_other_sessions(session, user.id, keep_session)
        membership = _membership(session, user)
        _record(session, "password.changed", membership.organization_id if membership else None, user)


def end_other_sessions(session: Session, user_id: int, besides: int | None) -> None:
    """End every session of a person but one, in the caller's transaction."""
    others = (col(SessionRecord.user_id) == user_id, col(SessionRecord.id) != (besides or 0))
    session.execute(delete(SessionRecord).where(*others))


def rename_person(runtime: Runtime, user_id: int, name: str) -> None:
    """Change a person's name.

    Raises:
        InvalidInput: it is empty or too long.
    """
    clean = " ".join(name.split())
    if not _is_name(clean):
        raise InvalidInput(field_errors={"name": "Enter your name, at most 100 characters."})
    with runtime.database.transaction() as session:
        user = session.get_one(User, user_id)
        user.name = clean
        membership = _membership(session, user)
        _record(session, "person.renamed", membership.organization_id if membership else None, user)


def only_organization(session: Session) -> Organization:
    """Return the first organization, which the command line adds people to.

    Raises:
        NotFound: the portal is not set up yet.
    """
    found = session.exec(select(Organization).order_by(Organization.id)).first()  # type: ignore[arg-type]
    if found is None:
        raise NotFound("The portal is not set up yet: open the setup link first.")
    return found


@contextmanager
def _counted_try(
    runtime: Runtime, email: str, source: str, *, device: str = "", session_id: int | None = None
) -> Iterator[int]:
    """Count a password attempt; the first one over the limit is recorded, those right after it are not.

    Raises:
        RateLimited: too many attempts.
    """
    try:
        with counted_try(runtime, email, source, device=device, session_id=session_id) as attempt_id:
            yield attempt_id
    except RateLimited:
        with runtime.database.reading() as session:
            user = session.exec(select(User).where(User.email == (email if email.isprintable() else ""))).first()
            membership = _membership(session, user)
            organization_id = membership.organization_id if membership else None
            target = audit.Target(organization_id, "person", str(user.id) if user else "", user.email if user else "")
            same = select(AuditEvent.number).where(
                AuditEvent.organization_id == organization_id,
                AuditEvent.action == "session.throttled",
                AuditEvent.object_id == target.id,
                AuditEvent.source_address == source,
                col(AuditEvent.at) > utc_now() - timedelta(minutes=WINDOW_MINUTES),
            )
            is_recorded = session.exec(same.limit(1)).first() is not None
        if not is_recorded:
            with runtime.database.transaction() as session:
                audit.record(session, ANONYMOUS, "session.throttled", target, result="refused")
        raise


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable()


def _membership(session: Session, user: User | None) -> Membership | None:
    if user is None:
        return None
    return session.exec(select(Membership).where(Membership.user_id == user.id)).first()


def _record(session: Session, action: str, organization_id: int | None, user: User, result: str = "ok") -> None:
    target = audit.Target(organization_id, "person", user.id, user.email)
    audit.record(session, Actor.of_user(user.id, user.name), action, target, result=result)
