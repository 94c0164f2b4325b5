"""Members of projects and groups: those added directly, and with `all` the inherited ones too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, forbidden, no_route, not_found
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import find_group, find_project
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.api.users import basic_user
from portal.sandbox.bearer import caller
from portal.sandbox.people import User
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

# From an address to (user id, with inherited roles or not) -> access level.
Levels = Callable[[int, bool], int]


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount the same four addresses for projects and for groups."""

    def of_project(place_id: str) -> Levels:
        project = find_project(world, caller(world), place_id)

        def level(user_id: int, inherited: bool) -> int:
            direct = world.members.direct_on_project(project.id, user_id)
            return world.members.on_project(project, user_id) if inherited else direct

        return level

    def of_group(place_id: str) -> Levels:
        group = find_group(world, caller(world), place_id)

        def level(user_id: int, inherited: bool) -> int:
            direct = world.members.direct_on_group(group.id, user_id)
            return world.members.on_groups(user_id).get(group.id, 0) if inherited else direct

        return level

    for kind, levels_of in (("projects", of_project), ("groups", of_group)):
        _mount(blueprint, world, kind, levels_of)

    @blueprint.post("/groups/<group_id>/members")
    def add_group_member(group_id: str) -> Response:
        who, body = caller(world), params.body()
        group = find_group(world, who, group_id)
        if not who.acts_as_admin and not world.owns_group(who.user, group):
            raise forbidden()
        for name in ("user_id", "access_level"):
            if not str(body.get(name, "")).isdecimal():
                raise params.refused(name, "is invalid" if name in body else "is missing")
        level, user = int(body["access_level"]), world.user(int(body["user_id"]))
        if level not in params.ACCESS_LEVELS:
            raise params.refused("access_level", "does not have a valid value")
        if user is None:
            raise not_found("User")
        if world.members.direct_on_group(group.id, user.id):
            raise ApiError(409, {"message": "Member already exists"})
        inherited = world.members.on_groups(user.id).get(group.id, 0)
        if inherited > level:
            problem = "should be greater than or equal to the inherited membership"
            raise ApiError(400, {"message": {"access_level": [problem]}})
        world.add_group_member(group.id, user.id, level)
        return answer(_member(world, user, level), 201)


def _mount(blueprint: Blueprint, world: World, kind: str, levels_of: Callable[[str], Levels]) -> None:
    def list_members(place_id: str, *, inherited: bool) -> Response:
        if inherited and not has(world, "members_all"):
            raise no_route()
        level, search = levels_of(place_id), params.text("query").lower()
        found = [(user, level(user.id, inherited)) for user in world.all_users()]
        rows, headers = offset_page(
            world,
            [(user, held) for user, held in found if held and search in f"{user.name}\n{user.username}".lower()],
        )
        return answer([_member(world, user, held) for user, held in rows], headers=headers)

    def show_member(place_id: str, user_id: str, *, inherited: bool) -> Response:
        if inherited and not has(world, "members_all_one"):
            raise no_route()
        if not user_id.isdecimal():
            raise params.refused("user_id")
        level, user = levels_of(place_id), world.user(int(user_id))
        return answer(_member(world, user, level(int(user_id), inherited)))

    for path, inherited in (("members", False), ("members/all", True)):
        rule, options = f"/{kind}/<place_id>/{path}", {"inherited": inherited}
        name = f"{kind}_{path.replace('/', '_')}"
        blueprint.add_url_rule(rule, name, list_members, defaults=options)
        blueprint.add_url_rule(f"{rule}/<user_id>", f"{name}_one", show_member, defaults=options)


def _member(world: World, user: User | None, access_level: int) -> dict[str, Any]:
    if user is None or not access_level:
        raise not_found()
    return basic_user(world, user) | {
        "access_level": access_level,
        "created_at": stamp(user.created_at),
        "expires_at": None,
        "membership_state": "active",
    }
