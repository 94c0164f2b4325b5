"""The contents of the whole database, as one digest per table."""

from __future__ import annotations

import hashlib

from sqlalchemy import MetaData, select
from sqlmodel import SQLModel

from portal.db import Database

# Reading updates when someone was last active, and nothing else.
STAMPS = {("session", "last_active_at")}


def digests(database: Database, besides: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return a digest of every table's rows, without the sign-in stamps.

    Args:
        database: where to read.
        besides: names of tables to leave out.
    """
    with database.reading() as session:
        return {
            table.name: hashlib.sha256(repr(_rows(session, table)).encode()).hexdigest()
            for table in _metadata().sorted_tables
            if table.name not in besides
        }


def _rows(session, table) -> list[tuple]:
    columns = [column for column in table.columns if (table.name, column.name) not in STAMPS]
    return sorted((tuple(row) for row in session.execute(select(*columns))), key=repr)


def _metadata() -> MetaData:
    return SQLModel.metadata
