"""Environments of a project (docs.gitlab.com/api/environments)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, bad_request, forbidden, no_content, not_found
from portal.sandbox.api.histories import describe_deployment
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import find_project, level_of, may_read_code
from portal.sandbox.api.timestamps import stamp_of
from portal.sandbox.bearer import caller
from portal.sandbox.environments import TIERS, Environment
from portal.sandbox.groups import DEVELOPER
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

STATES = frozenset({"available", "stopping", "stopped"})
MIN_SEARCH = 3
MAX_NAME = 255
TIERS_SINCE = (13, 10)
AUTO_STOP_SINCE = (12, 8)
_NAME = re.compile(r"[a-zA-Z0-9_${}. -](?:[a-zA-Z0-9_/${}. -]*[a-zA-Z0-9_${}. -])?")
NAME_WORDS = (
    "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, "
    "but it cannot start or end with '/'"
)


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""
    address = "/projects/<project_id>/environments"

    @blueprint.get(address)
    def list_environments(project_id: str) -> Response:
        project = _project(world, project_id)
        name, search = params.text("name"), params.text("search")
        if name and search:
            raise ApiError(400, {"error": "name, search are mutually exclusive"})
        if search and len(search) < MIN_SEARCH:
            raise bad_request(f"Search query is less than {MIN_SEARCH} characters")
        state = params.choice("states", STATES | {""}, "")
        found = [
            one
            for one in world.environments.of(project).values()
            if name in ("", one.name) and search.lower() in one.name.lower() and state in ("", one.state)
        ]
        rows, headers = offset_page(world, sorted(found, key=lambda one: one.name))
        return answer([_entity(world, one) for one in rows], headers=headers)

    @blueprint.post(address)
    def create_environment(project_id: str) -> Response:
        project = _project(world, project_id, writes=True)
        body = params.body()
        name, url, tier = str(body.get("name") or ""), body.get("external_url") or None, str(body.get("tier") or "")
        if "name" not in body:
            raise params.refused("name", "is missing")
        if tier and tier not in TIERS:
            raise params.refused("tier", "does not have a valid value")
        wrong: dict[str, list[str]] = {}
        if not name:
            wrong["name"] = ["can't be blank"]
        elif len(name) > MAX_NAME:
            wrong["name"] = [f"is too long (maximum is {MAX_NAME} characters)"]
        elif not _NAME.fullmatch(name):
            wrong["name"] = [NAME_WORDS]
        elif any(one.name == name for one in world.environments.of(project).values()):
            wrong["name"] = ["has already been taken"]
        wrong |= _wrong_url(url)
        if wrong:
            raise ApiError(400, {"message": wrong})
        return answer(_entity(world, world.environments.create(project, name, url, tier)), 201)

    @blueprint.get(f"{address}/<int:environment_id>")
    def show_environment(project_id: str, environment_id: int) -> Response:
        project = _project(world, project_id)
        return answer(_single(world, project, _find(world, project, environment_id)))

    @blueprint.put(f"{address}/<int:environment_id>")
    def change_environment(project_id: str, environment_id: int) -> Response:
        project = _project(world, project_id, writes=True)
        one, body = _find(world, project, environment_id), params.body()
        if (tier := str(body.get("tier") or one.tier)) not in TIERS:
            raise params.refused("tier", "does not have a valid value")
        url = body.get("external_url", one.external_url) or None
        if wrong := _wrong_url(url):
            raise ApiError(400, {"message": wrong})
        one.tier, one.external_url = tier, url
        one.updated = int(world.now().timestamp())
        return answer(_entity(world, one))

    @blueprint.post(f"{address}/<int:environment_id>/stop")
    def stop_environment(project_id: str, environment_id: int) -> Response:
        project = _project(world, project_id, writes=True)
        one = _find(world, project, environment_id)
        if "force" in (body := params.optional_body()):
            params.truth("force", body["force"])
        one.state, one.auto_stop = "stopped", None
        one.updated = int(world.now().timestamp())
        return answer(_single(world, project, one))

    @blueprint.delete(f"{address}/<int:environment_id>")
    def delete_environment(project_id: str, environment_id: int) -> Response:
        project = _project(world, project_id, writes=True)
        if _find(world, project, environment_id).state != "stopped":
            raise forbidden()
        world.environments.of(project).pop(environment_id, None)
        return no_content()


def _project(world: World, project_id: str, *, writes: bool = False) -> Project:
    who = caller(world)
    project = find_project(world, who, project_id)
    is_too_low = writes and not who.acts_as_admin and level_of(world, who, project) < DEVELOPER
    if is_too_low or not may_read_code(world, who, project):
        raise forbidden()
    return project


def _find(world: World, project: Project, environment_id: int) -> Environment:
    one = world.environments.of(project).get(environment_id)
    if one is None:
        raise not_found()
    return one


def _wrong_url(url: Any) -> dict[str, list[str]]:
    is_right = url is None or urlsplit(str(url)).scheme in ("http", "https")
    return {} if is_right else {"external_url": ["is blocked: Only allowed schemes are http, https"]}


def _entity(world: World, one: Environment) -> dict[str, Any]:
    newer: dict[str, Any] = {"tier": one.tier} if world.release >= TIERS_SINCE else {}
    if world.release >= AUTO_STOP_SINCE:
        newer["auto_stop_at"] = stamp_of(one.auto_stop) if one.auto_stop else None
    return {
        "id": one.id,
        "name": one.name,
        "slug": one.name.lower().replace("/", "-")[:24],
        "external_url": one.external_url,
        "created_at": stamp_of(one.created),
        "updated_at": stamp_of(one.updated),
        "state": one.state,
        **newer,
    }


def _single(world: World, project: Project, one: Environment) -> dict[str, Any]:
    entity = _entity(world, one)
    last = None
    if one.last is not None:
        last = describe_deployment(world, project, one.last) | {"environment": entity}
        last["ref"] = one.ref or project.default_branch
    return entity | {"last_deployment": last}
