"""Which worker processes are alive. Times are the database's, because the clocks of two hosts need not agree.

A worker without a job is silent: no one needs to know whether it is alive, and an idle portal writes nothing.
"""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

from portal.db import Database, utc_now
from portal.jobs.models import Executor

KEEP_DAYS = 7


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
