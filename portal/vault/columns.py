"""Which columns hold ciphertexts: each declares it, so that a rotation finds them all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Field, SQLModel

from portal.db import Database
from portal.vault.vault import Place, Vault

_SEALED = "sealed_for"
# The newest rows of each column. Older tokens were revoked, and their ciphertexts erased.
MAX_ROWS = 20


@dataclass(frozen=True)
class SealedColumn:
    """One column of envelopes; `origin_column` is the column that holds what they are bound to, if anything."""

    table: str
    name: str
    origin_column: str | None = None


def sealed_field(*, origin_column: str | None = None) -> Any:
    """Return a column of a model whose envelopes are sealed for `Place(table, id, name)`; the table's key is `id`."""
    return Field(default=None, sa_column_kwargs={"info": {_SEALED: origin_column}})


def sealed_columns() -> list[SealedColumn]:
    """Return every such column of the portal's tables, in a stable order."""
    return [
        SealedColumn(name, column.name, column.info[_SEALED])
        for name, table in sorted(SQLModel.metadata.tables.items())
        for column in sorted(table.columns, key=lambda column: column.name)
        if _SEALED in column.info
    ]


def recalling(database: Database, vault: Vault, connection_id: int | None) -> Callable[[], None]:
    """Return what a session calls before it reads its GitLab's answer."""

    def recall() -> None:
        found = []
        # An answer that has arrived matters more than what might be missed without a database.
        with suppress(SQLAlchemyError), database.engine.connect() as connection:
            for column in sealed_columns():
                table = SQLModel.metadata.tables[column.table]
                if "connection_id" not in table.c:
                    continue
                cell = table.c[column.name]
                origin = table.c[column.origin_column] if column.origin_column else literal("")
                mine = (table.c.connection_id == connection_id, cell.is_not(None))
                newest = select(table.c.id, cell, origin).where(*mine).order_by(table.c.id.desc()).limit(MAX_ROWS)
                rows = connection.execute(newest)
                found += [(row[1], Place(column.table, row[0], column.name), row[2]) for row in rows]
        for sealed, place, bound in found:
            vault.recall(sealed, place, bound)

    return recall
