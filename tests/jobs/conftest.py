from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel, col, select

from portal import build_runtime
from portal.audit.models import GENESIS, AuditEvent, AuditHead
from portal.db import Database
from portal.installation.models import Instance
from portal.jobs import Job, enqueue
from portal.jobs.engine_settings import Pace
from portal.jobs.models import Executor, JobItem, JobSchedule
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing
from tests.jobs.sample_jobs import with_samples
from tests.jobs.worker_process import WorkerProcess

NEEDED = (Job, JobItem, Executor, JobSchedule, Instance, AuditEvent, AuditHead)
TABLES = [SQLModel.metadata.tables[model.__tablename__] for model in NEEDED]
# Quick, so that a test need not wait; a worker counts as dead after two seconds.
PACE = Pace(
    poll_seconds=0.05,
    heartbeat_seconds=0.5,
    silent_seconds=2,
    sweep_seconds=0.5,
    grace_seconds=3,
    backoff_seconds=0.1,
    schedule_seconds=3600,
)

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings on each of the two databases, which is empty for a bare runtime and migrated for any other."""
    folder, bare = tmp_path / "var", "bare_runtime" in request.fixturenames
    folder.mkdir()
    if request.param == "sqlite":
        settings = Settings(data_dir=folder)
        if not bare:
            shutil.copy(request.getfixturevalue("migrated_file"), folder / "gatehouse.db")
        yield settings
        return
    cluster = request.getfixturevalue("cluster")
    url = cluster.create_database(template=None if bare else request.getfixturevalue("migrated_postgresql"))
    yield Settings(data_dir=folder, database_url=url)
    cluster.drop_database(url)


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    """A runtime whose database has everything, so that the periodic jobs succeed as well."""
    KeyRing.create_file(settings.resolved_key_file)
    runtime = with_samples(build_runtime(settings))
    yield runtime
    runtime.database.close()


@pytest.fixture
def bare_runtime(settings: Settings) -> Iterator[Runtime]:
    """A runtime whose database has our tables but none of the engine's."""
    KeyRing.create_file(settings.resolved_key_file)
    runtime = with_samples(build_runtime(settings))
    SQLModel.metadata.create_all(runtime.database.engine, TABLES)
    with runtime.database.transaction() as session:
        session.add(AuditHead(id=1, number=0, hash=GENESIS))
    yield runtime
    runtime.database.close()


@pytest.fixture
def log(tmp_path: Path) -> str:
    """The file in which the sample jobs record what they do."""
    return str(tmp_path / "log")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file for which gated jobs wait."""
    return tmp_path / "gate"


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    """Start real worker processes; whatever still runs at the end is killed."""
    environment = {
        "GATEHOUSE_DATA_DIR": str(settings.data_dir),
        "GATEHOUSE_DATABASE_URL": settings.database_url,
    }
    with ExitStack() as stack:

        def start(**pace: Any) -> WorkerProcess:
            worker = WorkerProcess(environment, replace(PACE, **pace), tmp_path / "workers.log")
            stack.callback(worker.wait)
            stack.callback(worker.kill)
            return worker

        yield start


@pytest.fixture
def add(runtime: Runtime) -> Callable[..., Job]:
    """Enqueue a sample job."""

    def add_job(name: str, *, lane: str | None = None, key: str | None = None, **args: Any) -> Job:
        with runtime.database.transaction() as session:
            return enqueue(session, name, args, organization_id=1, title=name, lane=lane, key=key)

    return add_job


def reload(database: Database, job: Job) -> Job:
    """Return the job as it is now."""
    with database.reading() as session:
        return session.exec(select(Job).where(col(Job.id) == job.id)).one()


def states(database: Database) -> dict[str, int]:
    """Count the organization's jobs by state; a worker also runs its own periodic ones."""
    with database.reading() as session:
        found: dict[str, int] = {}
        for state in session.exec(select(Job.state).where(col(Job.organization_id) == 1)):
            found[state] = found.get(state, 0) + 1
        return found
