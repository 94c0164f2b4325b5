"""SQLite: a consistent copy of a database in use, and the replacement of its file."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine

from portal.db import HIDE_PARAMETERS
from portal.durable import sync
from portal.operation.backup.manifest import BackupRefused

FILE = "gatehouse.db"
BUSY_SECONDS = 30


def dump(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment into a single file.

    Raises:
        BackupRefused: it cannot be read or written.
    """
    try:
        with closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as reader, closing(sqlite3.connect(target)) as copy:
            reader.backup(copy)  # In one step: it sees one moment, and in WAL mode no writer waits for it.
            copy.execute("PRAGMA journal_mode=DELETE")  # One file, no companions.
    except sqlite3.Error as error:
        raise BackupRefused(f"The database could not be copied: {error}.") from None


@contextmanager
def looking_at(path: Path) -> Iterator[Connection]:
    """Open a file that no one writes to, without leaving a trace on it."""
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&immutable=1&uri=true", hide_parameters=HIDE_PARAMETERS)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def check_integrity(path: Path) -> None:
    """Let SQLite check every page and every foreign key.

    Raises:
        BackupRefused: the file is damaged.
    """
    try:
        with looking_at(path) as connection:
            answer = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    except Exception as error:
        raise BackupRefused(f"The backup's database cannot be opened: {type(error).__name__}.") from None
    if answer != "ok" or orphans is not None:
        raise BackupRefused("The backup's database is damaged: its integrity check failed.")


def take_for_oneself(path: Path) -> None:
    """Make sure that no process has the database open, and write its journal into the file.

    Raises:
        BackupRefused: another process has it open.
    """
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            # Leaving WAL mode needs the file for itself: every open connection holds a lock on it.
            mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
    except sqlite3.OperationalError:
        mode = "wal"
    except sqlite3.DatabaseError:
        return  # A file that is no longer a database may be replaced.
    if mode == "wal":
        raise BackupRefused("The portal is running on this database. Stop it, then restore.")


def exchange(new: Path, target: Path, kept: Path) -> None:
    """Replace a file, which is kept under another name; at every moment there is one in place."""
    sync(new)
    if target.exists():
        # A second name: between two renames there would be no database, and a start would create one.
        try:
            os.link(target, kept)
        except FileExistsError:
            raise BackupRefused(f"{kept} exists. Nothing is ever overwritten.") from None
        except OSError:  # A file system without hard links.
            shutil.copy2(target, kept)
            sync(kept)
    for companion in ("-wal", "-shm"):
        # The journal of a database that was damaged or deleted: SQLite would replay it into the new one.
        Path(f"{target}{companion}").unlink(missing_ok=True)
    new.replace(target)
    sync(target.parent)
