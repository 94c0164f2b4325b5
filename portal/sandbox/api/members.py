"""Members of projects and groups, inherited ones included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api.answers import answer, not_found
from portal.sandbox.api.places import find_group, find_project
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.api.users import basic_user
from portal.sandbox.bearer import caller
from portal.sandbox.people import User

if TYPE_CHECKING:
    from portal.sandbox.world import World


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/projects/<project_id>/members/all/<int:user_id>")
    def project_member(project_id: str, user_id: int) -> Response:
        project = find_project(world, caller(world), project_id)
        user = world.user(user_id)
        return answer(_member(world, user, world.access_level(user, project) if user else 0))

    @blueprint.get("/groups/<group_id>/members/all/<int:user_id>")
    def group_member(group_id: str, user_id: int) -> Response:
        group = find_group(world, caller(world), group_id)
        return answer(_member(world, world.user(user_id), world.members.on_groups(user_id).get(group.id, 0)))


def _member(world: World, user: User | None, access_level: int) -> dict[str, Any]:
    if user is None or not access_level:
        raise not_found()
    return basic_user(world, user) | {
        "access_level": access_level,
        "created_at": stamp(user.created_at),
        "expires_at": None,
        "membership_state": "active",
    }
