"""Redact the secrets stored for one connection from texts, also those that only other processes held."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import literal, select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

from portal.db import Database
from portal.vault.columns import sealed_columns
from portal.vault.vault import Place, Vault

# The newest rows of each column. Older tokens were revoked, and their ciphertexts erased.
MAX_ROWS = 20


def recalling(database: Database, vault: Vault, connection_id: int | None) -> Callable[[], None]:
    """Return what a session calls before it reads its GitLab's answer."""

    def recall() -> None:
        # An answer that has arrived matters more than what might be missed without a database.
        with suppress(SQLAlchemyError):
            _recall(database, vault, connection_id)

    return recall


def _recall(database: Database, vault: Vault, connection_id: int | None) -> None:
    found = []
    with database.engine.connect() as connection:
        for column in sealed_columns():
            table = SQLModel.metadata.tables[column.table]
            if "connection_id" not in table.c:
                continue
            cell = table.c[column.name]
            origin = table.c[column.origin_column] if column.origin_column else literal("")
            statement = select(table.c.id, cell, origin).where(table.c.connection_id == connection_id)
            rows = connection.execute(statement.where(cell.is_not(None)).order_by(table.c.id.desc()).limit(MAX_ROWS))
            found += [(row[1], Place(column.table, row[0], column.name), row[2]) for row in rows]
    for sealed, place, bound in found:
        vault.recall(sealed, place, bound)
