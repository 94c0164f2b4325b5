"""The engine: DBOS in a worker process, its queue, and a housekeeping thread.

There is one DBOS per process, so there is one of these. Web processes never import this module.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from portal.db import BUSY_TIMEOUT_SECONDS, HIDE_PARAMETERS, POOL_SIZE, Database, make_postgresql_engine
from portal.installation import look_for_copy
from portal.jobs.engine_settings import Pace
from portal.jobs.models import (
    APPLICATION,
    APPLICATION_VERSION,
    QUEUE,
    SCHEMA,
    WORKFLOW,
    Job,
    JobState,
    engine_client,
    prepare_tables,
)
from portal.jobs.runner import Runner, locked, requeue
from portal.jobs.schedule import enqueue_due
from portal.jobs.sweeper import Sweeper
from portal.jobs.workers import WorkerLock, beat, leave
from portal.logs import get_logger
from portal.runtime import Runtime

# The one worker of a SQLite database keeps its id, so that DBOS itself recovers its work at the next start.
EMBEDDED_ID = "embedded"
LOCK_FILE = "worker.lock"
TICK_SECONDS = 0.2
# Someone waits for periodic work with this period, or a shorter one.
PROMPT_SECONDS = 1.0
EXIT_BROKEN = 1
CHECK_SECONDS = 0.5
RESTORED_SECONDS = 1.0

log = get_logger(__name__)
_running: Engine | None = None


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)  # Attempts are counted in our own table.
def _do_job(public_id: str, dispatch: int) -> None:
    if _running is None:
        raise RuntimeError("the engine is not running")  # The sweeper revives the job.
    _running.do(public_id, dispatch)


class Engine:
    """Runs jobs in this process from `start` to `stop`."""

    def __init__(self, runtime: Runtime, pace: Pace | None = None) -> None:
        self.runtime = runtime
        self.pace = pace or Pace()
        self.executor_id = EMBEDDED_ID if runtime.database.is_sqlite else secrets.token_hex(8)
        # Set if the housekeeping died; the process should then end and be restarted.
        self.broken = threading.Event()
        self._runner = Runner(runtime, executor_id=self.executor_id, backoff_seconds=self.pace.backoff_seconds)
        self._sweeper = Sweeper(runtime.database, self.pace)
        self._lock = WorkerLock(runtime.settings.data_dir / LOCK_FILE)
        self._keeper = threading.Thread(target=self._keep_house, name="jobs-keeper", daemon=True)
        self._stopping = threading.Event()
        self._engine: sa.Engine | None = None
        self._active = 0
        self._counting = threading.Lock()
        self._beating = threading.Lock()
        self._beat_at = -math.inf

    def start(self, given_up: threading.Event | None = None) -> bool:
        """Begin to do jobs; return False if the event was set while waiting for another worker."""
        global _running
        if self.runtime.database.is_sqlite and not self._lock.acquire(given_up or threading.Event()):
            return False
        if not self._wait_until_confirmed(given_up or threading.Event()):
            self._lock.release()
            return False
        self._beat()
        _running = self
        self._engine = make_engine(self.runtime.database)
        prepare_tables(self.runtime.database)
        # Before the launch: afterwards DBOS is slow to look for new queues.
        engine_client(self._engine).register_queue(
            QUEUE,
            worker_concurrency=self.pace.worker_concurrency,
            partition_concurrency=self.pace.lane_concurrency,
            polling_interval_sec=self.pace.poll_seconds,
            on_conflict="always_update",
        )
        # Our handler keeps DBOS from installing one that bypasses our log pipeline, and with it redaction.
        logging.getLogger("dbos").addHandler(logging.NullHandler())
        config = DBOSConfig(
            name=APPLICATION,
            system_database_engine=self._engine,
            dbos_system_schema=SCHEMA,
            serializer=DBOSPortableJSONSerializer(),
            application_version=APPLICATION_VERSION,
            executor_id=self.executor_id,
            log_level="WARNING",
            enable_otlp=False,
            scheduler_polling_interval_sec=3600.0,  # Not used: periodic jobs are in our own table.
        )
        DBOS(config=config)
        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        self._sweeper.hand_over_waiting()
        self._sweeper.revive_lost(0)
        self._keeper.start()
        log.info("worker_started", executor=self.executor_id)
        return True

    def stop(self) -> bool:
        """Claim nothing more, let running jobs end or hand them back; return whether all have left their threads."""
        global _running
        self._runner.interrupted.set()
        self.runtime.shutdown.begin()
        # With a heartbeat in between: a silent worker would be considered dead.
        if not self.runtime.shutdown.wait(self.pace.finish_seconds):
            log.error("shutdown_cuts_off", executor=self.executor_id)
        self._stopping.set()
        self._keeper.join()
        with self._counting:
            busy = self._active > 0
        DBOS.destroy(workflow_completion_timeout_sec=self.pace.grace_seconds if busy else 0)
        with self._counting:
            idle = self._active == 0
        # If the database is gone or was exchanged, the sweeper of another worker finds what is left.
        _try(self._hand_back_leftovers)
        _try(lambda: leave(self.runtime.database, self.executor_id))
        _running = None
        if self._engine is not None:
            self._engine.dispose()
        self._lock.release()
        log.info("worker_stopped", executor=self.executor_id, idle=idle)
        return idle

    def do(self, public_id: str, dispatch: int) -> None:
        """Run one dispatch of a job; DBOS calls this in its own thread."""
        with self._counting:
            self._active += 1
        try:
            _try(self._beat_while_busy)
            self._runner.run(public_id, dispatch)
        finally:
            with self._counting:
                self._active -= 1

    def _beat_while_busy(self) -> None:
        """Record that this worker is alive while others could consider its jobs orphaned; otherwise write nothing."""
        if self._active > 0 and not self.runtime.database.is_sqlite:
            self._beat()

    def _beat(self) -> None:
        with self._beating:
            if time.monotonic() - self._beat_at >= self.pace.heartbeat_seconds:
                beat(self.runtime.database, self.executor_id)
                self._beat_at = time.monotonic()

    def _wait_until_confirmed(self, given_up: threading.Event) -> bool:
        """Do nothing on a copy of another database until an owner says that it is the only one (S108)."""
        told = False
        while look_for_copy(self.runtime.database):
            if not told:
                log.warning("worker_stands_by", reason="this database was restored and no one has confirmed it")
                told = True
            if given_up.wait(RESTORED_SECONDS):
                return False
        return True

    def _end_on_a_copy(self) -> None:
        """End if another database has replaced the one this worker started with; the next start waits."""
        if look_for_copy(self.runtime.database):
            self.broken.set()

    def _hand_back_leftovers(self) -> None:
        """Take their jobs from threads that did not end in time; whatever they still write is refused."""
        mine = (col(Job.executor_id) == self.executor_id, col(Job.state) == JobState.RUNNING)
        with self.runtime.database.reading() as session:
            ids = session.exec(select(Job.public_id).where(*mine)).all()
        for public_id in ids:
            with self.runtime.database.transaction() as session:
                job = locked(session, public_id)
                if job is not None and job.executor_id == self.executor_id and not job.is_finished:
                    job.fence, job.attempts = job.fence + 1, job.attempts - 1
                    requeue(session, job)
                    log.warning("job_handed_back", job=job.public_id, job_name=job.name)

    def _keep_house(self) -> None:
        duties: list[tuple[float, Callable[[], object]]] = [
            (TICK_SECONDS, self._beat_while_busy),
            (self.pace.schedule_seconds, lambda: enqueue_due(self.runtime)),
            (self.pace.schedule_seconds / 10, lambda: enqueue_due(self.runtime, PROMPT_SECONDS)),
            (self.pace.sweep_seconds, self._sweeper.sweep),
            (self.pace.sweep_seconds, self._end_on_a_copy),
        ]
        due = [0.0 for _ in duties]
        try:
            while not self._stopping.wait(TICK_SECONDS):
                for number, (seconds, duty) in enumerate(duties):
                    if time.monotonic() >= due[number]:
                        due[number] = time.monotonic() + seconds
                        _try(duty)
        finally:
            if not self._stopping.is_set():
                self.broken.set()


def _try(duty: Callable[[], object]) -> None:
    try:
        duty()
    except (SQLAlchemyError, dbos_error.DBOSException, OSError):
        # The database is unreachable or busy, or the disk full; the next round does what this one could not.
        log.exception("housekeeping_failed")


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

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        cursor = connection.cursor()
        # FULL as for our own tables, which are in the same file: an end that the engine recorded survives a power cut.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def run_worker(runtime: Runtime, pace: Pace | None = None) -> int:
    """Run jobs until SIGTERM or SIGINT; return the exit code.

    At the signal nothing more is claimed and no token request is started; a running one is finished. Running jobs
    end, or go back to the queue at their next `raise_if_stopped`, or are taken away when the grace period is over.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        runtime.shutdown.begin()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    engine = Engine(runtime, pace)
    if not engine.start(stop):
        return 0
    while not stop.wait(CHECK_SECONDS) and not engine.broken.is_set():
        pass
    code = EXIT_BROKEN if engine.broken.is_set() else 0
    if not engine.stop():
        # A job still holds a thread, and the interpreter would wait for it forever. It has been handed back.
        logging.shutdown()
        os._exit(code)
    return code
