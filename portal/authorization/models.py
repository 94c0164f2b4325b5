"""Tables of an authorization attempt and of the credential it ends in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from portal.db import UTCDateTime, utc_now


class AttemptState(StrEnum):
    """Where an attempt stands; every state but the first two is final."""

    STARTED = "started"
    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    WRONG_PERSON = "wrong_person"
    DENIED = "denied"
    FAILED = "failed"
    ABANDONED = "abandoned"


class AuthorizationAttempt(SQLModel, table=True):
    """One popup: started by one person in one browser for one connection, used once, dead after ten minutes."""

    __tablename__ = "authorization_attempt"

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(unique=True, max_length=40)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE")
    user_id: int = Field(foreign_key="user.id")
    state_hash: str = Field(unique=True, max_length=64)
    # SHA-256 of the cookie that binds the attempt to the browser it was started in (RFC 9700 §4.7).
    browser_hash: str = Field(max_length=64)
    # The `state` and the PKCE verifier, sealed: they leave only in the redirect and in the token request.
    state_sealed: bytes | None = None
    verifier_sealed: bytes | None = None
    # Endpoints, client id, redirect URI and scopes as they were at the start (RFC 9700 §4.4.2).
    frozen: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    row_version: int
    outcome: str = Field(default=AttemptState.STARTED, max_length=20)
    # What the person reads: a Card as JSON for failures, or the two names for the wrong person.
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    claimed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class Credential(SQLModel, table=True):
    """The access that a connection lives on: an OAuth token pair, later also a personal access token."""

    __tablename__ = "credential"

    id: int | None = Field(default=None, primary_key=True)
    connection_id: int = Field(foreign_key="connection.id", unique=True, ondelete="CASCADE")
    kind: str = Field(default="oauth", max_length=20)
    access_token_sealed: bytes | None = None
    refresh_token_sealed: bytes | None = None
    # The API origin both tokens are bound to.
    origin: str = Field(max_length=300)
    scopes: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    # When the access token ends, by our clock: the moment the request was sent plus `expires_in`.
    expires_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    gitlab_user_id: int
    gitlab_username: str = Field(max_length=255)
    gitlab_name: str = Field(default="", max_length=255)
    generation: int = Field(default=1)
    obtained_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    authorized_by_user_id: int | None = Field(default=None, foreign_key="user.id")
    # A token GitLab should have revoked but could not be told; retried until it is (S33).
    revocation_pending: bool = False
