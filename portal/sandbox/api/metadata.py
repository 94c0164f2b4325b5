"""`/version`, `/metadata`, `/license`: what this GitLab is."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api.answers import answer, forbidden, no_route
from portal.sandbox.bearer import caller
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/version")
    def version() -> Response:
        caller(world, "read_user")
        body = _metadata(world)
        return answer(body if has(world, "metadata") else {name: body[name] for name in ("version", "revision")})

    @blueprint.get("/metadata")
    def metadata() -> Response:
        if not has(world, "metadata"):
            raise no_route()
        caller(world, "read_user")
        return answer(_metadata(world))

    @blueprint.get("/license")
    def license() -> Response:
        if world.settings.edition == "ce":
            raise no_route()
        if not caller(world).acts_as_admin:
            raise forbidden()
        return answer({"id": 1, "plan": "premium", "expired": False, "user_limit": 100})


def _metadata(world: World) -> dict[str, Any]:
    version = world.settings.version_text
    agent_url = world.settings.external_url.replace("http", "ws", 1) + "/-/kubernetes-agent/"
    body = {
        "version": version,
        "revision": hashlib.sha256(version.encode()).hexdigest()[:11],
        "kas": {"enabled": True, "externalUrl": agent_url, "version": version},
    }
    return body | ({"enterprise": world.settings.edition == "ee"} if has(world, "enterprise") else {})
