"""The table of authorization attempts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from portal.db import BigId, UTCDateTime, utc_now
from portal.vault import sealed_field


class AttemptState(StrEnum):
    """The state of an attempt; every state but the first two is final."""

    STARTED = "started"
    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    WRONG_PERSON = "wrong_person"
    DENIED = "denied"
    FAILED = "failed"
    ABANDONED = "abandoned"


class AuthorizationAttempt(SQLModel, table=True):
    """One popup: started by one person in one browser for one connection, used once, valid for ten minutes."""

    __tablename__ = "authorization_attempt"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    public_id: str = Field(unique=True, max_length=40)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    user_id: int = Field(foreign_key="user.id", sa_type=BigId)
    state_hash: str = Field(unique=True, max_length=64)
    # SHA-256 of the cookie that binds the attempt to the browser it was started in (RFC 9700 §4.7).
    browser_hash: str = Field(max_length=64)
    # The `state` and the PKCE verifier, sealed: they leave only in the redirect and in the token request.
    state_sealed: bytes | None = sealed_field()
    verifier_sealed: bytes | None = sealed_field()
    # Endpoints, client id, redirect URI and scopes as they were at the start (RFC 9700 §4.4.2).
    snapshot: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    row_version: int
    outcome: str = Field(default=AttemptState.STARTED, max_length=20)
    # What the person reads: a Card as JSON for failures, or the two names for the wrong person.
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    claimed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
