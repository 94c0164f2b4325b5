"""Seal every stored secret again with the newest key, while the portal runs (S29).

Each value is replaced only if it is still the one that was read: a token pair that a refresh has stored since is never
overwritten, and the next pass finds what was missed. If it is stopped, the next run continues.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CursorResult, Row, Table, bindparam, inspect, select, text
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

from portal.crash_points import crash_point
from portal.db import Database
from portal.vault.columns import SealedColumn, sealed_columns
from portal.vault.vault import Place, SecretUnreadable, Vault, key_id_of

BATCH = 100
# Every pass but the last found values newly written with the old key. A process that has not noticed the new key after
# this many passes will not notice it.
MAX_PASSES = 20
# For transactions that began before the key was changed; a long one that only reads must not hold the rotation up.
MAX_WAIT_SECONDS = 20
POLL_SECONDS = 0.05
_OPEN_BEFORE = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' "
    "AND pid <> pg_backend_pid() AND xact_start < :moment"
)


@dataclass
class Resealed:
    """What a run did.

    Attributes:
        done: values that the newest key now seals and another one did before.
        left: values that a process keeps writing with an old key.
        unreadable: where a value cannot be opened; it was left as it is.
    """

    done: int = 0
    left: int = 0
    unreadable: set[Place] = field(default_factory=set)


Progress = Callable[[Resealed], None]


def seal_everything_again(database: Database, vault: Vault, on_progress: Progress = lambda _: None) -> Resealed:
    """Seal again what an older key sealed, pass after pass, until nothing is left."""
    _wait_for_open_transactions(database)
    resealed = Resealed()
    for _ in range(MAX_PASSES):
        resealed.left = 0
        found = sum(_seal_column(database, vault, column, resealed, on_progress) for column in sealed_columns())
        if found == 0:
            break
    return resealed


def count_by_key(connection: Connection) -> dict[str, Counter[str]]:
    """Return, for each column as `table.column`, how many values each key id seals; damaged ones under an empty id."""
    counts: dict[str, Counter[str]] = {}
    present = inspect(connection)
    for column in sealed_columns():
        names = present.get_columns(column.table) if present.has_table(column.table) else []
        if column.name not in {found["name"] for found in names}:
            continue  # An older schema, in a backup.
        cell = _table(column).c[column.name]
        rows = connection.execute(select(cell).where(cell.is_not(None)).execution_options(yield_per=1000))
        counts[f"{column.table}.{column.name}"] = Counter(key_id_of(row[0]) for row in rows)
    return counts


def _wait_for_open_transactions(database: Database) -> None:
    """Wait for everyone who may have sealed with the old key and not yet stored it."""
    with database.transaction() as session:
        session.connection()  # On SQLite it begins once the previous writer has ended.
        moment = database.clock(session)
    if database.is_sqlite:
        return
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < deadline:
        with database.engine.connect() as connection:
            if connection.execute(_OPEN_BEFORE, {"moment": moment}).scalar_one() == 0:
                return
        time.sleep(POLL_SECONDS)


def _seal_column(
    database: Database, vault: Vault, column: SealedColumn, resealed: Resealed, on_progress: Progress
) -> int:
    """Go through one column once; return how many values were not sealed by the newest key."""
    found = 0
    for rows in _batches(database, column):
        crash_point("rotate:before_batch")
        newest = vault.ring.newest.key_id
        stale = [row for row in rows if key_id_of(row.sealed) != newest]
        fresh = {}
        for row in stale:
            place = Place(column.table, row.id, column.name)
            try:
                fresh[row.id] = vault.seal_again(row.sealed, place, row.origin if column.origin_column else "")
                resealed.unreadable.discard(place)
            except SecretUnreadable:
                resealed.unreadable.add(place)
        found += len(fresh)
        if not fresh:
            continue
        crash_point("rotate:sealed_again")
        # Each value that is still the one that was read.
        table = _table(column)
        cell = table.c[column.name]
        still = (table.c.id == bindparam("row"), cell == bindparam("before"))
        values = [{"row": row.id, "before": row.sealed, "after": fresh[row.id]} for row in stale if row.id in fresh]
        with database.transaction() as session:
            # All at once: psycopg sends the whole batch before it waits for the first result.
            statement = table.update().where(*still).values({cell: bindparam("after")})
            result = session.connection().execute(statement, values)
            assert isinstance(result, CursorResult)
            stored = result.rowcount
        crash_point("rotate:batch_stored")
        resealed.done += stored
        resealed.left += len(fresh) - stored
        on_progress(resealed)
    return found


def _batches(database: Database, column: SealedColumn) -> Iterator[list[Row[Any]]]:
    """Yield the rows of a column by id, a few at a time, each batch as of that moment."""
    table = _table(column)
    cell = table.c[column.name]
    bound = [table.c[column.origin_column].label("origin")] if column.origin_column else []
    last = 0
    while True:
        statement = select(table.c.id, cell.label("sealed"), *bound).where(table.c.id > last, cell.is_not(None))
        with database.engine.connect() as connection:
            rows = list(connection.execute(statement.order_by(table.c.id).limit(BATCH)))
        if not rows:
            return
        last = rows[-1].id
        yield rows


def _table(column: SealedColumn) -> Table:
    return SQLModel.metadata.tables[column.table]
