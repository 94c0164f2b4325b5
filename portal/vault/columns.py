"""Which columns hold ciphertexts: every table's owner declares them beside the table, so that a rotation finds all."""

from __future__ import annotations

from dataclasses import dataclass

_columns: dict[tuple[str, str], SealedColumn] = {}


@dataclass(frozen=True)
class SealedColumn:
    """One column of envelopes; `origin_column` is the column that holds what they are bound to, if anything."""

    table: str
    name: str
    origin_column: str | None = None


def register_columns(table: str, *names: str, origin_column: str | None = None) -> None:
    """Declare columns whose envelopes were sealed for `Place(table, id, name)`; the table's key is `id`."""
    for name in names:
        _columns[(table, name)] = SealedColumn(table, name, origin_column)


def sealed_columns() -> list[SealedColumn]:
    """Return every declared column, in a stable order. Only tables that are imported are there."""
    return [_columns[key] for key in sorted(_columns)]
