"""The cast of the tests: one organization with a person of each role, and an outsider who owns another one."""

from __future__ import annotations

from dataclasses import dataclass

from portal.accounts.models import Membership, Organization, User
from portal.accounts.passwords import hash_password
from portal.actor import Role
from portal.runtime import Runtime

PASSWORD = "quiet lantern over marsh"
# Argon2 is slow on purpose; the whole cast shares one hash.
_hashes: list[str] = []


@dataclass(frozen=True)
class Actor:
    """Someone of the cast."""

    user_id: int
    organization_id: int
    membership_id: int
    email: str
    role: Role
    password: str = PASSWORD


@dataclass(frozen=True)
class Cast:
    """Everyone."""

    owner: Actor
    administrator: Actor
    lead: Actor
    auditor: Actor
    outsider: Actor


def make_cast(runtime: Runtime) -> Cast:
    """Store two organizations and five people."""
    return Cast(
        owner=add_actor(runtime, 1, "Olga Owner", Role.OWNER),
        administrator=add_actor(runtime, 1, "Ada Admin", Role.ADMINISTRATOR),
        lead=add_actor(runtime, 1, "Lea Lead", Role.TEAM_LEAD),
        auditor=add_actor(runtime, 1, "Aud Auditor", Role.AUDITOR),
        outsider=add_actor(runtime, 2, "Otto Outsider", Role.OWNER),
    )


def add_actor(runtime: Runtime, organization_id: int, name: str, role: Role) -> Actor:
    """Store one person, and their organization when it is new."""
    if not _hashes:
        _hashes.append(hash_password(PASSWORD))
    with runtime.database.transaction() as session:
        if session.get(Organization, organization_id) is None:
            session.add(Organization(id=organization_id, name=f"Organization {organization_id}"))
            session.flush()
        user = User(email=f"{name.split()[0].lower()}@example.com", name=name, password_hash=_hashes[0])
        session.add(user)
        session.flush()
        membership = Membership(organization_id=organization_id, user_id=user.id, role=role)
        session.add(membership)
        session.flush()
        return Actor(user.id, organization_id, membership.id, user.email, role)
