"""GitLab's lists as they should never be: cut, capped, doubled, in another order, with wrong fields."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

PROJECTS, GROUPS = "/api/v4/projects", "/api/v4/groups"
BOTH = "/api/v4/[gp]ro*s"
COUNTS = ("X-Total", "X-Total-Pages", "X-Next-Page", "Link")
ORDERS = (None, "doubled", "swapped", "reversed")
TOO_LONG = 10**30
# Invalid values for such a field; null is a separate kind, which some fields may be.
NO_TEXT: tuple[Any, ...] = (12, True, [1], {"a": 1})
NO_NUMBER: tuple[Any, ...] = ("7", 1.5, True, [], TOO_LONG)
NO_FLAG: tuple[Any, ...] = ("yes", 1, [])
NO_TIME: tuple[Any, ...] = (
    "",
    "soon",
    12,
    {},
    "2026-02-01T00:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
)
NO_OBJECT: tuple[Any, ...] = ("text", 12, [], True)
PROJECT_FIELDS: dict[str, tuple[Any, ...]] = {
    "id": (*NO_NUMBER, 0, -1, None),
    "path_with_namespace": (*NO_TEXT, "", None),
    "name": (*NO_TEXT, None),
    "web_url": (*NO_TEXT, None),
    "visibility": (*NO_TEXT, None),
    "archived": (*NO_FLAG, None),
    "last_activity_at": (*NO_TIME, None),
    "namespace": (*NO_OBJECT, None),
    "namespace.id": (*NO_NUMBER, None),
    "http_url_to_repo": NO_TEXT,
    "description": NO_TEXT,
    "default_branch": NO_TEXT,
    "empty_repo": NO_FLAG,
    "repository_object_format": NO_TEXT,
    "repository_access_level": NO_TEXT,
    "marked_for_deletion_on": NO_TEXT,
    "marked_for_deletion_at": NO_TEXT,
    "permissions": NO_OBJECT,
    "permissions.project_access": NO_OBJECT,
    "permissions.group_access": NO_OBJECT,
}
# What may legitimately be null.
NULLABLE = (
    *("http_url_to_repo", "description", "default_branch", "empty_repo", "repository_object_format"),
    *("repository_access_level", "permissions", "permissions.project_access", "namespace.kind", "star_count"),
)
GROUP_FIELDS: dict[str, tuple[Any, ...]] = {
    "id": (*NO_NUMBER, 0, -1, None),
    "full_path": (*NO_TEXT, "", None),
    "name": (*NO_TEXT, None),
    "parent_id": NO_NUMBER,
}
# Without these a row cannot be used, or not even be identified.
NEEDED = {"id", "path_with_namespace", "full_path"}


def odd_orders(sizes: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Yield faults: a list cut to some sizes and in every order, with or without GitLab's own counts."""
    for order, size, dropped in product(ORDERS, (None, *sizes), ((), COUNTS)):
        yield {"arrange": order, "max_rows": size, "drop_headers": dropped}


def wrong_fields(fields: dict[str, tuple[Any, ...]]) -> list[tuple[str, Any]]:
    """Return every field with every value that it must not have."""
    return [(name, value) for name, values in fields.items() for value in values]
