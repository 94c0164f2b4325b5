"""PostgreSQL databases that tests reuse: emptied in between, created again if a test changed the schema.

A new database costs more than copying it: the first connection has to build the server's caches for it.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from tests.support.postgresql import Cluster

# Everything that a test may have altered about its tables, as one text.
SHAPE = """
SELECT md5(string_agg(line, ';' ORDER BY line)) FROM (
    SELECT concat('schema ', nspname) FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT concat('column ', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND attnum > 0
    UNION ALL SELECT concat('trigger ', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT concat('constraint ', conrelid::regclass, conname) FROM pg_constraint WHERE conrelid > 0
    UNION ALL SELECT concat('function ', proname, md5(prosrc)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS lines(line)
"""
RESTART_SEQUENCES = """
SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


class Reused:
    """One database of a cluster at the newest schema, given empty to one test at a time."""

    def __init__(self, cluster: Cluster, template: str) -> None:
        self._cluster = cluster
        self._template = template
        self._url = ""
        with psycopg.connect(template) as connection:
            self._shape = _one(connection, SHAPE)
            names = [name for (name,) in connection.execute(TABLES)]
            self._rows = {name: _rows_of(connection, name) for name in names}

    def take(self) -> str:
        """Return the address of an empty database."""
        self._url = self._url or self._cluster.create_database(template=self._template)
        return self._url

    def give_back(self) -> None:
        """Empty it for the next test; one that cannot be emptied is dropped."""
        try:
            is_empty = self._empty()
        except psycopg.Error:
            is_empty = False
        if not is_empty:
            self._cluster.drop_database(self._url)
            self._url = ""

    def _empty(self) -> bool:
        with psycopg.connect(self._url) as connection:
            # Without triggers and foreign keys; someone who still holds a lock keeps no one waiting.
            connection.execute("SET session_replication_role = replica; SET lock_timeout = '500ms'")
            if _one(connection, SHAPE) != self._shape:
                return False
            for name, rows in self._rows.items():
                if _rows_of(connection, name) != rows:
                    _replace(connection, name, rows)
            connection.execute(RESTART_SEQUENCES)
        return True


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _rows_of(connection: psycopg.Connection[Any], name: str) -> list[str]:
    query = sql.SQL("SELECT to_jsonb(t)::text FROM {} AS t LIMIT 100").format(sql.Identifier(name))
    return [text for (text,) in connection.execute(query)]


def _replace(connection: psycopg.Connection[Any], name: str, rows: list[str]) -> None:
    table = sql.Identifier(name)
    connection.execute(sql.SQL("DELETE FROM {}").format(table))
    for row in rows:
        connection.execute(
            sql.SQL("INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, %s::jsonb)").format(
                table=table
            ),
            [row],
        )
