"""What keeps the portal from storing anything: a full or read-only disk, a database that is busy or unreachable.

One kind of fault with one wording, wherever it appears: on a page, in a job, or when a token is renewed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from enum import StrEnum
from pathlib import Path

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from portal.errors import Card

# Less than this is not enough: SQLite's companion files and an answer in the spool have to fit.
ROOM_BYTES = 1 << 20


class Trouble(StrEnum):
    """Why something could not be stored or read."""

    FULL = "disk_full"
    READ_ONLY = "disk_read_only"
    BUSY = "database_busy"
    AWAY = "database_away"


# These stay until someone does something about them.
LASTING = frozenset({Trouble.FULL, Trouble.READ_ONLY})
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    # A full disk also looks like this to a new connection: it cannot create its companion files.
    sqlite3.SQLITE_IOERR: Trouble.AWAY,
    sqlite3.SQLITE_CANTOPEN: Trouble.AWAY,
}
_OF_POSTGRESQL: tuple[tuple[type[psycopg.Error], Trouble], ...] = (
    (psycopg.errors.DiskFull, Trouble.FULL),
    (psycopg.errors.ReadOnlySqlTransaction, Trouble.READ_ONLY),
    (psycopg.errors.LockNotAvailable, Trouble.BUSY),
    (psycopg.errors.QueryCanceled, Trouble.BUSY),
    (psycopg.OperationalError, Trouble.AWAY),
    (psycopg.InterfaceError, Trouble.AWAY),
)


def trouble_of(error: BaseException) -> Trouble | None:
    """Return what a database error says about its storage; None for any other fault."""
    if isinstance(error, PoolTimeout):
        return Trouble.BUSY
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error.orig, sqlite3.Error):
        # To SQLite's driver, one of our own wrong statements is an operational error, too.
        return _OF_SQLITE.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
    return next((trouble for kind, trouble in _OF_POSTGRESQL if isinstance(error.orig, kind)), None)


def trouble_of_folder(folder: Path) -> Trouble | None:
    """Return what keeps the portal from writing to its data folder; None if nothing does."""
    try:
        if shutil.disk_usage(folder).free < ROOM_BYTES or os.statvfs(folder).f_favail == 0 < os.statvfs(folder).f_files:
            return Trouble.FULL
        return None if os.access(folder, os.W_OK) else Trouble.READ_ONLY
    except OSError:
        return Trouble.READ_ONLY


def card_of(trouble: Trouble, place: str) -> Card:
    """Return what people read. `place` names what has the problem, such as `the data folder /var/lib/gatehouse`."""
    return Card(trouble.value, {"where": place})
