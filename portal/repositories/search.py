"""The index of what the search box searches: FTS5 with trigrams on SQLite, pg_trgm on PostgreSQL.

It is derived from the rows, so no migration makes it: each catalogue run completes it at its end, which costs a
fraction of keeping it with every page. Without it, or while a run has yet to complete it, a search reads the rows.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Select, column, func, select, table, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import Session, col

from portal.connections.models import Connection
from portal.db import Database
from portal.repositories.models import CatalogueRun, Repository

IDS_PER_TRANSACTION = 5000
# The index has no shorter ones.
SHORTEST_WORD = 3
_INDEX = table("repository_search", column("rowid"))
_CREATE_ON_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX IF NOT EXISTS ix_repository_search ON repository USING gin (search_text gin_trgm_ops)",
)
_CREATE_ON_SQLITE = "CREATE VIRTUAL TABLE IF NOT EXISTS repository_search USING fts5 (text, tokenize = 'trigram')"
_COMPLETE_ON_SQLITE = (
    "INSERT OR REPLACE INTO repository_search (rowid, text) SELECT id, search_text FROM repository AS own"
    " WHERE id > :after AND id <= :last AND NOT EXISTS (SELECT 1 FROM repository_search AS known"
    " WHERE known.rowid = own.id AND known.text = own.search_text)"
)
_FORGET_ON_SQLITE = "DELETE FROM repository_search WHERE rowid NOT IN (SELECT id FROM repository)"


def complete_index(database: Database) -> bool:
    """Add what is missing; return whether there is an index now. An old SQLite or PostgreSQL cannot have one."""
    creating = (_CREATE_ON_SQLITE,) if database.is_sqlite else _CREATE_ON_POSTGRESQL
    try:
        with database.transaction() as session:
            for statement in creating:
                session.execute(text(statement))
    except DBAPIError:
        return False
    if database.is_sqlite:
        with database.reading() as session:
            highest = session.execute(select(func.max(col(Repository.id)))).scalar_one() or 0
        for after in range(0, highest, IDS_PER_TRANSACTION):
            with database.transaction() as session:
                session.execute(text(_COMPLETE_ON_SQLITE), {"after": after, "last": after + IDS_PER_TRANSACTION})
        with database.transaction() as session:
            session.execute(text(_FORGET_ON_SQLITE))
    return True


def forget_erased(session: Session, _connection_id: int) -> None:
    """Leave no trace in the index of repositories that are gone."""
    if session.get_bind().dialect.name == "sqlite":
        try:
            session.execute(text(_FORGET_ON_SQLITE))
            session.execute(text("INSERT INTO repository_search (repository_search) VALUES ('rebuild')"))
        except OperationalError:
            return  # There is none.


def find_few(
    session: Session, connection_ids: Collection[int], words: Collection[str], limit: int
) -> Select[int] | None:
    """Return the ids of rows that may have these words, if the index of SQLite has at most `limit` of them.

    PostgreSQL decides by itself when to use its index. Common words are found sooner in the order of the list.
    """
    long = [word for word in words if len(word) >= SHORTEST_WORD]
    if not long or session.get_bind().dialect.name != "sqlite":
        return None
    newest = select(col(CatalogueRun.search_indexed)).where(col(CatalogueRun.connection_id) == col(Connection.id))
    newest = newest.order_by(col(CatalogueRun.id).desc()).limit(1)
    ready = select(func.count()).where(col(Connection.id).in_(connection_ids), newest.scalar_subquery())
    if session.execute(ready).scalar_one() < len(connection_ids):
        return None
    phrases = " ".join('"{}"'.format(word.replace('"', '""')) for word in long)
    found = select(_INDEX.c.rowid).where(text("repository_search MATCH :phrases").bindparams(phrases=phrases))
    some = select(func.count()).select_from(found.limit(limit + 1).subquery())
    return found if session.execute(some).scalar_one() <= limit else None
