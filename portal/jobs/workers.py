"""Which worker processes are alive. Times are the database's, because the clocks of two hosts need not agree.

A worker without a job is silent: no one needs to know whether it is alive, and an idle portal writes nothing.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

from portal.db import Database, utc_now
from portal.jobs.models import Executor
from portal.logs import get_logger
from portal.private import private_file, private_folder

KEEP_DAYS = 7
WAIT_SECONDS = 0.5

log = get_logger(__name__)


def beat(database: Database, executor_id: str) -> None:
    """Record that this process is alive; the first time, and after it was considered dead, insert its row."""
    with database.transaction() as session:
        now = _now(session)
        mine = update(Executor).where(col(Executor.executor_id) == executor_id).values(heartbeat_at=now)
        if session.connection().execute(mine).rowcount == 0:
            session.add(
                Executor(
                    executor_id=executor_id,
                    host=socket.gethostname()[:255],
                    pid=os.getpid(),
                    started_at=now,
                    heartbeat_at=now,
                )
            )


def leave(database: Database, executor_id: str) -> None:
    """Record that this process ends, so that what it could not hand back is taken over at once."""
    with database.transaction() as session:
        session.connection().execute(delete(Executor).where(col(Executor.executor_id) == executor_id))


def heard_within(database: Database, seconds: float) -> set[str]:
    """Return the ids of the workers that recently reported being alive; one without a job may be missing."""
    with database.reading() as session:
        heard = col(Executor.heartbeat_at) >= _now(session) - timedelta(seconds=seconds)
        return set(session.exec(select(Executor.executor_id).where(heard)))


def forget_silent(database: Database) -> None:
    """Delete workers that died long ago."""
    with database.reading() as session:
        silent = col(Executor.heartbeat_at) < _now(session) - timedelta(days=KEEP_DAYS)
        ids = session.exec(select(Executor.executor_id).where(silent)).all()
    if ids:
        with database.transaction() as session:
            session.connection().execute(delete(Executor).where(col(Executor.executor_id).in_(ids), silent))


def _now(session: Session) -> datetime:
    if session.connection().dialect.name == "sqlite":
        return utc_now()
    return session.exec(select(func.now())).one()


class WorkerLock:
    """An exclusive lock on a file; the system releases it however the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self, given_up: threading.Event) -> bool:
        """Wait until no other process holds the lock; return False if the event is set before that."""
        private_folder(self._path.parent)
        private_file(self._path)
        self._file = self._path.open("a")
        told = False
        while not self._try(self._file):
            if not told:
                log.warning("worker_stands_by", reason="another worker uses this SQLite database", lock=str(self._path))
                told = True
            if given_up.wait(WAIT_SECONDS):
                self.release()
                return False
        return True

    def release(self) -> None:
        """Let another worker begin."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _try(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
