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
from alembic.script import ScriptDirectory
from sqlmodel import Session, SQLModel

from portal.db import Database, UTCDateTime
from portal.operation.migrations.upgrade import NewerSchema, configuration, current_and_head, upgrade
from tests.support import schemas
from tests.support.postgresql import Cluster

# Oldest first.
REVISIONS = [script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()][::-1]
MAKE_ANEW = (
    "The models have changed: add a migration with `python -m bench.schema 'What it does'`."
    " Until the first release make revision 0001 again instead: `python -m bench.schema --first`."
)


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


def differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": same_type})
        return list(compare_metadata(context, SQLModel.metadata))


def rows(session: Session, table: str) -> int:
    return int(session.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one())


def test_migrations_make_exactly_the_tables_of_the_models(empty: Database) -> None:
    upgrade(empty)

    assert differences(empty) == [], MAKE_ANEW


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


@pytest.mark.parametrize("changes", [1, 70])
def test_upgrade_that_is_killed_leaves_nothing_and_the_next_one_completes(empty: Database, changes: int) -> None:
    killed = killed_after(empty, changes)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert current_and_head(empty)[0] is None
    assert sa.inspect(empty.engine).get_table_names() in ([], ["alembic_version"])
    upgrade(empty)
    assert differences(empty) == []


def test_newer_schema_is_refused(empty: Database) -> None:
    upgrade(empty)
    with empty.transaction() as session:
        session.connection().execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(NewerSchema, match="9999"):
        upgrade(empty)


# Whole numbers that the portal counts itself, starting at 0 or 1: the only ones with 32 bits.
COUNTS = {
    "authorization_attempt.row_version",
    "catalogue_run.groups_seen",
    "catalogue_run.projects_counted",
    "catalogue_run.projects_known",
    "catalogue_run.projects_lost",
    "catalogue_run.projects_seen",
    "catalogue_run.projects_unseen",
    "connection.row_version",
    "credential.client_refusals",
    "credential.failures",
    "credential.generation",
    "credential.refusals",
    "credential_event.generation",
    "delivery.copies",
    "delivery.size",
    "delivery_count.number",
    "executor.pid",
    "hand_over.tries",
    "hook.latency_ms",
    "incident.count",
    "incident.row_count",
    "incident.warned_days",
    "ingestion.months",
    "ingestion.row_version",
    "job.attempts",
    "job.dispatch",
    "job.done",
    "job.fence",
    "job.total",
    "namespace.blocked",
    "namespace.enabled",
    "namespace.enabled_blocked",
    "namespace.total",
    "open_work.drafts",
    "open_work.issues",
    "rate_limit.per_minute",
    "rate_limit.remaining",
    "reading.failures",
    "reading.unreadable",
    "request_agreement.at_once",
    "request_agreement.per_second",
    "request_agreement.quiet_from",
    "request_agreement.quiet_per_second",
    "request_agreement.quiet_until",
    "request_agreement.row_version",
    "request_count.refused",
    "request_count.requests",
    "request_count.waited_ms",
    "request_slowdown.requests",
    "retired_token.tries",
    "review_schedule.every_months",
    "selection_rule.active_months",
    "selection_rule.position",
    "site.demands",
    "site.failures",
    "site.files",
    "site_conflict.number",
}


@pytest.mark.postgresql
def test_every_id_has_64_bits_and_so_has_what_numbers_it(cluster: Cluster) -> None:
    database = Database(cluster.create_database().replace("postgresql://", "postgresql+psycopg://"))
    upgrade(database)
    own = [table.name for table in SQLModel.metadata.tables.values()]
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


@pytest.mark.parametrize("revision", REVISIONS)
def test_schema_of_every_revision_is_brought_up_to_date_with_its_rows(empty: Database, revision: str) -> None:
    assert schemas.file_of(revision, empty).exists(), "Run: python -m bench.schema"
    schemas.load(empty, revision)
    with empty.reading() as session:
        filled = {name for name in sa.inspect(session.connection()).get_table_names() if rows(session, name)}

    upgrade(empty)

    assert differences(empty) == [], MAKE_ANEW
    tables = SQLModel.metadata.tables
    with empty.reading() as session:
        # A migration that removes a table says here where its rows went.
        assert {name for name in filled & tables.keys() if not rows(session, name)} == set()
    assert filled >= tables.keys() or revision != REVISIONS[-1]
    for statement in ("UPDATE audit_event SET hash = ''", "UPDATE audit_head SET number = 0"):
        with pytest.raises(sa.exc.DBAPIError, match="only ever added to"), empty.transaction() as session:
            session.execute(sa.text(statement))
