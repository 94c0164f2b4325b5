"""What a slow dump, a lost database and a crash in the middle of a replacement leave behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

import portal.db
from portal.db import Database
from portal.installation import is_restored
from portal.jobs.engine import make_engine
from portal.operation.backup.make import make_backup
from portal.operation.backup.manifest import BackupRefused
from portal.operation.backup.restore import restore
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.settings import Settings
from tests.backup.conftest import runtime_of
from tests.support.people import make_cast


class Death(BaseException):
    """The process ends here."""


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"])
def test_dump_may_take_longer_than_a_silent_transaction_may(
    runtime: Runtime, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter than any run of pg_dump.
    monkeypatch.setattr(portal.db, "IDLE_IN_TRANSACTION_SECONDS", 0.1)
    impatient = runtime_of(runtime.settings, Database(runtime.settings.resolved_database_url))

    make_backup(impatient, tmp_path / "backup")

    impatient.database.close()
    monkeypatch.undo()
    restore(elsewhere, tmp_path / "backup")


def test_database_that_cannot_be_read_is_told_in_one_line(runtime: Runtime, tmp_path: Path) -> None:
    with runtime.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_head RENAME TO gone"))

    with pytest.raises(BackupRefused, match="could not be copied") as caught:
        make_backup(runtime, tmp_path / "out" / "backup")

    assert "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("backend", ["sqlite"])
def test_restore_that_dies_in_the_exchange_leaves_a_database_with_its_people(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cast(runtime)
    make_backup(runtime, tmp_path / "backup")
    runtime.database.close()
    target = Path(str(runtime.database.engine.url.database))
    replace = Path.replace

    def die(self: Path, other: Path) -> Path:
        if other == target:
            raise Death
        return replace(self, other)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(Death):
            restore(runtime.settings, tmp_path / "backup", replace=True)

    assert prepare(runtime.settings).setup_link is None


@pytest.mark.parametrize("backend", ["sqlite"])
def test_database_is_kept_where_a_file_has_one_name_only(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_names: object) -> None:
        raise PermissionError

    make_cast(runtime)
    make_backup(runtime, tmp_path / "backup")
    runtime.database.close()
    monkeypatch.setattr(os, "link", refuse)

    done = restore(runtime.settings, tmp_path / "backup", replace=True)

    assert done.kept is not None
    assert done.kept.stat().st_size > 0


@pytest.mark.parametrize("backend", ["sqlite"])
def test_commit_is_on_the_disk_before_anything_else_happens(runtime: Runtime) -> None:
    for engine in (runtime.database.engine, make_engine(runtime.database)):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        engine.dispose()


def test_error_of_the_database_holds_nothing_that_a_statement_was_given(runtime: Runtime) -> None:
    engines = (runtime.database.engine, make_engine(runtime.database))
    for engine in engines:
        with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
            connection.execute(text("SELECT missing FROM instance WHERE epoch = :hash"), {"hash": "canary-hash"})
        assert "canary-hash" not in str(caught.value)
        engine.dispose()


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"])
def test_restore_that_dies_after_the_load_leaves_a_copy_that_waits(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_details: object) -> None:
        raise Death

    make_cast(runtime)
    make_backup(runtime, tmp_path / "backup")
    empty(runtime.database)
    with monkeypatch.context() as patch:
        patch.setattr("portal.operation.backup.restore._compare", die)
        with pytest.raises(Death):
            restore(runtime.settings, tmp_path / "backup")

    # In exactly the original's place, so that nothing else distinguishes the two.
    prepare(runtime.settings)
    prepare(runtime.settings)

    with runtime.database.reading() as session:
        assert is_restored(session)


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"])
def test_restore_that_dies_before_the_load_is_tried_again(
    runtime: Runtime, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_details: object) -> None:
        raise Death

    make_backup(runtime, tmp_path / "backup")
    with monkeypatch.context() as patch:
        patch.setattr("portal.operation.backup.postgresql.load", die)
        with pytest.raises(Death):
            restore(elsewhere, tmp_path / "backup")

    restore(elsewhere, tmp_path / "backup")

    there = Database(elsewhere.resolved_database_url)
    with there.reading() as session:
        assert is_restored(session)
    there.close()


def empty(database: Database) -> None:
    """Reset a server's database to its initial state."""
    with database.engine.begin() as connection:
        for schema in inspect(connection).get_schema_names():
            if schema != "information_schema":
                connection.execute(text(f'DROP SCHEMA "{schema}" CASCADE'))
        connection.execute(text("CREATE SCHEMA public"))
