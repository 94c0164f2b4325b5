"""The tables of jobs, and how one is started: it gets a row here and one of the engine's, in the caller's transaction.

DBOS keeps its tables in our database, because a job is enqueued in the transaction that makes it necessary: both or
neither. On PostgreSQL they have the schema `dbos` to themselves. On SQLite there are no schemas and a second file
cannot be committed together with ours in WAL mode, so they are beside ours; their names (`workflow_*`, `queues`,
`notifications`, ...) are plural or two words long, and the portal has no table of the same name.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions
from sqlalchemy import JSON, Column, Index, UniqueConstraint, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session, SQLModel, col, select

from portal.actor import SYSTEM, Actor, ActorKind
from portal.audit import Target
from portal.db import BigId, Database, UTCDateTime, utc_now
from portal.requestinfo import current_request_info

APPLICATION = "gatehouse"
# Pinned: by default DBOS computes it from the source code and ignores the work of another version.
APPLICATION_VERSION = "1"
SCHEMA = "dbos"
QUEUE = "jobs"
WORKFLOW = "job"
MAX_PRIORITY = 2**31 - 1
# The newest of its tables that an enqueue writes to.
_NEEDED_TABLE = "workflow_input"
# Someone else's job with the same key may finish between our insert and our query; then we try again.
KEY_TRIES = 5
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


def enqueue(
    session: Session,
    name: str,
    args: Mapping[str, Any] | None = None,
    *,
    organization_id: int | None,
    title: str,
    key: str | None = None,
    subject: str = "",
    lane: str | None = None,
    actor: Actor = SYSTEM,
) -> Job:
    """Add a job in the caller's transaction: if that rolls back, the job never existed.

    Args:
        session: of `Database.transaction()`.
        name: what the function was registered as with `define`; it need not be known in this process.
        args: the function's keyword arguments: ids and plain JSON, never a secret.
        organization_id: whose job it is; None for the portal's own work.
        title: what people read, such as "Read the projects of ACME GitLab".
        key: while a job with this key is unfinished, it is returned instead of a second one. Include an id that belongs
            to one organization (`catalogue:<connection id>`).
        subject: what it is about, as `noun:id`.
        lane: jobs of one lane share a limit; `connection:<id>` for work that asks a GitLab instance. By default
            that of the organization.
        actor: who asked for it; they may see its items and stop it, like those who may see everything.
    """
    job = Job(
        name=name,
        title=title[:300],
        args=json.loads(json.dumps(dict(args or {}))),  # Refuses what is not JSON now, not in the worker.
        organization_id=organization_id,
        actor_kind=actor.kind.value,
        actor_id=actor.id,
        actor_name=actor.name,
        key=key,
        subject=subject or "",
        lane=lane or (f"organization:{organization_id}" if organization_id is not None else "portal"),
        request_id=current_request_info().request_id,
    )
    if key is None:
        session.add(job)
        session.flush()
    else:
        for _ in range(KEY_TRIES):
            if existing := find_unfinished(session, key):
                return existing
            try:
                with session.begin_nested():
                    session.add(job)
                break
            except IntegrityError:
                continue  # A concurrent transaction was first; on PostgreSQL we waited here for it to end.
        else:
            raise RuntimeError(f"the job {key} is enqueued and finished faster than it can be looked at")
    hand_over(session, job)
    session.flush()
    return job


def find_unfinished(session: Session, key: str) -> Job | None:
    """Return the unfinished job with this key, if there is one."""
    statement = select(Job).where(col(Job.key) == key, col(Job.finished_at).is_(None))
    return session.exec(statement).one_or_none()


def hand_over(session: Session, job: Job, *, delay_seconds: float = 0) -> None:
    """Give the job's current dispatch to the engine, in the caller's transaction.

    Handing over the same dispatch twice changes nothing. Until the first worker or migration has created the engine's
    tables, the job waits in ours, and the sweeper hands it over.
    """
    schema = None if session.get_bind().dialect.name == "sqlite" else SCHEMA
    if not sa.inspect(session.connection()).has_table(_NEEDED_TABLE, schema=schema):
        job.handed_over_at = None
        return
    options = EnqueueOptions(
        workflow_name=WORKFLOW,
        queue_name=QUEUE,
        workflow_id=job.workflow_id,
        queue_partition_key=job.lane,
        app_version=APPLICATION_VERSION,
        # First come, first served: the engine's own times are whole seconds on SQLite.
        priority=min(job.id or 1, MAX_PRIORITY),
    )
    if delay_seconds > 0:
        options["delay_seconds"] = delay_seconds
    engine_client(session.get_bind().engine).enqueue_in_transaction(session, options, job.public_id, job.dispatch)
    job.handed_over_at = utc_now()


def prepare_tables(database: Database) -> None:
    """Create or upgrade DBOS's tables; if there are several processes, one does it and the others wait."""
    DBOS.migrate(database.engine.url.render_as_string(hide_password=False), schema=SCHEMA)


def engine_client(engine: sa.Engine) -> DBOSClient:
    """Return what writes into the engine's tables from any process."""
    # Lazy and on an engine that we have anyway: it opens nothing, so the web server's fork shares nothing.
    return DBOSClient(
        system_database_engine=engine,
        dbos_system_schema=SCHEMA,
        serializer=DBOSPortableJSONSerializer(),
        application_name=APPLICATION,
        lazy=True,
    )
