"""Know a server's database into which a backup was being loaded: the load commits before anything can be verified.

The sign is a schema without tables. It stands beside what is loaded, so the loaded rows cannot overwrite it. SQLite
needs none: its file is verified and marked before it is put in place.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

SCHEMA = "gatehouse_loading"


def begin_loading(connection: Connection) -> None:
    """Say that what will be in this database is a copy."""
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))


def end_loading(connection: Connection) -> None:
    """Take the sign away, in the transaction that marks the copy."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA}"))


def was_loading(connection: Connection) -> bool:
    """Tell whether a load began whose copy nobody has marked yet."""
    return connection.dialect.name == "postgresql" and inspect(connection).has_schema(SCHEMA)
