"""All projects, created on first use, then changed by the sandbox's users; found by id and by path."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from portal.sandbox.groups import GroupTree
from portal.sandbox.people import People
from portal.sandbox.projects import Project


class ProjectTable:
    """Projects in order of id.

    The list itself is replaced, never changed, so a reader may keep the one it got.
    """

    def __init__(
        self, make: Callable[[], Iterable[Project]], groups: GroupTree, people: People, revision: Callable[[], int]
    ) -> None:
        self._make = make
        self._groups, self._people, self._revision = groups, people, revision
        self._lock = threading.RLock()
        self._rows: list[Project] | None = None
        self._by_id: dict[int, Project] = {}
        self._by_path: tuple[int, dict[str, Project]] = (-1, {})
        self._moved: dict[str, int] = {}
        self._highest_deleted = 0

    @property
    def rows(self) -> list[Project]:
        """All projects in order of id; do not change the list."""
        with self._lock:
            if self._rows is None:
                self._rows = list(self._make())
                self._by_id = {project.id: project for project in self._rows}
            return self._rows

    def by_id(self, project_id: int) -> Project | None:
        """Return one project."""
        with self._lock:
            return self._by_id.get(project_id) if self.rows else None

    def by_path(self, full_path: str) -> Project | None:
        """Return one project by its current full path, ignoring case as GitLab does."""
        with self._lock:
            if self._by_path[0] != self._revision():
                paths = {self.full_path(project).lower(): project for project in self.rows}
                self._by_path = (self._revision(), paths)
            return self._by_path[1].get(full_path.lower())

    def moved_to(self, full_path: str) -> Project | None:
        """Return the project that formerly had this path."""
        project_id = self._moved.get(full_path.lower())
        return self.by_id(project_id) if project_id else None

    def namespace_path(self, project: Project) -> str:
        """Return the full path of the group, or the owner's username."""
        group = self._groups.by_id(project.group_id)
        if group is not None:
            return group.full_path
        owner = self._people.by_id(project.owner_id or 0)
        return owner.username if owner else "ghost"

    def full_path(self, project: Project) -> str:
        """Return `path_with_namespace`."""
        return f"{self.namespace_path(project)}/{project.path}"

    def next_id(self) -> int:
        """Return the id of the next project: never one that a deleted project had, as at GitLab."""
        return max(self._highest_deleted, self.rows[-1].id if self.rows else 0) + 1

    def put(self, project: Project) -> Project:
        """Add a project, or replace the one with its id and remember where it was."""
        with self._lock:
            before = self.by_id(project.id)
            rows = [row for row in self.rows if row.id != project.id]
            rows.insert(bisect_right(rows, project.id, key=lambda row: row.id), project)
            if before is not None and self.full_path(before) != self.full_path(project):
                self._moved[self.full_path(before).lower()] = project.id
            self._rows = rows
            self._by_id[project.id] = project
        return project

    def change(self, project_id: int, **changes: Any) -> Project:
        """Replace attributes of one project. Raises KeyError for an unknown id."""
        with self._lock:
            if self.by_id(project_id) is None:
                raise KeyError(project_id)
            return self.put(msgspec.structs.replace(self._by_id[project_id], **changes))

    def remember_paths_below(self, group_id: int) -> dict[int, str]:
        """Return project id to full path for all below a group, to call `note_moves` with afterwards."""
        below = {group_id, *(child.id for child in self._groups.descendants(group_id))}
        return {project.id: self.full_path(project) for project in self.rows if project.group_id in below}

    def note_moves(self, paths_before: dict[int, str]) -> None:
        """Remember where projects were before their group was renamed."""
        with self._lock:
            self._moved.update({path.lower(): project_id for project_id, path in paths_before.items()})

    def remove(self, project_id: int) -> bool:
        """Delete permanently; False if there is none."""
        with self._lock:
            if self.by_id(project_id) is None:
                return False
            self._rows = [row for row in self.rows if row.id != project_id]
            del self._by_id[project_id]
            self._highest_deleted = max(self._highest_deleted, project_id)
            return True
