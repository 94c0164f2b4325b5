"""Who may do what where: roles on groups and projects, inherited downwards, and projects shared with groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from portal.sandbox.groups import GroupTree
from portal.sandbox.projects import Project


class Members:
    """Access levels of people. `revision` shows when a cached level is out of date."""

    def __init__(self, groups: GroupTree, revision: Callable[[], int]) -> None:
        self._groups = groups
        self._revision = revision
        self._on_groups: dict[int, dict[int, int]] = {}
        self._on_projects: dict[int, dict[int, int]] = {}
        self._shares: dict[int, list[tuple[int, int]]] = {}
        self._levels: dict[int, tuple[int, dict[int, int]]] = {}

    def put_on_group(self, group_id: int, user_id: int, access_level: int) -> None:
        """Give a role on a group and everything below it; level 0 removes it."""
        _put(self._on_groups, group_id, user_id, access_level)

    def put_on_project(self, project_id: int, user_id: int, access_level: int) -> None:
        """Give a role on one project; level 0 removes it."""
        _put(self._on_projects, project_id, user_id, access_level)

    def share(self, project_id: int, group_id: int, access_level: int) -> None:
        """Invite a group to a project; its members get their own level there, but not more than this one."""
        self._shares.setdefault(project_id, []).append((group_id, access_level))

    def shares_of(self, project_id: int) -> list[tuple[int, int]]:
        """Return (group id, access level) of the groups a project is shared with."""
        return self._shares.get(project_id, [])

    def direct_on_group(self, group_id: int | None, user_id: int) -> int:
        """Return the level given on exactly this group, 0 for none."""
        return self._on_groups.get(group_id or 0, {}).get(user_id, 0)

    def direct_on_project(self, project_id: int, user_id: int) -> int:
        """Return the level given on exactly this project, 0 for none."""
        return self._on_projects.get(project_id, {}).get(user_id, 0)

    def groups_of(self, user_id: int) -> list[tuple[int, int]]:
        """Return (group id, access level) given directly, in order of id."""
        return sorted((group, members[user_id]) for group, members in self._on_groups.items() if user_id in members)

    def projects_of(self, user_id: int) -> dict[int, int]:
        """Return project id to access level, given directly."""
        return {project: members[user_id] for project, members in self._on_projects.items() if user_id in members}

    def on_groups(self, user_id: int) -> dict[int, int]:
        """Return group id to effective level, inheritance included; groups without a role are left out."""
        revision = self._revision()
        known = self._levels.get(user_id)
        if known is None or known[0] != revision:
            known = (revision, self._worked_out(user_id))
            self._levels[user_id] = known
        return known[1]

    def _worked_out(self, user_id: int) -> dict[int, int]:
        levels: dict[int, int] = {}
        for group_id, level in self.groups_of(user_id):
            for affected in (group_id, *(child.id for child in self._groups.descendants(group_id))):
                levels[affected] = max(level, levels.get(affected, 0))
        return levels

    def on_project(self, project: Project, user_id: int) -> int:
        """Return the effective level on a project, 0 for none."""
        levels = self.on_groups(user_id)
        candidates = [levels.get(project.group_id or 0, 0), self.direct_on_project(project.id, user_id)]
        if project.owner_id == user_id:
            candidates.append(50)
        candidates += [min(levels.get(group_id, 0), level) for group_id, level in self.shares_of(project.id)]
        return max(candidates)

    def levels_on(self, projects: Iterable[Project], user_id: int) -> list[int]:
        """Return the effective level on each project; made for lists of a hundred thousand."""
        levels, direct = self.on_groups(user_id), self.projects_of(user_id)
        exceptional = set(direct) | set(self._shares)
        return [
            self.on_project(project, user_id)
            if project.id in exceptional or project.owner_id == user_id
            else levels.get(project.group_id or 0, 0)
            for project in projects
        ]

    def forget_project(self, project_id: int) -> None:
        """Drop roles and shares of a deleted project."""
        self._on_projects.pop(project_id, None)
        self._shares.pop(project_id, None)


def _put(table: dict[int, dict[int, int]], place_id: int, user_id: int, access_level: int) -> None:
    members = table.setdefault(place_id, {})
    if access_level:
        members[user_id] = access_level
    else:
        members.pop(user_id, None)
