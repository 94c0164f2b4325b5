"""The first run: a one-time link, printed where the operator sees it, creates the first owner (S7)."""

from __future__ import annotations

from sqlalchemy import CursorResult, delete, update
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.models import Membership, Organization, SetupToken, User
from portal.accounts.people import add_member, check_person
from portal.actor import SYSTEM, Actor, Role
from portal.db import utc_now
from portal.errors import InvalidInput, NotFound
from portal.runtime import Runtime
from portal.tokens import hash_of, new_token

MAX_NAME = 100


def ensure_setup_link(runtime: Runtime) -> str | None:
    """Return a new one-time link while there are no users, and void earlier ones. None once a user exists."""
    token = new_token()
    with runtime.database.transaction() as session:
        if _is_set_up(session):
            return None
        session.execute(delete(SetupToken))
        session.add(SetupToken(token_hash=hash_of(token)))
    return f"{runtime.settings.base_url}/setup/{token}"


def follow_plan(runtime: Runtime) -> None:
    """Give the organization the plan that the operator has set, if it is the only one here."""
    plan = runtime.settings.plan
    with runtime.database.transaction() as session:
        found = session.exec(select(Organization).limit(2)).all()
        if len(found) == 1 and found[0].plan != plan:
            old, found[0].plan = found[0].plan, plan
            target = audit.Target(found[0].id, "organization", found[0].id, found[0].name)
            audit.record(session, SYSTEM, "organization.plan_changed", target, old=old, new=plan)


def require_open_setup(runtime: Runtime, token: str) -> None:
    """Return if the link can still be used.

    Raises:
        NotFound: it is wrong, used, or a user already exists.
    """
    with runtime.database.reading() as session:
        _find_token(session, token)


def set_up(runtime: Runtime, token: str, organization: str, name: str, email: str, password: str) -> Membership:
    """Create the organization and its owner, and void the link; of several concurrent calls exactly one succeeds.

    Raises:
        NotFound: the link is wrong or used.
        InvalidInput: with a sentence per field; the link stays usable.
    """
    require_open_setup(runtime, token)
    clean = " ".join(organization.split())
    if not 0 < len(clean) <= MAX_NAME or not clean.isprintable():
        raise InvalidInput(
            field_errors={"organization": "Enter the name of your organization, at most 100 characters."}
        )
    person = check_person(name, email, password)
    with runtime.database.transaction() as session:
        _find_token(session, token)
        # All: two processes that started together may each have printed a link, and only one creates an owner.
        claim = update(SetupToken).where(col(SetupToken.used_at).is_(None)).values(used_at=utc_now())
        claimed = session.execute(claim)
        assert isinstance(claimed, CursorResult)
        if claimed.rowcount == 0:
            raise NotFound("This link was used a moment ago.")
        owned = Organization(name=clean, plan=runtime.settings.plan)
        session.add(owned)
        session.flush()
        assert owned.id is not None
        membership = add_member(session, owned.id, person, Role.OWNER)
        actor = Actor.of_user(membership.user_id, person[0])
        target = audit.Target(owned.id, "organization", owned.id, owned.name)
        audit.record(session, actor, "organization.created", target)
        return membership


def _is_set_up(session: Session) -> bool:
    return session.exec(select(User.id).limit(1)).first() is not None


def _find_token(session: Session, token: str) -> SetupToken:
    statement = select(SetupToken).where(SetupToken.token_hash == hash_of(token), col(SetupToken.used_at).is_(None))
    found = session.exec(statement).first()
    if found is None or _is_set_up(session):
        raise NotFound("This link was used already, or a newer one was printed at the last start.")
    return found
