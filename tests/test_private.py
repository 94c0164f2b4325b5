"""Only the portal's system user can read what it writes, whatever umask it is started with."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import build_runtime
from portal.audit.head import Head, write_head
from portal.credentials.store import Spool
from portal.db import Database
from portal.jobs.workers import WorkerLock
from portal.operation.backup.make import make_backup
from portal.operation.backup.restore import restore
from portal.operation.serving import Supervisor
from portal.operation.start import prepare
from portal.private import private_file, private_folder
from portal.settings import Settings
from portal.vault.keyring import KEYS_VARIABLE
from tests.support.modes import open_to_others


@pytest.fixture(autouse=True)
def careless_umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    before = os.umask(0)
    yield
    os.umask(before)


def test_everything_the_portal_makes_is_closed_to_others(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    settings = Settings(data_dir=home / "data", audit_head_file=home / "head" / "head")
    private_folder(home / "head")

    prepare(settings)
    runtime = build_runtime(settings)
    with runtime.database.transaction() as session:
        session.connection().exec_driver_sql("CREATE TABLE probe (id INTEGER)")
    Spool(runtime).reserve(1, "intent")
    lock = WorkerLock(settings.data_dir / "locks" / "worker")
    assert lock.acquire(threading.Event())
    supervisor = Supervisor(log_file=home / "logs" / "log")
    supervisor._output().close()
    write_head(settings.audit_head_file, Head(1, "0" * 64))
    make_backup(runtime, home / "backups" / "first")
    there = settings.model_copy(update={"data_dir": home / "there", "key_file": settings.resolved_key_file})
    restore(there, home / "backups" / "first")
    lock.release()

    assert open_to_others(tmp_path / "deep") == {}
    runtime.database.close()


def test_database_of_an_earlier_version_is_closed_to_others_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    folder.mkdir(mode=0o700)
    path = folder / "gatehouse.db"
    with sqlite3.connect(path) as old:
        old.execute("PRAGMA journal_mode=WAL")
        old.execute("CREATE TABLE probe (id INTEGER)")
        old.commit()
        assert open_to_others(folder)

        database = Database(f"sqlite:///{path}")
        with database.transaction() as session:
            session.connection().exec_driver_sql("INSERT INTO probe VALUES (1)")

        assert open_to_others(folder) == {}
        database.close()
    old.close()


def test_database_that_is_open_keeps_its_locks(tmp_path: Path) -> None:
    """A file that is opened and closed beside SQLite loses every lock of the process (fcntl(2), "POSIX locks")."""
    path = tmp_path / "gatehouse.db"
    first = sqlite3.connect(path, isolation_level=None)
    first.execute("CREATE TABLE probe (id INTEGER)")
    first.execute("BEGIN EXCLUSIVE")

    private_file(path)

    child = os.fork()
    if child == 0:
        try:
            sqlite3.connect(path, timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    first.close()


def test_folder_that_exists_stays_as_its_owner_wants_it_and_a_file_is_no_folder(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o750)
    private_folder(shared / "mine" / "below")

    assert open_to_others(shared) == {".": "750"}
    (shared / "file").touch()
    with pytest.raises(OSError, match="exists"):
        private_folder(shared / "file")
