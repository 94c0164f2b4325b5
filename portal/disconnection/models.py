"""That a connection should be disconnected: desired state, which the jobs bring about."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field, SQLModel

from portal.db import BigId, UTCDateTime, utc_now


class Choice(StrEnum):
    """What should happen to what the portal stores."""

    KEEP = "keep"
    ERASE = "erase"


class Disconnection(SQLModel, table=True):
    """The newest disconnection of a connection: who asked for it, when, and whether everything will be erased.

    It applies only while the connection's state is *Disconnected*; authorizing again overrides it.
    """

    __tablename__ = "disconnection"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", unique=True, ondelete="CASCADE", sa_type=BigId)
    choice: str = Field(max_length=10)
    requested_by_user_id: int | None = Field(default=None, foreign_key="user.id", sa_type=BigId)
    requested_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
