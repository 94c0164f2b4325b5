"""Start background work: one of our rows and one of the engine's, in the caller's own transaction.

DBOS keeps its tables in our database, because a job is enqueued in the transaction that makes it necessary: both or
neither. On PostgreSQL they have the schema `dbos` to themselves. On SQLite there are no schemas and a second file
cannot be committed together with ours in WAL mode, so they are beside ours; their names (`workflow_*`, `queues`,
`notifications`, ...) are plural or two words long, and the portal has no table of the same name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from portal.actor import SYSTEM, Actor
from portal.db import Database, utc_now
from portal.jobs.models import Job
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
    elif existing := _add_or_find(session, job, key):
        return existing
    hand_over(session, job)
    session.flush()
    return job


def find_unfinished(session: Session, key: str) -> Job | None:
    """Return the unfinished job with this key, if there is one."""
    statement = select(Job).where(col(Job.key) == key, col(Job.finished_at).is_(None))
    return session.exec(statement).one_or_none()


def _add_or_find(session: Session, job: Job, key: str) -> Job | None:
    for _ in range(KEY_TRIES):
        if existing := find_unfinished(session, key):
            return existing
        try:
            with session.begin_nested():
                session.add(job)
            return None
        except IntegrityError:
            continue  # A concurrent transaction was first; on PostgreSQL we waited here for it to end.
    raise RuntimeError(f"the job {key} is enqueued and finished faster than it can be looked at")


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
