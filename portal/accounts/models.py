"""Tables for people and their rights, for sessions, and for the one-time links that let people in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from portal.actor import Role
from portal.db import BigId, UTCDateTime, utc_now

HASH_LENGTH = 64


class Organization(SQLModel, table=True):
    """The owner of connections, members and a plan; the first one is created at first run."""

    __tablename__ = "organization"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    name: str = Field(max_length=100)
    plan: str = Field(default="enterprise", max_length=40)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)


class User(SQLModel, table=True):
    """A person. Their membership says what they may do; without one they cannot sign in."""

    __tablename__ = "user"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    # Lower case; two spellings of one address are one person.
    email: str = Field(unique=True, max_length=254)
    name: str = Field(max_length=100)
    # Argon2id with its parameters; null for a person who signs in another way.
    password_hash: str | None = Field(default=None, max_length=255)
    is_disabled: bool = False
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    last_signed_in_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class Membership(SQLModel, table=True):
    """One person in one organization, with the role that decides their rights."""

    __tablename__ = "membership"
    __table_args__ = (UniqueConstraint("organization_id", "user_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    organization_id: int = Field(foreign_key="organization.id", ondelete="CASCADE", sa_type=BigId)
    user_id: int = Field(foreign_key="user.id", index=True, ondelete="CASCADE", sa_type=BigId)
    role: str = Field(default=Role.TEAM_LEAD, max_length=20)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)


class GroupGrant(SQLModel, table=True):
    """A GitLab group that a team lead may work in, with everything below it."""

    __tablename__ = "group_grant"
    __table_args__ = (UniqueConstraint("membership_id", "connection_id", "gitlab_group_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    membership_id: int = Field(foreign_key="membership.id", ondelete="CASCADE", sa_type=BigId)
    # No foreign key: connections are a higher capability, which removes the grants of a connection it deletes.
    connection_id: int = Field(index=True, sa_type=BigId)
    gitlab_group_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    granted_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)


class SessionRecord(SQLModel, table=True):
    """One signed-in browser. The row is the session: deleting it ends it at once."""

    __tablename__ = "session"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    # SHA-256 of the cookie; the cookie itself is stored nowhere.
    token_hash: str = Field(unique=True, max_length=HASH_LENGTH)
    user_id: int = Field(foreign_key="user.id", index=True, ondelete="CASCADE", sa_type=BigId)
    organization_id: int = Field(foreign_key="organization.id", ondelete="CASCADE", sa_type=BigId)
    data: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    # The absolute limit counts from here, whatever happens in between.
    created_at: datetime = Field(index=True, sa_type=UTCDateTime)
    last_active_at: datetime = Field(index=True, sa_type=UTCDateTime)
    # When the password was last given; sensitive changes require a recent one.
    proved_at: datetime = Field(sa_type=UTCDateTime)
    source: str = Field(default="", max_length=64)
    user_agent: str = Field(default="", max_length=200)


class Invitation(SQLModel, table=True):
    """A one-time link by which a person becomes a member."""

    __tablename__ = "invitation"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    organization_id: int = Field(foreign_key="organization.id", index=True, ondelete="CASCADE", sa_type=BigId)
    token_hash: str = Field(unique=True, max_length=HASH_LENGTH)
    email: str = Field(max_length=254)
    role: str = Field(max_length=20)
    invited_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    created_at: datetime = Field(sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    # Null while the link can still be used.
    accepted_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class InvitedGroup(SQLModel, table=True):
    """A GitLab group that a team lead gets with the invitation; it becomes a grant when the invitation is accepted."""

    __tablename__ = "invited_group"
    __table_args__ = (UniqueConstraint("invitation_id", "connection_id", "gitlab_group_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    invitation_id: int = Field(foreign_key="invitation.id", ondelete="CASCADE", sa_type=BigId)
    # No foreign key, as with grants: whoever deletes a connection deletes these as well.
    connection_id: int = Field(index=True, sa_type=BigId)
    gitlab_group_id: int = Field(sa_column=Column(BigInteger, nullable=False))


class SetupToken(SQLModel, table=True):
    """The one-time link of the first run."""

    __tablename__ = "setup_token"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    token_hash: str = Field(unique=True, max_length=HASH_LENGTH)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # Null while the link can still be used.
    used_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class SignInAttempt(SQLModel, table=True):
    """One sign-in attempt, for the throttle. Account and source are keyed hashes, not addresses."""

    __tablename__ = "sign_in_attempt"
    __table_args__ = (
        Index("ix_sign_in_attempt_account", "account_hash", "at"),
        Index("ix_sign_in_attempt_source", "source_hash", "at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    account_hash: str = Field(max_length=HASH_LENGTH)
    source_hash: str = Field(max_length=HASH_LENGTH)
    # Recorded as a failure before the password is checked, so that parallel attempts count one another.
    succeeded: bool = False
    at: datetime = Field(index=True, sa_type=UTCDateTime)
