"""What has to be in order before any command works: the data folder and the database.

Each problem is one sentence that names the setting or file and says what to do. `explain` words database errors that
occur later, while a command runs, in the same way.
"""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

import psycopg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from portal.private import private_folder
from portal.settings import Settings, SettingsError
from portal.storage import Trouble, trouble_of_folder

CONNECT_SECONDS = 10
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# What psycopg writes before the server's or the system's message.
_OWN_WORDS = re.compile(r"(?:FATAL: |ERROR: |failed: |is bad: )\s*([^\n]+)")
_REMEDIES = (
    (r"database .* does not exist", "Create the database, or correct its name."),
    (r"password authentication failed|no password supplied|fe_sendauth", "Check the user name and the password."),
    (r"role .* does not exist|role .* is not permitted", "Check the user name."),
    (r"resolve|translate host|Name or service|nodename", "Check the host name."),
    (
        r"refused|No such file|timed? ?out|timeout|unreachable|No route",
        "Check that the server runs and can be reached.",
    ),
    (r"starting up|shutting down|recovery mode", "Try again in a moment."),
    (r"too many (clients|connections)|connection slots", "Raise the server's max_connections."),
)


def check_ground(settings: Settings) -> None:
    """Check that the data folder can be written and the database opened; create the folder if it is missing.

    Raises:
        SettingsError: one of them cannot.
    """
    folder, path = settings.data_dir, settings.audit_head_file
    name = f"GATEHOUSE_DATA_DIR: the folder {folder.absolute()}"
    try:
        private_folder(folder)
    except OSError as error:
        raise SettingsError(f"{name} cannot be created: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{name} cannot be written by this user. Change its owner or mode, or name another folder.")
    if path and (path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK)):
        raise SettingsError(
            f"GATEHOUSE_AUDIT_HEAD_FILE: {path.absolute()} is not a file that can be written. "
            "Name one in a folder that exists and that the portal's user may write."
        )
    url = make_url(settings.resolved_database_url)
    if url.get_backend_name() == "sqlite":
        _check_sqlite(Path(url.database or ""), "GATEHOUSE_DATABASE_URL" if settings.database_url else "")
    else:
        _check_postgresql(url)


def explain(error: DBAPIError) -> str | None:
    """Say in one sentence what an operator has to fix; None for a bug."""
    words = _own_words(str(error.orig))
    if isinstance(error.orig, sqlite3.Error):
        if (error.orig.sqlite_errorcode & 0xFF) in DAMAGED:
            return _damaged("The database", str(error.orig))
        if "no such table" in words:
            return "The database has no tables yet: run `gatehouse migrate` first."
    if isinstance(error.orig, psycopg.errors.UndefinedTable):
        return "The database has no tables yet: run `gatehouse migrate` first."
    if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
        return f"GATEHOUSE_DATABASE_URL: this user lacks a right that the portal needs: {words}."
    if isinstance(error, (OperationalError, InterfaceError)):
        return f"The database refused a request: {words}.{_remedy(words)}"
    return None


def _check_sqlite(path: Path, setting: str) -> None:
    name = f"{setting or 'GATEHOUSE_DATA_DIR'}: the database {path.absolute()}"
    try:
        private_folder(path.parent)
        exists = path.exists()
    except OSError as error:
        raise SettingsError(f"{name} cannot be created: {error.strerror}.") from None
    if path.is_dir():
        raise SettingsError(f"{name} is a folder, not a file.")
    # SQLite writes two more files beside it.
    if not all(os.access(place, os.W_OK) for place in (path.parent, *([path] if exists else []))):
        raise SettingsError(
            f"{name} cannot be written by this user. Change the owner or mode of the file and its folder."
        )
    if not exists:
        return
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=rw", uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF
        if code in DAMAGED:
            raise SettingsError(_damaged(name, str(error))) from None
        # Another process is writing: this one waits its turn as usual.
        if code not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            # To open a file, SQLite needs space for two more, and reports a lack of it as an I/O error.
            is_full = trouble_of_folder(path.parent) == Trouble.FULL
            words = "its disk is full. Free space on it" if is_full else error
            raise SettingsError(f"{name} cannot be opened: {words}.") from None


def _check_postgresql(url: URL) -> None:
    options = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        psycopg.connect(address, **options).close()  # type: ignore[arg-type]
    except psycopg.Error as error:
        words = _own_words(str(error))
        if password := str(url.password or ""):
            words = words.replace(password, "***")
        server = f"{url.host}:{url.port or 5432}" if url.host else "this machine"
        raise SettingsError(
            f"GATEHOUSE_DATABASE_URL: the database {url.database} on {server} cannot be opened: "
            f"{words}.{_remedy(words)}"
        ) from None


def _own_words(text: str) -> str:
    found = _OWN_WORDS.findall(text)
    words = (found[-1] if found else text.partition("\n")[0]).strip().rstrip(".")
    return "".join(character if character.isprintable() else " " for character in words)


def _remedy(words: str) -> str:
    return next((f" {remedy}" for pattern, remedy in _REMEDIES if re.search(pattern, words, re.IGNORECASE)), "")


def _damaged(name: str, words: str) -> str:
    return (
        f"{name} is damaged or no SQLite database ({words}). "
        "Move it and the files beside it (-wal, -shm) elsewhere, then put a backup in place with `gatehouse restore`."
    )
