"""The table of the audit log. Rows are only ever added."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from portal.db import UTCDateTime, utc_now


class AuditEvent(SQLModel, table=True):
    """Who did what to which object, when, from where, with what result.

    People and organizations are plain numbers and names as they were: the log outlives both.
    """

    __tablename__ = "audit_event"
    __table_args__ = (Index("ix_audit_event_listing", "organization_id", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # Null when nobody can tell whose it is (a sign-in for an unknown account).
    organization_id: int | None = None
    actor_user_id: int | None = None
    actor_name: str = Field(default="", max_length=200)
    # noun.verb, such as `connection.authorized`.
    action: str = Field(max_length=80)
    object_type: str = Field(default="", max_length=40)
    object_id: str = Field(default="", max_length=200)
    object_name: str = Field(default="", max_length=300)
    # `ok`, `refused` or `failed`.
    result: str = Field(default="ok", max_length=20)
    source_address: str = Field(default="", max_length=64)
    request_id: str = Field(default="", max_length=40)
    user_agent: str = Field(default="", max_length=300)
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
