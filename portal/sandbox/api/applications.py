"""`/applications` for administrators, `/user/applications` for everyone's own. The API cannot create a trusted one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, forbidden, no_content, no_route, not_found
from portal.sandbox.bearer import caller
from portal.sandbox.oauth.redirect_uris import registration_errors
from portal.sandbox.oauth.scopes import application_scopes
from portal.sandbox.oauth.store import Application, OwnerKind
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

UNKNOWN_SCOPES = "doesn't match configured on the server."


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount those of the instance, and those of the caller."""
    _mount(blueprint, world, "instance", "/applications", _administrator)
    _mount(blueprint, world, "user", "/user/applications", _owner)

    @blueprint.post("/applications/<int:application_id>/renew-secret")
    def renew_secret(application_id: int) -> Response:
        if not has(world, "renew_secret"):
            raise no_route()
        application = _existing(world, "instance", _administrator(world), application_id)
        return answer(_entity(world, application) | {"secret": world.oauth.renew_secret(application.id)}, 201)


def _mount(
    blueprint: Blueprint, world: World, kind: OwnerKind, rule: str, owner: Callable[[World], int | None]
) -> None:
    def list_applications() -> Response:
        return answer([_entity(world, row) for row in world.oauth.applications(kind, owner(world))])

    def create_application() -> Response:
        application, secret = _create(world, params.body(), kind, owner(world))
        return answer(_entity(world, application) | {"secret": secret}, 201)

    def delete_application(application_id: int) -> Response:
        world.oauth.delete_application(_existing(world, kind, owner(world), application_id).id)
        return no_content()

    blueprint.add_url_rule(rule, f"{kind}_applications", list_applications)
    blueprint.add_url_rule(rule, f"create_{kind}_application", create_application, methods=["POST"])
    one = f"{rule}/<int:application_id>"
    blueprint.add_url_rule(one, f"delete_{kind}_application", delete_application, methods=["DELETE"])


def _administrator(world: World) -> int | None:
    if not has(world, "applications"):
        raise no_route()
    if not caller(world).acts_as_admin:
        raise forbidden()
    return None  # Instance-wide applications belong to no one.


def _owner(world: World) -> int:
    if not has(world, "user_applications"):
        raise no_route()
    return caller(world).user.id


def _existing(world: World, kind: OwnerKind, owner_id: int | None, application_id: int) -> Application:
    application = world.oauth.application(application_id)
    if application is None or (application.owner_kind, application.owner_id) != (kind, owner_id):
        raise not_found("Application")
    return application


def _create(world: World, body: dict[str, Any], kind: OwnerKind, owner_id: int | None) -> tuple[Application, str]:
    missing = [f"{name} is missing" for name in ("name", "redirect_uri", "scopes") if name not in body]
    missing += [f"{name} is empty" for name in ("name", "scopes") if name in body and not str(body[name]).strip()]
    if missing:
        raise ApiError(400, {"error": ", ".join(missing)})
    problems: dict[str, list[str]] = {}
    redirect_errors = registration_errors(str(body["redirect_uri"]))
    if redirect_errors:
        problems["redirect_uri"] = redirect_errors
    scopes = str(body["scopes"]).split()
    if not set(scopes) <= {scope.name for scope in application_scopes(world.release)}:
        problems["scopes"] = [UNKNOWN_SCOPES]
    if problems:
        raise ApiError(400, {"message": problems})
    confidential = params.truth("confidential", body.get("confidential", True))
    return world.oauth.create_application(
        str(body["name"]), str(body["redirect_uri"]), scopes, confidential, owner_kind=kind, owner_id=owner_id
    )


def _entity(world: World, application: Application) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": application.id,
        "application_id": application.uid,
        "application_name": application.name,
        "callback_url": application.redirect_uri,
        "confidential": application.confidential,
    }
    return body | ({"scopes": application.scopes} if has(world, "application_scopes") else {})
