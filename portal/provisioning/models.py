"""The table of what was created in GitLab, and what GitLab answered."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from portal.db import BigId, UTCDateTime, utc_now


class Kind(StrEnum):
    """What is done, and whose token it takes."""

    INSTANCE = "instance"  # An administrator's: application and service user.
    OWN = "own"  # The service user's: an application that belongs to it.
    VERIFY = "verify"  # The application is compared with what it should be.
    RENEW = "renew"  # It gets a new Secret.


class RunState(StrEnum):
    """How far it came."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ProvisioningRun(SQLModel, table=True):
    """The newest run of a connection; the audit log has the earlier ones.

    Nothing in it can hold the token: `wanted` and `results` are made of what the page shows.
    """

    __tablename__ = "provisioning_run"
    # A run writes to its own row only: its id is never reused for the one that replaces it.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", unique=True, ondelete="CASCADE", sa_type=BigId)
    kind: str = Field(max_length=20)
    state: str = Field(default=RunState.RUNNING, max_length=20)
    # What was asked for: the service user and the groups.
    wanted: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    # One for each step that was begun, in order: `portal.provisioning.run.Result` as JSON.
    results: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    started_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # When the newest result was stored: a run whose process died stays silent.
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
