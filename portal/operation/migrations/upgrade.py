"""Bring a database to the newest schema, and refuse one that is newer than this program (S109)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from portal.db import Database

# Any number will do, as long as nothing else in the database locks the same one.
ADVISORY_LOCK = 7_214_336_201
LOCK_TRIES = 60
TABLE_LOCK_SECONDS = 60


class NewerSchema(Exception):
    """The database was made by a newer version of the portal; this one would damage it."""


def upgrade(database: Database, target: str = "head") -> str:
    """Run every missing migration in one transaction; if there are several processes, one does it and the others wait.

    Args:
        database: which.
        target: the revision to stop at.

    Returns:
        The revision the database is at afterwards.

    Raises:
        NewerSchema: its revision is unknown to this program.
    """
    config = configuration()
    known = ScriptDirectory.from_config(config)
    with _locked(database.engine) as connection:
        present = MigrationContext.configure(connection).get_current_revision()
        if present and present not in {script.revision for script in known.walk_revisions()}:
            raise NewerSchema(f"The database is at revision {present}, which this version does not know.")
        config.attributes["connection"] = connection
        command.upgrade(config, target)
        reached = MigrationContext.configure(connection).get_current_revision()
    return reached or ""


def current_and_head(database: Database) -> tuple[str | None, str | None]:
    """Return the revision the database is at, and the newest one."""
    with database.engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    return present, ScriptDirectory.from_config(configuration()).get_current_head()


def is_known(revision: str) -> bool:
    """Return whether this program can bring a database of this revision to the newest schema."""
    return revision in {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}


def configuration() -> Config:
    """Return what Alembic has to know besides the connection, which is in `attributes`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            # Another upgrade may take as long as it needs. Readers and writers queue behind a change that waits for a
            # table, so that wait is limited.
            connection.execute(text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_LOCK_SECONDS}s'"))
            yield connection
        return
    # BEGIN EXCLUSIVE is the lock; in WAL mode SQLite may report "locked" at once while another process sets WAL up.
    writing = engine.execution_options(gatehouse_writes=True)
    for left in range(LOCK_TRIES, 0, -1):
        connection = writing.connect()
        try:
            connection.execute(text("SELECT 1"))
            break
        except OperationalError:
            connection.close()
            if left == 1:
                raise
            time.sleep(0.25)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()
