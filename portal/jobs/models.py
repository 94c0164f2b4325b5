"""Tables of background work: what people see, and what keeps work from being lost or done twice."""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from portal.actor import SYSTEM, Actor, ActorKind
from portal.audit import Target
from portal.db import BigId, UTCDateTime, utc_now

UNFINISHED = text("finished_at IS NULL")
OWN = text("organization_id IS NULL")
KEY_TAKEN = text("key IS NOT NULL AND finished_at IS NULL")


class JobState(StrEnum):
    """The state of a job as people read it; the value is the word."""

    QUEUED = "Queued"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    STOPPED = "Stopped"


class ItemState(StrEnum):
    """How one item of a job ended; the value is the word."""

    SUCCEEDED = "Succeeded"
    SKIPPED = "Skipped"
    FAILED = "Failed"


def new_public_id() -> str:
    """Return 22 random URL-safe characters: a job's address cannot be guessed."""
    return secrets.token_urlsafe(16)


class Job(SQLModel, table=True):
    """One piece of background work. The engine carries only `public_id` and `dispatch`; the truth is here."""

    __tablename__ = "job"
    __table_args__ = (
        Index("uq_job_key_unfinished", "key", unique=True, sqlite_where=KEY_TAKEN, postgresql_where=KEY_TAKEN),
        Index("ix_job_unfinished", "id", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
        Index("ix_job_organization_listing", "organization_id", "id"),
        Index("ix_job_newest_of_key", "key", "id"),
        # Jobs to delete or to retry are searched for every few seconds.
        Index("ix_job_ended", "state", "finished_at"),
        Index("ix_job_ended_own", "finished_at", sqlite_where=OWN, postgresql_where=OWN),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    public_id: str = Field(default_factory=new_public_id, unique=True, max_length=32)
    # No foreign key: organizations are a capability above this one. Null for work of the portal itself.
    organization_id: int | None = Field(default=None, sa_type=BigId)
    # Who asked for it: an `ActorKind`, who exactly, and their name at the time.
    actor_kind: str = Field(default=SYSTEM.kind.value, max_length=20)
    actor_id: str = Field(default=SYSTEM.id, max_length=200)
    actor_name: str = Field(default=SYSTEM.name, max_length=200)
    name: str = Field(max_length=100)
    title: str = Field(max_length=300)
    # What it is about, as `noun:id` (`connection:12`); empty if nothing in particular.
    subject: str = Field(default="", max_length=100, index=True)
    # Keyword arguments of the job's function: ids and plain JSON, never a secret.
    args: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    # Jobs of one lane share a limit, so that no GitLab instance or organization can fill all workers (S88).
    lane: str = Field(max_length=100)
    # Two jobs with the same key are never unfinished at once.
    key: str | None = Field(default=None, max_length=200)
    state: str = Field(default=JobState.QUEUED, max_length=20)
    done: int = 0
    # Null until it is known how much there is to do.
    total: int | None = None
    message: str = Field(default="", max_length=300)
    # A Card as JSON: why it failed, or why the last attempt did.
    failure: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # How often it was started and not handed back cleanly; at the limit it is marked as FAILED.
    attempts: int = 0
    # Grows at each claim: a worker that was considered dead holds an old one, and its writes are refused (S87).
    fence: int = 0
    # Grows each time it is given to the engine again; part of the engine's own id for it.
    dispatch: int = 0
    # When the engine got it; null means the sweeper still has to hand it over.
    handed_over_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # A later attempt does not begin before this; null if it may begin at once.
    not_before: datetime | None = Field(default=None, sa_type=UTCDateTime)
    stop_requested_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    executor_id: str = Field(default="", max_length=64)
    # Of the request that asked for it, so that one id runs through web, job and git logs (S104).
    request_id: str = Field(default="", max_length=32)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    # When it was first started; null while it waits.
    started_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)

    @property
    def actor(self) -> Actor:
        """Who asked for it."""
        return Actor(ActorKind(self.actor_kind), self.actor_id, self.actor_name)

    @property
    def target(self) -> Target:
        """Its name in the audit log."""
        return Target(self.organization_id, "job", self.public_id, self.title)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.finished_at is not None

    @property
    def percent(self) -> int | None:
        """How much is done, 0 to 100; None while the total is unknown."""
        if not self.total:
            return None
        return min(100, self.done * 100 // self.total)

    @property
    def workflow_id(self) -> str:
        """What the engine calls this dispatch of the job."""
        return f"{self.public_id}.{self.dispatch}"


class JobItem(SQLModel, table=True):
    """How one item of a job ended. `ref` names it within the job (`repository:17`) and makes a second run skip it."""

    __tablename__ = "job_item"
    __table_args__ = (UniqueConstraint("job_id", "ref"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    job_id: int = Field(foreign_key="job.id", ondelete="CASCADE", sa_type=BigId)
    ref: str = Field(max_length=200)
    # What people call it (a path); only shown to those who may see every item.
    label: str = Field(default="", max_length=1000)
    state: str = Field(max_length=20)
    message: str = Field(default="", max_length=500)


class Executor(SQLModel, table=True):
    """A worker process that is alive, or was until its heartbeat fell silent."""

    __tablename__ = "executor"

    executor_id: str = Field(primary_key=True, max_length=64)
    host: str = Field(max_length=255)
    pid: int
    started_at: datetime = Field(sa_type=UTCDateTime)
    # By the database's clock: the clocks of two hosts need not agree.
    heartbeat_at: datetime = Field(sa_type=UTCDateTime)


class JobSchedule(SQLModel, table=True):
    """When a periodic job was last enqueued; of several workers the one that moves it forward enqueues."""

    __tablename__ = "job_schedule"

    name: str = Field(primary_key=True, max_length=100)
    enqueued_at: datetime = Field(sa_type=UTCDateTime)
