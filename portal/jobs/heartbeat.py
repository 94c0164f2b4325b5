"""Which worker processes are alive. Times are the database's, because the clocks of two hosts need not agree."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

from portal.db import Database, utc_now
from portal.jobs.models import Executor


def beat(database: Database, executor_id: str) -> None:
    """Say that this process is alive; the first time, and after it was taken for dead, it is entered anew."""
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
    """Say that this process ends, so that what it could not hand back is taken over at once."""
    with database.transaction() as session:
        session.connection().execute(delete(Executor).where(col(Executor.executor_id) == executor_id))


def bury_silent(database: Database, silent_seconds: float) -> set[str]:
    """Strike out workers without a heartbeat for so long; return the ids of those that are alive."""
    with database.transaction() as session:
        limit = _now(session) - timedelta(seconds=silent_seconds)
        session.connection().execute(delete(Executor).where(col(Executor.heartbeat_at) < limit))
        return set(session.exec(select(Executor.executor_id)))


def _now(session: Session) -> datetime:
    if session.connection().dialect.name == "sqlite":
        return utc_now()
    return session.exec(select(func.now())).one()
