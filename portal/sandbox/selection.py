"""Which projects and groups a person may see, cached between requests so that lists of 100,000 stay fast."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.groups import Group
    from portal.sandbox.people import User
    from portal.sandbox.world import World

KEPT_SELECTIONS = 64
GUEST = 10
ORDER_KEYS: dict[str, Callable[[Project], Any]] = {
    "id": lambda project: project.id,
    "name": lambda project: (project.name.lower(), project.id),
    "path": lambda project: (project.path, project.id),
    "created_at": lambda project: (project.created, project.id),
    "updated_at": lambda project: (project.updated, project.id),
    "last_activity_at": lambda project: (project.last_activity, project.id),
    "star_count": lambda project: (project.stars, project.id),
    "similarity": lambda project: (project.name.lower(), project.id),
}


@dataclass(frozen=True)
class ProjectFilter:
    """What a list of projects asks for; times are seconds since 1970, None means not asked.

    Attributes:
        sees_everything: the caller acts as an administrator.
        group_ids: only projects in these groups; `with_shared` adds those shared with them.
    """

    user_id: int | None
    sees_everything: bool = False
    membership: bool = False
    owned: bool = False
    min_access_level: int = 0
    archived: bool | None = None
    active: bool | None = None
    visibility: str = ""
    search: str = ""
    search_namespaces: bool = False
    topics: tuple[str, ...] = ()
    updated_after: float | None = None
    updated_before: float | None = None
    last_activity_after: float | None = None
    last_activity_before: float | None = None
    group_ids: frozenset[int] | None = None
    with_shared: bool = False
    order_by: str = "created_at"
    descending: bool = True


class Selections:
    """Answers filters, remembering the latest answers until the world changes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kept: OrderedDict[tuple[int, ProjectFilter], list[Project]] = OrderedDict()
        self._lock = threading.Lock()

    def projects(self, wanted: ProjectFilter) -> list[Project]:
        """Return the projects of a filter in its order; do not change the list."""
        key = (self._world.revision, wanted)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            found = self._found(wanted)
            self._kept[key] = found
            if len(self._kept) > KEPT_SELECTIONS:
                self._kept.popitem(last=False)
            return found

    def _found(self, wanted: ProjectFilter) -> list[Project]:
        projects = self._world.projects.rows
        if wanted.group_ids is not None:
            projects = self._in_groups(projects, wanted)
        projects = self._allowed(projects, wanted)
        for test in self._tests(wanted):
            projects = [project for project in projects if test(project)]
        if wanted.order_by == "id" and not wanted.descending:
            return projects
        return sorted(projects, key=ORDER_KEYS[wanted.order_by], reverse=wanted.descending)

    def _in_groups(self, projects: list[Project], wanted: ProjectFilter) -> list[Project]:
        groups, shares_of = wanted.group_ids or frozenset(), self._world.members.shares_of
        return [
            project
            for project in projects
            if project.group_id in groups
            or (wanted.with_shared and any(group_id in groups for group_id, _ in shares_of(project.id)))
        ]

    def _allowed(self, projects: list[Project], wanted: ProjectFilter) -> list[Project]:
        """Keep what the person may see, or, if a role is requested, what they have that role on."""
        least = max(wanted.min_access_level, GUEST if wanted.membership else 0, 50 if wanted.owned else 0)
        if wanted.user_id is None:
            return [project for project in projects if project.visibility == "public" and not least]
        if not least and wanted.sees_everything:
            return projects
        levels = self._world.members.levels_on(projects, wanted.user_id)
        pairs = zip(projects, levels, strict=True)
        if least:
            return [project for project, level in pairs if level >= least]
        open_to_all = self._world.open_visibilities(wanted.user_id)
        return [project for project, level in pairs if level or project.visibility in open_to_all]

    def _tests(self, wanted: ProjectFilter) -> list[Callable[[Project], bool]]:
        tests: list[Callable[[Project], bool]] = []
        if wanted.archived is not None:
            tests.append(lambda project: project.archived == wanted.archived)
        if wanted.active is not None:
            tests.append(
                lambda project: (not project.archived and project.marked_for_deletion_on is None) == wanted.active
            )
        if wanted.visibility:
            tests.append(lambda project: project.visibility == wanted.visibility)
        if wanted.search:
            tests.append(self._search(wanted.search.lower(), with_namespace=wanted.search_namespaces))
        if wanted.topics:
            tests.append(lambda project: set(wanted.topics) <= set(project.topics))
        return tests + _time_tests(wanted)

    def _search(self, text: str, *, with_namespace: bool) -> Callable[[Project], bool]:
        if with_namespace:
            full_path = self._world.projects.full_path
            return lambda project: text in f"{project.name}\n{full_path(project)}\n{project.description}".lower()
        return lambda project: text in f"{project.name}\n{project.path}\n{project.description}".lower()

    def groups(self, user: User | None, *, sees_everything: bool, all_available: bool, min_level: int) -> list[Group]:
        """Return the groups of a list, in order of id."""
        groups = self._world.groups.all()
        if user is None:
            return [group for group in groups if group.visibility == "public"]
        if all_available and sees_everything and not min_level:
            return groups
        levels = self._world.members.on_groups(user.id)
        if not all_available or min_level:
            return [group for group in groups if levels.get(group.id, 0) >= max(min_level, 1)]
        open_to_all = self._world.open_visibilities(user.id)
        return [group for group in groups if group.id in levels or group.visibility in open_to_all]


def _time_tests(wanted: ProjectFilter) -> list[Callable[[Project], bool]]:
    tests: list[Callable[[Project], bool]] = []
    if wanted.updated_after is not None:
        tests.append(lambda project: project.updated > (wanted.updated_after or 0))
    if wanted.updated_before is not None:
        tests.append(lambda project: project.updated < (wanted.updated_before or 0))
    if wanted.last_activity_after is not None:
        tests.append(lambda project: project.last_activity > (wanted.last_activity_after or 0))
    if wanted.last_activity_before is not None:
        tests.append(lambda project: project.last_activity < (wanted.last_activity_before or 0))
    return tests
