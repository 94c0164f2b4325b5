"""The schema of every release, as a database with a row in each table: the starting point for testing later migrations.

`tests/schemas` has one file for each revision and database. `python -m bench.schema` writes them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, TypeDecorator, func, insert, select
from sqlmodel import SQLModel

from portal.db import Database
from tests.support.postgresql import run_client

FOLDER = Path(__file__).parent.parent / "schemas"
SAMPLES: dict[type, Any] = {
    float: 1.5,
    int: 1,
    bool: False,
    str: "x",
    bytes: b"x",
    object: {},  # JSON
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
}


def file_of(revision: str, database: Database) -> Path:
    """Return where a revision's schema is kept."""
    return FOLDER / f"{revision}.{database.engine.dialect.name}.sql"


def type_of(column: Column[Any]) -> type:
    """Return what a column holds; `object` for JSON."""
    kind = column.type
    return (kind.impl_instance if isinstance(kind, TypeDecorator) else kind).python_type


def fill(database: Database) -> None:
    """Give every table of the newest schema a row, if it has none."""

    with database.transaction() as session:
        for table in SQLModel.metadata.sorted_tables:
            if not session.execute(select(func.count()).select_from(table)).scalar_one():
                session.execute(
                    insert(table).values({column.name: SAMPLES[type_of(column)] for column in table.columns})
                )


def dump(database: Database, revision: str) -> None:
    """Record a database's schema and rows."""
    if database.is_sqlite:
        with closing(sqlite3.connect(str(database.engine.url.database))) as connection:
            lines = list(connection.iterdump())
    else:
        file = file_of(revision, database)
        url = database.url.replace("postgresql+psycopg://", "postgresql://")
        run_client("pg_dump", url, "--no-owner", "--no-privileges", "--inserts", f"--file={file}")
        # Settings, comments and commands for psql differ between versions of the client and are of no use here.
        told = file.read_text().splitlines()
        lines = [line for line in told if line and not line.startswith(("--", "SET ", "\\", "SELECT pg_catalog.set_"))]
    text = "\n".join(line.rstrip() for line in "\n".join(lines).splitlines())
    file_of(revision, database).write_text(f"{text}\n")


def load(database: Database, revision: str) -> None:
    """Fill an empty database with what a release left behind."""
    script = file_of(revision, database).read_text()
    if database.is_sqlite:
        # Without the portal's settings: the rows come in the order of the tables' names.
        with closing(sqlite3.connect(str(database.engine.url.database))) as connection:
            connection.executescript(script)
    else:
        with database.engine.begin() as server:
            server.exec_driver_sql(script)
