"""From GitLab's project to our row."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from portal.gitlab.payloads import Project
from portal.repositories.availability import Facts, reason_against

DIGEST_BYTES = 8
DESCRIPTION_LENGTH = 300
# A letter may become two in lower case.
SEARCH_LENGTH = 1600


def row_of(connection_id: int, project: Project, access_level: int | None) -> dict[str, Any]:
    """Return the columns of `repository` that GitLab owns, with the digest that tells whether any changed."""
    row: dict[str, Any] = {
        "gitlab_project_id": project.id,
        "name": project.name,
        "path_with_namespace": project.path_with_namespace,
        "namespace_path": project.path_with_namespace.rpartition("/")[0],
        "gitlab_namespace_id": project.namespace.id if project.namespace else None,
        "web_url": project.web_url,
        "description": (project.description or "")[:DESCRIPTION_LENGTH],
        "default_branch": project.default_branch or "",
        "visibility": project.visibility or "",
        "access_level": access_level,
        "archived": project.archived,
        "is_empty": project.empty_repo,
        "object_format": project.repository_object_format or "",
        "repository_enabled": project.repository_enabled,
        "marked_for_deletion": project.marked_for_deletion,
        "last_activity_at": project.last_activity_at,
    }
    row["unavailable_reason"] = reason_against(_facts(row)) or ""
    row["search_text"] = f"{row['path_with_namespace']} {row['name']}".lower()[:SEARCH_LENGTH]
    row["digest"] = hashlib.blake2b(msgspec.json.encode(row, enc_hook=str), digest_size=DIGEST_BYTES).digest()
    row["connection_id"] = connection_id
    return row


def _facts(row: dict[str, Any]) -> Facts:
    return Facts(**{name: row[name] for name in Facts.__dataclass_fields__})
