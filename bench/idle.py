"""What a portal writes while nothing happens: rows, and bytes of the write-ahead log, with one worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import func, select, text
from sqlmodel import col

from bench.figures import console
from bench.portal_setup import fresh_runtime, new_organization
from portal.jobs.models import Job
from portal.runtime import Runtime
from tests.support.postgresql import running_cluster

# A worker that has just started does some things only once.
SETTLE_SECONDS = 30


def run(minutes: float) -> None:
    """Measure on both databases at the same time, and print."""
    with (
        running_cluster() as cluster,
        fresh_runtime() as sqlite,
        fresh_runtime("", cluster.create_database()) as server,
    ):
        for runtime in (sqlite, server):
            new_organization(runtime)
        # What the server cleans up after the migrations is not the portal's doing.
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
        with _worker(sqlite) as at_sqlite, _worker(server):
            time.sleep(SETTLE_SECONDS)
            before = _written(sqlite, at_sqlite), _written(server, 0)
            time.sleep(minutes * 60)
            after = _written(sqlite, at_sqlite), _written(server, 0)
    for name, (jobs, size), (jobs_then, size_then) in zip(("SQLite", "PostgreSQL"), after, before, strict=True):
        console.print(
            f"Idle for {minutes:g} min on {name}: {jobs - jobs_then} jobs, {size - size_then:,} bytes written"
        )


@contextmanager
def _worker(runtime: Runtime) -> Iterator[int]:
    settings = runtime.settings
    environment = {
        **os.environ,
        "GATEHOUSE_DATA_DIR": str(settings.data_dir),
        "GATEHOUSE_DATABASE_URL": settings.database_url,
        "GATEHOUSE_LOG_LEVEL": "CRITICAL",
    }
    with subprocess.Popen([sys.executable, "-m", "portal", "worker"], env=environment) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def _written(runtime: Runtime, pid: int) -> tuple[int, int]:
    """Return the number of the newest job, and the bytes written so far: the server's log, or all of a process's."""
    with runtime.database.reading() as session:
        jobs = session.execute(select(func.max(col(Job.id)))).scalar_one() or 0
        if runtime.database.is_sqlite:
            fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
            return jobs, int(fields["wchar"])
        position = text("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        return jobs, int(session.execute(position).scalar_one())
