"""Which columns hold ciphertexts: each declares it, so that a rotation finds them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import Field, SQLModel

_SEALED = "sealed_for"


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
