"""The table of hand-over links."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from portal.accounts.models import HASH_LENGTH
from portal.actor import Actor, ActorKind
from portal.db import BigId, UTCDateTime, utc_now


class Outcome(StrEnum):
    """How a link ended."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class HandOver(SQLModel, table=True):
    """A link with which someone without an account does one step of one connection, once.

    The token in the link is used to open it. From then on only the browser that opened it has access, by its cookie.
    """

    __tablename__ = "hand_over"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    public_id: str = Field(unique=True, max_length=40)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    # A `connections.steps.Step`.
    step: str = Field(max_length=20)
    # SHA-256 of the link's token and of the cookie; neither is stored itself.
    token_hash: str = Field(unique=True, max_length=HASH_LENGTH)
    browser_hash: str = Field(default="", max_length=HASH_LENGTH)
    # As the person who made the link calls whoever gets it.
    recipient: str = Field(max_length=100)
    # Whose rights it uses, read again each time.
    requested_by_user_id: int = Field(foreign_key="user.id", sa_type=BigId)
    # The GitLab it was made for, as browsers and as this server reach it: what is entered goes nowhere else (S32).
    external_url: str = Field(max_length=500)
    api_url: str = Field(max_length=500)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    opened_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    opened_from: str = Field(default="", max_length=64)
    # When something was sent last, how often, and what GitLab had against it: a Card as JSON.
    sent_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    tries: int = Field(default=0)
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # An `Outcome`; empty while the link can be used.
    outcome: str = Field(default="", max_length=20)
    ended_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # Why it was declined, in the words of whoever declined it.
    reason: str = Field(default="", max_length=500)

    @property
    def actor(self) -> Actor:
        """The person with the link, as the audit log names them."""
        return Actor(ActorKind.HAND_OVER, str(self.id), f"{self.recipient}, by hand-over link")
