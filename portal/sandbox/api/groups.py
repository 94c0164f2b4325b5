"""`/groups`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from flask import Blueprint, Response, request

from portal.sandbox.api import params
from portal.sandbox.api.answers import answer, no_route
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import find_group
from portal.sandbox.api.project_entity import ProjectWriter
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.bearer import Caller, optional_caller
from portal.sandbox.groups import OWNER, Group
from portal.sandbox.profiles import has
from portal.sandbox.selection import ProjectFilter

if TYPE_CHECKING:
    from portal.sandbox.world import World

EMBEDDED_PROJECTS = 100
ORDERS, OLD_ORDERS = frozenset({"name", "path", "id", "similarity"}), frozenset({"name", "path"})


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/groups")
    def list_groups() -> Response:
        who = optional_caller(world)
        groups = _visible(world, who)
        if params.flag("top_level_only"):
            groups = [group for group in groups if group.parent_id is None]
        skipped = set(request.args.getlist("skip_groups[]"))
        return _list(world, [group for group in groups if str(group.id) not in skipped], capped_kind="Group")

    @blueprint.get("/groups/<group_id>")
    def show_group(group_id: str) -> Response:
        who = optional_caller(world)
        group = find_group(world, who, group_id)
        body = group_entity(world, group)
        if params.flag("with_projects") is not False or not has(world, "with_projects"):
            body |= _embedded(world, who, group)
        return answer(body)

    @blueprint.get("/groups/<group_id>/subgroups")
    def list_subgroups(group_id: str) -> Response:
        if not has(world, "subgroups"):
            raise no_route()
        who = optional_caller(world)
        group = find_group(world, who, group_id)
        return _list(world, [row for row in _visible(world, who, widely=True) if row.parent_id == group.id])

    @blueprint.get("/groups/<group_id>/descendant_groups")
    def list_descendants(group_id: str) -> Response:
        if not has(world, "descendant_groups"):
            raise no_route()
        who = optional_caller(world)
        below = {row.id for row in world.groups.descendants(find_group(world, who, group_id).id)}
        return _list(world, [row for row in _visible(world, who, widely=True) if row.id in below])


def group_entity(world: World, group: Group) -> dict[str, Any]:
    """Return one group as lists show it."""
    base = world.settings.external_url
    emails = {"emails_enabled": True} if has(world, "emails_enabled") else {}
    return {
        "id": group.id,
        "web_url": f"{base}/groups/{group.full_path}",
        "name": group.name,
        "path": group.path,
        "description": f"The {group.name} team",
        "visibility": group.visibility,
        "share_with_group_lock": False,
        "require_two_factor_authentication": False,
        "project_creation_level": "developer",
        "auto_devops_enabled": None,
        "subgroup_creation_level": "maintainer",
        "emails_disabled": False,
        **emails,
        "mentions_disabled": None,
        "lfs_enabled": True,
        "default_branch": None,
        "default_branch_protection": 2,
        "avatar_url": None,
        "request_access_enabled": True,
        "full_name": group.full_name,
        "full_path": group.full_path,
        "created_at": stamp(world.anchor),
        "parent_id": group.parent_id,
        **({"organization_id": 1} if has(world, "organizations") else {}),
        "shared_runners_setting": "enabled",
        "marked_for_deletion_on": group.marked_for_deletion_on,
    }


def _visible(world: World, who: Caller | None, *, widely: bool = False) -> list[Group]:
    """Return the groups this list may show; `widely` is the default below a group, where all visible ones count."""
    least = params.access_level("min_access_level") if has(world, "min_access_level") else 0
    if params.flag("owned"):
        least = max(least, OWNER)
    asked = params.flag("all_available")
    sees_everything = who is not None and who.acts_as_admin
    return world.selections.groups(
        who.user if who else None,
        sees_everything=sees_everything,
        all_available=(sees_everything or widely) if asked is None else asked,
        min_level=least if who else 0,
    )


def _list(world: World, groups: list[Group], *, capped_kind: str = "") -> Response:
    search, visibility = params.text("search").lower(), params.text("visibility")
    if search:
        groups = [group for group in groups if search in f"{group.name}\n{group.path}".lower()]
    if visibility:
        groups = [group for group in groups if group.visibility == visibility]
    if params.flag("active"):
        groups = [group for group in groups if group.marked_for_deletion_on is None]
    order = params.choice("order_by", ORDERS if has(world, "groups_by_id") else OLD_ORDERS, "name")
    descending = params.choice("sort", frozenset({"asc", "desc"}), "asc") == "desc"
    groups = sorted(groups, key=lambda group: _order_key(group, order), reverse=descending)
    rows, headers = offset_page(world, groups, capped_kind=capped_kind)
    return answer([group_entity(world, group) for group in rows], headers=headers)


def _order_key(group: Group, order: str) -> tuple[Any, ...]:
    if order == "id":
        return (group.id,)
    return (group.path if order == "path" else group.name.lower(), group.id)


def _embedded(world: World, who: Caller | None, group: Group) -> dict[str, Any]:
    """Return up to 100 projects of a group, which GitLab adds unless told not to."""
    wanted = ProjectFilter(
        who.user.id if who else None,
        sees_everything=who is not None and who.acts_as_admin,
        group_ids=frozenset({group.id}),
        with_shared=True,
    )
    writer = ProjectWriter(world, who, simple=False, permissions=False)
    projects = world.selections.projects(wanted)
    own = [row for row in projects if row.group_id == group.id][:EMBEDDED_PROJECTS]
    shared = [row for row in projects if row.group_id != group.id][:EMBEDDED_PROJECTS]
    return {"projects": msgspec.Raw(writer.page(own)), "shared_projects": msgspec.Raw(writer.page(shared))}
