"""How many repositories each namespace has: kept with every change, and counted again by every catalogue run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlmodel import Session, col

from portal.db import insert_into
from portal.repositories.models import Enablement, GitLabGroup, Namespace, Repository, is_blocked

COUNTS = ("total", "enabled", "blocked", "enabled_blocked")
NOTHING = (0, 0, 0, 0)


@contextmanager
def keep_counts(session: Session, *which: ColumnElement[bool]) -> Iterator[None]:
    """Add what the block changes about some repositories to the counts of their namespaces."""
    # Someone else who changes one of them at the same moment waits, so that no change is counted twice.
    session.execute(select(col(Repository.id)).where(*which).order_by(col(Repository.id)).with_for_update())
    before = _count(session, *which)
    yield
    session.flush()
    after = _count(session, *which)
    changes = []
    for key in sorted(before.keys() | after.keys()):
        was, now = (counts.get(key, NOTHING) for counts in (before, after))
        if was != now:
            more = {name: new - old for name, old, new in zip(COUNTS, was, now, strict=True)}
            changes.append({"connection_id": key[0], "path": key[1], **more})
    _write(session, changes, is_difference=True)


def recount(session: Session, connection_id: int) -> None:
    """Count everything of a connection again, and leave out namespaces that are neither a group nor have anything."""
    own = col(Namespace.connection_id) == connection_id
    # Changes that are about to be committed are waited for: they are in the counts, and then in what is counted.
    stored = session.execute(
        select(col(Namespace.path), *(getattr(Namespace, name) for name in COUNTS)).where(own).with_for_update()
    )
    known = {path: tuple(values) for path, *values in stored}
    found = {path: row for (_, path), row in _count(session, col(Repository.connection_id) == connection_id).items()}
    groups = select(col(GitLabGroup.full_path)).where(col(GitLabGroup.connection_id) == connection_id)
    for path in session.execute(groups).scalars():
        found.setdefault(path, NOTHING)
    changed = [
        {"connection_id": connection_id, "path": path, **dict(zip(COUNTS, row, strict=True))}
        for path, row in sorted(found.items())
        if known.get(path) != row
    ]
    _write(session, changed, is_difference=False)
    for path in known.keys() - found.keys():
        session.execute(delete(Namespace).where(own, col(Namespace.path) == path))


def add_namespaces(session: Session, connection_id: int, paths: list[str]) -> None:
    """Add places without repositories, unless they are known."""
    rows = [{"connection_id": connection_id, "path": path, **dict.fromkeys(COUNTS, 0)} for path in sorted(paths)]
    if rows:
        session.connection().execute(insert_into(session, Namespace).on_conflict_do_nothing(), rows)


def _count(session: Session, *which: ColumnElement[bool]) -> dict[tuple[int, str], tuple[int, ...]]:
    is_enabled = col(Enablement.id).is_not(None)
    counted = (
        select(
            col(Repository.connection_id),
            col(Repository.namespace_path),
            func.count(),
            func.count(col(Enablement.id)),
            func.count().filter(is_blocked()),
            func.count().filter(and_(is_enabled, is_blocked())),
        )
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(*which)
        .group_by(col(Repository.connection_id), col(Repository.namespace_path))
    )
    return {(connection_id, path): tuple(row) for connection_id, path, *row in session.execute(counted)}


def _write(session: Session, rows: list[dict[str, Any]], *, is_difference: bool) -> None:
    if not rows:
        return
    statement = insert_into(session, Namespace)
    new = {name: statement.excluded[name] for name in COUNTS}
    if is_difference:
        new = {name: getattr(Namespace, name) + value for name, value in new.items()}
    upsert = statement.on_conflict_do_update(index_elements=["connection_id", "path"], set_=new)
    session.connection().execute(upsert, rows)
