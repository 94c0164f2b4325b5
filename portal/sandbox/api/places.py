"""Finding the project or group that an address means, if the caller may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from portal.sandbox.api.answers import ApiError, forbidden, not_found
from portal.sandbox.bearer import Caller
from portal.sandbox.groups import MAINTAINER, REPORTER, Group
from portal.sandbox.profiles import has
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World


class Moved(ApiError):
    """The address names a project by an earlier path."""

    def __init__(self, url: str) -> None:
        super().__init__(301, {"message": f"This resource has been moved permanently to {url}"}, {"Location": url})


def level_of(world: World, who: Caller | None, project: Project) -> int:
    """Return the caller's effective level on a project, 0 for none; administrators count by membership."""
    return world.members.on_project(project, who.user.id) if who else 0


def may_see(world: World, who: Caller | None, project: Project) -> bool:
    """Return whether the caller may know that a project exists."""
    return sees_at(world, who, project, level_of(world, who, project))


def sees_at(world: World, who: Caller | None, project: Project, level: int) -> bool:
    """Return the same, for a caller whose level on the project is known."""
    if who is None:
        return project.visibility == "public"
    return who.acts_as_admin or level > 0 or project.visibility in world.open_visibilities(who.user.id)


def may_read_code(world: World, who: Caller | None, project: Project) -> bool:
    """Return whether the caller may read the repository: Reporter and above in private projects."""
    return reads_code_at(world, who, project, level_of(world, who, project))


def reads_code_at(world: World, who: Caller | None, project: Project, level: int) -> bool:
    """Return the same, for a caller whose level on the project is known."""
    if not project.repository_enabled or not sees_at(world, who, project, level):
        return False
    if who is not None and (who.acts_as_admin or level >= REPORTER):
        return True
    external = who is not None and who.user.external and project.visibility == "internal"
    return project.visibility != "private" and not external


def find_project(world: World, who: Caller | None, text: str, *, redirects: bool = True) -> Project:
    """Return the project with this id or URL-encoded path.

    Raises:
        ApiError: 404 if there is none or it is hidden; 301 for an earlier path.
    """
    path = unquote(text)
    project = world.projects.by_id(int(path)) if path.isdecimal() else None
    if project is None and "/" in path:
        project = world.projects.by_path(path)
        if project is None and redirects and has(world, "moved_projects"):
            moved = world.projects.moved_to(path)
            if moved is not None and may_see(world, who, moved):
                raise Moved(f"{world.settings.external_url}/api/v4/projects/{moved.id}")
    if project is None or not may_see(world, who, project):
        raise not_found("Project")
    return project


def maintained_project(world: World, who: Caller, text: str) -> Project:
    """Return a project whose hooks the caller may manage. Raises ApiError 404 or 403."""
    project = find_project(world, who, text, redirects=False)
    if not who.acts_as_admin and level_of(world, who, project) < MAINTAINER:
        raise forbidden()
    return project


def find_group(world: World, who: Caller | None, text: str) -> Group:
    """Return the group with this id or URL-encoded full path. Raises ApiError 404."""
    path = unquote(text)
    group = world.groups.by_id(int(path)) if path.isdecimal() else world.groups.by_path(path)
    if group is None or not may_see_group(world, who, group):
        raise not_found("Group")
    return group


def may_see_group(world: World, who: Caller | None, group: Group) -> bool:
    """Return whether the caller may know that a group exists."""
    if who is None:
        return group.visibility == "public"
    open_to_all = world.open_visibilities(who.user.id)
    return who.acts_as_admin or group.visibility in open_to_all or group.id in world.members.on_groups(who.user.id)
