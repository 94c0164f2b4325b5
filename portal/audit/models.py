"""The tables of the audit log: events that are only ever added, the newest of them, and results of verifications."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from portal.actor import Actor, ActorKind
from portal.db import BigId, UTCDateTime, utc_now

RESULTS = ("ok", "refused", "failed")
# What the first event follows.
GENESIS = "0" * 64


class AuditEvent(SQLModel, table=True):
    """Who did what to which object, when, from where, with what result.

    People and organizations are plain numbers, with their names at the time: the log outlives both. Database triggers
        refuse to change or delete a row.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_listing", "organization_id", "number"),
        Index("ix_audit_event_action", "organization_id", "action", "number"),
    )

    # 1, 2, 3 … over all organizations, without a gap: a missing number means a removed event.
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False}, sa_type=BigId)
    at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # Null if it belongs to no known organization (a sign-in for an unknown account).
    organization_id: int | None = Field(default=None, sa_type=BigId)
    # An `ActorKind`, and who exactly.
    actor_kind: str = Field(max_length=20)
    actor_id: str = Field(default="", max_length=200)
    actor_name: str = Field(default="", max_length=200)
    # noun.verb, such as `connection.authorized`.
    action: str = Field(max_length=80)
    object_type: str = Field(default="", max_length=40)
    object_id: str = Field(default="", max_length=200)
    object_name: str = Field(default="", max_length=300)
    # One of `RESULTS`.
    result: str = Field(default="ok", max_length=20)
    source_address: str = Field(default="", max_length=64)
    request_id: str = Field(default="", max_length=40)
    user_agent: str = Field(default="", max_length=300)
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    # Names of fields whose text GitLab chose, such as `object_name` or `details.path`.
    foreign_fields: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    previous_hash: str = Field(max_length=64)
    # HMAC-SHA256 over all other fields, as 64 hex characters.
    hash: str = Field(max_length=64)

    @property
    def actor(self) -> Actor:
        """Who did it."""
        return Actor(ActorKind(self.actor_kind), self.actor_id, self.actor_name)


class AuditHead(SQLModel, table=True):
    """One row: number and hash of the newest event. Whoever adds events locks it, so that numbers have no gap."""

    __tablename__ = "audit_head"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False}, sa_type=BigId)
    number: int = Field(sa_type=BigId)
    hash: str = Field(max_length=64)


class AccessEntry(SQLModel, table=True):
    """One use of something, by whom and with what result; its batch is covered by one event of the audit log."""

    __tablename__ = "access_log"
    # The events that cover entries name them by id, so no id is reused.
    __table_args__ = (Index("ix_access_log_batch", "batch", "id"), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    # The highest id of its batch; null until it is sealed.
    batch: int | None = Field(default=None, sa_type=BigId)
    at: datetime = Field(sa_type=UTCDateTime)
    organization_id: int | None = Field(default=None, sa_type=BigId)
    actor_kind: str = Field(max_length=20)
    actor_id: str = Field(default="", max_length=200)
    actor_name: str = Field(default="", max_length=200)
    action: str = Field(max_length=80)
    object_type: str = Field(max_length=40)
    object_id: str = Field(default="", max_length=200)
    object_name: str = Field(default="", max_length=300)
    result: str = Field(max_length=20)
    source_address: str = Field(default="", max_length=64)


class AuditVerification(SQLModel, table=True):
    """One verification of the whole chain by the portal itself."""

    __tablename__ = "audit_verification"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # How many events were correct, from the first on.
    checked: int = Field(sa_type=BigId)
    # The first event that is not as it was written, and what is wrong with it; null if there is none.
    fault_number: int | None = Field(default=None, sa_type=BigId)
    fault: str = Field(default="", max_length=300)
