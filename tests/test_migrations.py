from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from portal.db import Database, UTCDateTime
from portal.migrations.models import load_metadata
from portal.migrations.upgrade import NewerSchema, current_and_head, upgrade
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


def test_newer_schema_is_refused(empty: Database) -> None:
    upgrade(empty)
    with empty.transaction() as session:
        session.connection().execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(NewerSchema, match="9999"):
        upgrade(empty)
