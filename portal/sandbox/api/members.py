"""Members of projects and groups: those added directly, and with `all` the inherited ones too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, forbidden, no_content, no_route, not_found
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import find_group, find_project
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.api.users import basic_user
from portal.sandbox.bearer import caller
from portal.sandbox.groups import MAINTAINER, OWNER, Group
from portal.sandbox.people import User
from portal.sandbox.profiles import has
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

TOO_LOW = "should be greater than or equal to {level} inherited membership"


@dataclass(frozen=True)
class _Place:
    """A group or project as the caller may see it; `manages` is whether they may change its members."""

    world: World
    place: Group | Project
    manages: bool

    def direct(self, user_id: int) -> int:
        if isinstance(self.place, Group):
            return self.world.members.direct_on_group(self.place.id, user_id)
        return self.world.members.direct_on_project(self.place.id, user_id)

    def effective(self, user_id: int) -> int:
        if isinstance(self.place, Group):
            return self.world.members.on_groups(user_id).get(self.place.id, 0)
        return self.world.members.on_project(self.place, user_id)

    def inherited(self, user_id: int) -> int:
        above = self.place.parent_id if isinstance(self.place, Group) else self.place.group_id
        return self.world.members.on_groups(user_id).get(above or 0, 0)


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount the same addresses for projects and for groups."""

    def project(place_id: str) -> _Place:
        who = caller(world)
        place = find_project(world, who, place_id)
        return _Place(world, place, who.acts_as_admin or world.access_level(who.user, place) >= MAINTAINER)

    def group(place_id: str) -> _Place:
        who = caller(world)
        place = find_group(world, who, place_id)
        manages = who.acts_as_admin or world.members.on_groups(who.user.id).get(place.id, 0) >= OWNER
        return _Place(world, place, manages)

    for kind, find in (("projects", project), ("groups", group)):
        _mount_lists(blueprint, world, kind, find)
        _mount_changes(blueprint, world, kind, find)


def _mount_lists(blueprint: Blueprint, world: World, kind: str, find: Callable[[str], _Place]) -> None:
    def list_members(place_id: str, *, inherited: bool) -> Response:
        if inherited and not has(world, "members_all"):
            raise no_route()
        place, search = find(place_id), params.text("query").lower()
        level = place.effective if inherited else place.direct
        found = [(user, level(user.id)) for user in world.all_users()]
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
        place, user = find(place_id), world.user(int(user_id))
        return answer(_member(world, user, (place.effective if inherited else place.direct)(int(user_id))))

    for path, inherited in (("members", False), ("members/all", True)):
        rule, options = f"/{kind}/<place_id>/{path}", {"inherited": inherited}
        name = f"{kind}_{path.replace('/', '_')}"
        blueprint.add_url_rule(rule, name, list_members, defaults=options)
        blueprint.add_url_rule(f"{rule}/<user_id>", f"{name}_one", show_member, defaults=options)


def _mount_changes(blueprint: Blueprint, world: World, kind: str, find: Callable[[str], _Place]) -> None:
    def managed(place_id: str) -> _Place:
        place = find(place_id)
        if not place.manages:
            raise forbidden()
        return place

    def put(place: _Place, user: User, level: int, status: int) -> Response:
        if place.inherited(user.id) > level:
            raise ApiError(400, {"message": {"access_level": [TOO_LOW.format(level=place.inherited(user.id))]}})
        world.add_member(user, place.place, level)
        return answer(_member(world, user, level), status)

    def add_member(place_id: str) -> Response:
        place, body = managed(place_id), params.body()
        user_id, level = _number(body, "user_id"), _level(body)
        user = world.user(user_id)
        if user is None:
            raise not_found("User")
        if place.direct(user.id):
            raise ApiError(409, {"message": "Member already exists"})
        return put(place, user, level, 201)

    def change_member(place_id: str, user_id: int) -> Response:
        place, user = managed(place_id), world.user(user_id)
        if user is None or not place.direct(user_id):
            raise not_found()
        return put(place, user, _level(params.body()), 200)

    def remove_member(place_id: str, user_id: int) -> Response:
        place, user = managed(place_id), world.user(user_id)
        if user is None or not place.direct(user_id):
            raise not_found()
        world.add_member(user, place.place, 0)
        return no_content()

    rule = f"/{kind}/<place_id>/members"
    blueprint.add_url_rule(rule, f"add_{kind}_member", add_member, methods=["POST"])
    one = f"{rule}/<int:user_id>"
    blueprint.add_url_rule(one, f"change_{kind}_member", change_member, methods=["PUT"])
    blueprint.add_url_rule(one, f"remove_{kind}_member", remove_member, methods=["DELETE"])


def _number(body: dict[str, Any], name: str) -> int:
    if not str(body.get(name, "")).isdecimal():
        raise params.refused(name, "is invalid" if name in body else "is missing")
    return int(body[name])


def _level(body: dict[str, Any]) -> int:
    level = _number(body, "access_level")
    if level not in params.ACCESS_LEVELS:
        raise params.refused("access_level", "does not have a valid value")
    return level


def _member(world: World, user: User | None, access_level: int) -> dict[str, Any]:
    if user is None or not access_level:
        raise not_found()
    return basic_user(world, user) | {
        "access_level": access_level,
        "created_at": stamp(user.created_at),
        "expires_at": None,
        "membership_state": "active",
    }
