from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from portal.db import Database, UTCDateTime
from portal.operation.migrations.models import load_metadata
from portal.operation.migrations.upgrade import NewerSchema, current_and_head, upgrade
from tests.support.postgresql import Cluster


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path}/gatehouse.db")
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        database = Database(cluster.create_database().replace("postgresql://", "postgresql+psycopg://"))
    yield database
    database.close()


def same_type(_context: object, _inspected: object, _meta: object, _found: object, wanted: object) -> bool | None:
    return False if isinstance(wanted, UTCDateTime) else None


def test_migrations_make_exactly_the_tables_of_the_models(empty: Database) -> None:
    upgrade(empty)

    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": same_type})
        differences = compare_metadata(context, load_metadata())

    assert differences == []


def test_second_upgrade_changes_nothing(empty: Database) -> None:
    first = upgrade(empty)

    assert upgrade(empty) == first
    assert current_and_head(empty) == (first, first)


def test_of_several_upgrades_at_once_one_does_it(empty: Database) -> None:
    failures: list[Exception] = []

    def run() -> None:
        own = Database(empty.url)
        try:
            upgrade(own)
        except Exception as error:
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    present, head = current_and_head(empty)
    assert present == head


KILLED = """
import os, sys
from sqlalchemy import event
from portal.db import Database
from portal.operation.migrations.upgrade import upgrade

database, left = Database(sys.argv[1]), int(sys.argv[2])

@event.listens_for(database.engine, "after_cursor_execute")
def count(connection, cursor, statement, *_):
    global left
    left -= not statement.startswith(("SELECT", "PRAGMA", "BEGIN"))
    if left == 0:
        os.kill(os.getpid(), 9)

upgrade(database)
print(left)
"""


def killed_after(database: Database, changes: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, database.url, str(changes)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("changes", [1, 30, 70])
def test_upgrade_that_is_killed_leaves_nothing_and_the_next_one_completes(empty: Database, changes: int) -> None:
    killed = killed_after(empty, changes)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert current_and_head(empty)[0] is None
    assert sa.inspect(empty.engine).get_table_names() in ([], ["alembic_version"])
    upgrade(empty)
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": same_type})
        assert compare_metadata(context, load_metadata()) == []


def test_newer_schema_is_refused(empty: Database) -> None:
    upgrade(empty)
    with empty.transaction() as session:
        session.connection().execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(NewerSchema, match="9999"):
        upgrade(empty)


# Whole numbers that the portal counts itself, from 0 or 1 on: the only ones with 32 bits.
COUNTS = {
    "authorization_attempt.row_version",
    "catalogue_run.groups_seen",
    "catalogue_run.projects_counted",
    "catalogue_run.projects_known",
    "catalogue_run.projects_lost",
    "catalogue_run.projects_seen",
    "connection.row_version",
    "credential.client_refusals",
    "credential.failures",
    "credential.generation",
    "credential.refusals",
    "credential_event.generation",
    "executor.pid",
    "incident.count",
    "incident.row_count",
    "job.attempts",
    "job.dispatch",
    "job.done",
    "job.fence",
    "job.total",
    "retired_token.tries",
}


@pytest.mark.postgresql
def test_every_id_has_64_bits_and_so_has_what_numbers_it(cluster: Cluster) -> None:
    database = Database(cluster.create_database().replace("postgresql://", "postgresql+psycopg://"))
    upgrade(database)
    own = [table.name for table in load_metadata().tables.values()]
    columns = sa.text(
        "SELECT table_name || '.' || column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = ANY(:own)"
        " AND data_type IN ('smallint', 'integer', 'bigint', 'numeric')"
    )
    with database.reading() as session:
        found = dict(map(tuple, session.execute(columns, {"own": own})))
        numbering = dict(map(tuple, session.execute(sa.text("SELECT sequencename, data_type::text FROM pg_sequences"))))
    database.close()

    assert {name for name, kind in found.items() if kind != "bigint"} == COUNTS
    ids = {name for name in found if name.endswith(("_id", ".id", ".number"))}
    assert len(ids) > 60
    assert len(numbering) > 25
    assert {name for name, kind in numbering.items() if kind != "bigint"} == set()


def test_schema_of_the_first_release_is_brought_up_to_date_with_its_rows(empty: Database) -> None:
    upgrade(empty, "0002")
    now = "2026-01-01 00:00:00+00:00"
    with empty.transaction() as session:
        run = session.connection().exec_driver_sql
        run("UPDATE audit_head SET number = 1, hash = 'h' WHERE id = 1")
        run(f"INSERT INTO organization (id, name, plan, created_at) VALUES (7, 'Seven', 'enterprise', '{now}')")

    upgrade(empty)

    with empty.transaction() as session:
        run = session.connection().exec_driver_sql
        assert run("SELECT number FROM audit_head").scalar() == 1
        assert run("SELECT name FROM organization WHERE id = 7").scalar() == "Seven"
    with pytest.raises(sa.exc.DBAPIError), empty.transaction() as session:
        session.connection().exec_driver_sql("UPDATE audit_head SET number = 0")
