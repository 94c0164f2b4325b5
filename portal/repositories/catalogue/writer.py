"""Write pages of the catalogue, and compare at the end of a complete run.

Only changed rows are written (`WHERE digest IS DISTINCT`), so reading the same catalogue again is cheap and quiet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel, col

from portal.db import Database, utc_now
from portal.repositories.catalogue.rows import Row
from portal.repositories.models import GitLabGroup, Repository

# SQLite allows 32,766 variables in a statement; a list of ids stays far below.
IDS_PER_STATEMENT = 5000


def write_repositories(database: Database, rows: list[Row]) -> None:
    """Insert or update repositories by (connection, GitLab id) in one short transaction."""
    _upsert(database, Repository, ("connection_id", "gitlab_project_id"), rows, guard="digest")


def write_groups(database: Database, rows: list[Row]) -> None:
    """Insert or update groups by (connection, GitLab id)."""
    _upsert(database, GitLabGroup, ("connection_id", "gitlab_group_id"), rows)


def mark_missing(
    database: Database, connection_id: int, present: Collection[int], *, is_complete: bool
) -> tuple[int, int]:
    """Unmark what a run saw again and, if it was complete, mark what it did not see.

    Returns:
        How many repositories went missing with this run, and how many were there before.
    """
    with database.reading() as session:
        known = session.execute(
            select(col(Repository.gitlab_project_id), col(Repository.missing_since)).where(
                col(Repository.connection_id) == connection_id
            )
        ).all()
    there = [project_id for project_id, missing_since in known if missing_since is None]
    back = [project_id for project_id, missing_since in known if missing_since is not None and project_id in present]
    _set_missing_since(database, connection_id, back, None)
    if not is_complete:
        return 0, len(there)
    gone = [project_id for project_id in there if project_id not in present]
    _set_missing_since(database, connection_id, gone, utc_now())
    return len(gone), len(there)


def _upsert(database: Database, table: type[SQLModel], key: tuple[str, ...], rows: list[Row], guard: str = "") -> None:
    if not rows:
        return
    by_kept: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        by_kept.setdefault(row.kept, []).append(row.values)
    with database.transaction() as session:
        for kept, values in by_kept.items():
            statement = _upsert_statement(database, table, key, values[0].keys() - kept, guard)
            # Executemany: a statement with many VALUES is ten times slower here.
            session.connection().execute(statement, values)


def _upsert_statement(
    database: Database, table: type[SQLModel], key: tuple[str, ...], columns: Collection[str], guard: str
) -> Insert:
    dialect = sqlite if database.is_sqlite else postgresql
    statement = dialect.insert(table)
    changed = {name: statement.excluded[name] for name in columns if name not in key}
    where = getattr(table, guard).is_distinct_from(statement.excluded[guard]) if guard else None
    upsert: Insert = statement.on_conflict_do_update(index_elements=list(key), set_=changed, where=where)
    return upsert


def _set_missing_since(database: Database, connection_id: int, project_ids: list[int], when: Any) -> None:
    for some in _batches(project_ids, IDS_PER_STATEMENT):
        with database.transaction() as session:
            session.execute(
                update(Repository)
                .where(col(Repository.connection_id) == connection_id, col(Repository.gitlab_project_id).in_(some))
                .values(missing_since=when)
            )


def _batches(items: list[int], size: int) -> Iterator[list[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))
