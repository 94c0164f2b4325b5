"""From GitLab's project or group to our row. What GitLab did not say stays as it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from portal.gitlab.payloads import Group, Project
from portal.repositories.availability import Facts, reason_against

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
}
# Null means "none" in these; in the others it says nothing.
_MAY_BE_NULL = {"description", "default_branch", "marked_for_deletion_on", "marked_for_deletion_at"}


@dataclass(frozen=True)
class Row:
    """Values for a table; those of `kept` are only for a row that is new."""

    values: dict[str, Any]
    kept: frozenset[str] = frozenset()


def repository_row(connection_id: int, project: Project, access_level: int | None, wrong: Collection[str]) -> Row:
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
    untold = {field for field in _COLUMNS if getattr(project, field) is None} - _MAY_BE_NULL
    kept = (_COLUMNS[field] for field in untold.union(wrong) & _COLUMNS.keys())
    return Row(row, frozenset().union(*kept))


def group_row(connection_id: int, group: Group, run_id: int) -> Row:
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
    return Row(row, frozenset() if group.name else frozenset({"name"}))
