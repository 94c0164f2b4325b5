"""Everything the web side needs from DBOS: its tables, and one row in them inside one of our transactions.

DBOS keeps its tables in our database, because a job is enqueued in the transaction that makes it necessary: both or
neither. On PostgreSQL they have the schema `dbos` to themselves. On SQLite there are no schemas and a second file
cannot be committed together with ours in WAL mode, so they are beside ours; their names (`workflow_*`, `queues`,
`notifications`, ...) are plural or two words long, and none of ours is the same.
"""

from __future__ import annotations

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions
from sqlmodel import Session

from portal.db import BUSY_TIMEOUT_SECONDS, HIDE_PARAMETERS, POOL_SIZE, Database, make_postgresql_engine, utc_now
from portal.jobs.engine_settings import Pace
from portal.jobs.models import Job

APPLICATION = "gatehouse"
# Pinned: by default DBOS computes it from the source code and ignores the work of another version.
APPLICATION_VERSION = "1"
SCHEMA = "dbos"
QUEUE = "jobs"
WORKFLOW = "job"
MAX_PRIORITY = 2**31 - 1
# The newest of its tables that an enqueue writes to.
_NEEDED_TABLE = "workflow_input"


def prepare_tables(database: Database) -> None:
    """Create or upgrade DBOS's tables; if there are several processes, one does it and the others wait."""
    DBOS.migrate(database.engine.url.render_as_string(hide_password=False), schema=SCHEMA)


def tables_exist(session: Session) -> bool:
    """Return whether a row can be enqueued in this session's transaction."""
    connection = session.connection()
    schema = None if connection.dialect.name == "sqlite" else SCHEMA
    return sa.inspect(connection).has_table(_NEEDED_TABLE, schema=schema)


def hand_over(session: Session, job: Job, *, delay_seconds: float = 0) -> None:
    """Give the job's current dispatch to the engine, in the caller's transaction.

    Handing over the same dispatch twice changes nothing. Until the first worker or migration has created the engine's
    tables, the job waits in ours, and the sweeper hands it over.
    """
    if not tables_exist(session):
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
    _client(session.get_bind().engine).enqueue_in_transaction(session, options, job.public_id, job.dispatch)
    job.handed_over_at = utc_now()


def register_queue(engine: sa.Engine, pace: Pace) -> None:
    """Record the queue's limits; before DBOS is launched, because afterwards it looks for new queues only slowly."""
    _client(engine).register_queue(
        QUEUE,
        worker_concurrency=pace.worker_concurrency,
        partition_concurrency=pace.lane_concurrency,
        polling_interval_sec=pace.poll_seconds,
        on_conflict="always_update",
    )


def _client(engine: sa.Engine) -> DBOSClient:
    # Lazy and on an engine that we have anyway: it opens nothing, so the web server's fork shares nothing.
    return DBOSClient(
        system_database_engine=engine,
        dbos_system_schema=SCHEMA,
        serializer=DBOSPortableJSONSerializer(),
        application_name=APPLICATION,
        lazy=True,
    )


def make_engine(database: Database) -> sa.Engine:
    """Return an engine for DBOS alone.

    On SQLite it leaves transactions to the driver, which begins an immediate one before the first write: DBOS
    issues its own BEGIN in places, and ours would collide with it.
    """
    url = database.engine.url
    if not database.is_sqlite:
        return make_postgresql_engine(url)
    engine = sa.create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
        hide_parameters=HIDE_PARAMETERS,
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
    connection.isolation_level = "IMMEDIATE"
    cursor = connection.cursor()
    # FULL as for our own tables, which are in the same file: an end that the engine recorded survives a power cut.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
