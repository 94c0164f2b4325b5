"""From GitLab's project or group to our row, and into the database. What GitLab did not say stays as it is stored.

Only changed rows are written (`WHERE digest IS DISTINCT`), so reading the same catalogue again is cheap and quiet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import or_, select, update
from sqlmodel import Session, SQLModel, col

from portal.db import Database, insert_into, utc_now
from portal.gitlab.answers import Group, Project
from portal.repositories.availability import Facts, reason_against
from portal.repositories.models import GitLabGroup, Repository, RoleSource, add_namespaces, count_new, keep_counts

# SQLite allows 32,766 variables in a statement; a list of ids stays far below.
IDS_PER_STATEMENT = 5000
DIGEST_BYTES = 8
DESCRIPTION_LENGTH = 300
# A letter may become two in lower case.
SEARCH_LENGTH = 1600


# The columns that come from a field, without which they stay as they are stored.
_COLUMNS = {
    "name": {"name", "search_text"},
    "web_url": {"web_url"},
    "description": {"description"},
    "default_branch": {"default_branch"},
    "visibility": {"visibility"},
    "archived": {"archived", "unavailable_reason"},
    "empty_repo": {"is_empty", "unavailable_reason"},
    "repository_object_format": {"object_format", "unavailable_reason"},
    "repository_access_level": {"repository_enabled", "unavailable_reason"},
    "marked_for_deletion_on": {"marked_for_deletion", "unavailable_reason"},
    "marked_for_deletion_at": {"marked_for_deletion", "unavailable_reason"},
    "last_activity_at": {"last_activity_at"},
    "namespace": {"gitlab_namespace_id"},
    "permissions": {"role_source"},
}
# Null means "none" in these; in the others it says nothing.
_MAY_BE_NULL = {"description", "default_branch", "marked_for_deletion_on", "marked_for_deletion_at"}
_COLUMNS_IF_TOLD = {field: columns for field, columns in _COLUMNS.items() if field not in _MAY_BE_NULL}
_NONE_KEPT: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RowValues:
    """Values for a table; those of `kept` are only for a row that is new."""

    values: dict[str, Any]
    kept: frozenset[str] = frozenset()


def repository_row(connection_id: int, project: Project, access_level: int | None, wrong: Collection[str]) -> RowValues:
    """Return the columns of `repository` that GitLab owns, with the digest that shows whether any changed.

    Args:
        connection_id: of our connection.
        project: as GitLab reported it.
        access_level: the role that the service user is known to have.
        wrong: fields of this project that were invalid.
    """
    path = project.path_with_namespace
    name = project.name or path.rpartition("/")[2]
    row: dict[str, Any] = {
        "gitlab_project_id": project.id,
        "name": name,
        "path_with_namespace": path,
        "namespace_path": path.rpartition("/")[0],
        "gitlab_namespace_id": project.namespace.id if project.namespace else None,
        "web_url": project.web_url or "",
        "description": (project.description or "")[:DESCRIPTION_LENGTH],
        "default_branch": project.default_branch or "",
        "visibility": project.visibility or "",
        "access_level": access_level,
        "role_source": _role_source(project, access_level),
        "archived": bool(project.archived),
        "is_empty": bool(project.empty_repo),
        "object_format": project.repository_object_format or "",
        "repository_enabled": project.repository_enabled,
        "marked_for_deletion": project.marked_for_deletion,
        "last_activity_at": project.last_activity_at,
    }
    facts = Facts(**{name: row[name] for name in Facts.__dataclass_fields__})
    row["unavailable_reason"] = reason_against(facts) or ""
    row["search_text"] = f"{path} {name}".lower()[:SEARCH_LENGTH]
    row["digest"] = hashlib.blake2b(msgspec.json.encode(row, enc_hook=str), digest_size=DIGEST_BYTES).digest()
    row["connection_id"] = connection_id
    kept = [columns for field, columns in _COLUMNS_IF_TOLD.items() if getattr(project, field) is None]
    kept += [_COLUMNS[field] for field in wrong if field in _COLUMNS]
    return RowValues(row, frozenset().union(*kept) if kept else _NONE_KEPT)


def _role_source(project: Project, access_level: int | None) -> str:
    """Say whether the role is the service user's own in the project. Lists name only the immediate group's besides."""
    if project.permissions is None or not access_level:
        return ""
    own = project.permissions.project_access
    is_direct = own is not None and (own.access_level or 0) >= access_level
    return RoleSource.DIRECT if is_direct else RoleSource.INHERITED


def group_row(connection_id: int, group: Group, run_id: int) -> RowValues:
    """Return the columns of `gitlab_group`."""
    row = {
        "connection_id": connection_id,
        "gitlab_group_id": group.id,
        "parent_gitlab_group_id": group.parent_id,
        "name": group.name or group.full_path.rpartition("/")[2],
        "full_path": group.full_path,
        "kind": "group",
        "seen_in_run_id": run_id,
    }
    return RowValues(row, frozenset() if group.name else frozenset({"name"}))


def write_repositories(database: Database, rows: list[RowValues]) -> int:
    """Insert or update repositories by (connection, GitLab id) in one short transaction; return how many changed."""
    if not rows:
        return 0
    number, key = col(Repository.gitlab_project_id), ("connection_id", "gitlab_project_id")
    own = col(Repository.connection_id) == rows[0].values["connection_id"]
    ids = [row.values["gitlab_project_id"] for row in rows]
    with database.reading() as session:
        digests = dict(session.execute(select(number, col(Repository.digest)).where(own, number.in_(ids))).all())
    # One row each: in pages that follow each other a project may be twice.
    changed = {
        project_id: row
        for project_id, row in zip(ids, rows, strict=True)
        if digests.get(project_id) != row.values["digest"]
    }
    if changed:
        with database.transaction() as session:
            if known := [row for project_id, row in changed.items() if project_id in digests]:
                with keep_counts(session, own, number.in_(changed.keys() & digests.keys())):
                    _upsert(session, Repository, key, known, guard="digest")
            if new := [row for project_id, row in changed.items() if project_id not in digests]:
                _upsert(session, Repository, key, new, guard="digest")
                count_new(session, [row.values for row in new])
    return len(changed)


def write_groups(database: Database, rows: list[RowValues]) -> None:
    """Insert or update groups by (connection, GitLab id); what has not changed is not written."""
    if not rows:
        return
    connection_id = rows[0].values["connection_id"]
    own = (
        col(GitLabGroup.connection_id) == connection_id,
        col(GitLabGroup.gitlab_group_id).in_([row.values["gitlab_group_id"] for row in rows]),
    )
    with database.reading() as session:
        stored = {group.gitlab_group_id: group for group in session.execute(select(GitLabGroup).where(*own)).scalars()}
    changed = []
    for row in rows:
        group = stored.get(row.values["gitlab_group_id"])
        told = row.values.keys() - row.kept - {"seen_in_run_id"}
        if group is None or any(getattr(group, name) != row.values[name] for name in told):
            changed.append(row)
    if changed:
        with database.transaction() as session:
            _upsert(session, GitLabGroup, ("connection_id", "gitlab_group_id"), changed)
            add_namespaces(session, connection_id, [row.values["full_path"] for row in changed])


@dataclass(frozen=True)
class Comparison:
    """What a run found out about repositories that were known before it.

    Attributes:
        known: how many there were.
        lost: how many went missing with this run.
        unseen: how many it no longer saw, but left as they were.
        is_asked: whether someone has to say if they are gone: the run before saw some of them.
    """

    known: int
    lost: int = 0
    unseen: int = 0
    is_asked: bool = False


def compare(
    database: Database,
    connection_id: int,
    present: Collection[int],
    *,
    is_complete: bool,
    is_too_many: Callable[[int, int], bool],
) -> Comparison:
    """Unmark what a run saw again and, if it was complete, mark what it did not see: as gone, or as unseen if too many.

    `is_too_many` takes how many were not seen, and how many there were before.
    """
    columns = (col(Repository.gitlab_project_id), col(Repository.missing_since), col(Repository.unseen_since))
    with database.reading() as session:
        known = session.execute(select(*columns).where(col(Repository.connection_id) == connection_id)).all()
    there = [project_id for project_id, missing_since, _ in known if missing_since is None]
    unseen = {project_id for project_id, _, unseen_since in known if unseen_since is not None}
    back = [project_id for project_id, missing_since, _ in known if missing_since is not None and project_id in present]
    _set_since(database, connection_id, back, missing_since=None)
    _set_since(database, connection_id, sorted(unseen.intersection(present)), unseen_since=None)
    if not is_complete:
        return Comparison(len(there))
    gone = [project_id for project_id in there if project_id not in present]
    if is_too_many(len(gone), len(there)):
        new = sorted(set(gone) - unseen)
        _set_since(database, connection_id, new, unseen_since=utc_now())
        return Comparison(len(there), unseen=len(gone), is_asked=bool(new))
    _set_since(database, connection_id, gone, missing_since=utc_now(), unseen_since=None)
    return Comparison(len(there), lost=len(gone))


def _upsert(
    session: Session, table: type[SQLModel], key: tuple[str, ...], rows: list[RowValues], guard: str = ""
) -> None:
    by_kept: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        by_kept.setdefault(row.kept, []).append(row.values)
    for kept, values in by_kept.items():
        statement = insert_into(session, table)
        changed = {name: statement.excluded[name] for name in values[0].keys() - kept - set(key)}
        where = getattr(table, guard).is_distinct_from(statement.excluded[guard]) if guard else None
        upsert = statement.on_conflict_do_update(index_elements=list(key), set_=changed, where=where)
        # Executemany: a statement with many VALUES is ten times slower here.
        session.connection().execute(upsert, values)


def mark_unseen_as_gone(session: Session, connection_id: int, when: datetime) -> None:
    """Mark what a read no longer saw, because someone said that it is gone."""
    own, unseen = col(Repository.connection_id) == connection_id, col(Repository.unseen_since).is_not(None)
    # The same rows before and after, without the thousands of ids.
    with keep_counts(session, own, or_(unseen, col(Repository.missing_since) == when)):
        gone = update(Repository).where(own, unseen).values(missing_since=when, unseen_since=None)
        session.connection().execute(gone)


def _set_since(database: Database, connection_id: int, project_ids: list[int], **values: datetime | None) -> None:
    for start in range(0, len(project_ids), IDS_PER_STATEMENT):
        some = project_ids[start : start + IDS_PER_STATEMENT]
        own = (col(Repository.connection_id) == connection_id, col(Repository.gitlab_project_id).in_(some))
        with database.transaction() as session, keep_counts(session, *own):
            session.execute(update(Repository).where(*own).values(**values))
