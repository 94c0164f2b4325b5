"""`/applications`: instance-wide OAuth applications, for administrators. The API cannot create a trusted one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, forbidden, no_content, no_route, not_found
from portal.sandbox.bearer import caller
from portal.sandbox.oauth.redirect_uris import registration_errors
from portal.sandbox.oauth.scopes import application_scopes
from portal.sandbox.oauth.store import Application
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

UNKNOWN_SCOPES = "doesn't match configured on the server."


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/applications")
    def list_applications() -> Response:
        _check(world)
        return answer([_entity(world, row) for row in world.oauth.applications()])

    @blueprint.post("/applications")
    def create_application() -> Response:
        _check(world)
        application, secret = _create(world, params.body())
        return answer(_entity(world, application) | {"secret": secret}, 201)

    @blueprint.delete("/applications/<int:application_id>")
    def delete_application(application_id: int) -> Response:
        _check(world)
        world.oauth.delete_application(_existing(world, application_id).id)
        return no_content()

    @blueprint.post("/applications/<int:application_id>/renew-secret")
    def renew_secret(application_id: int) -> Response:
        if not has(world, "renew_secret"):
            raise no_route()
        _check(world)
        application = _existing(world, application_id)
        return answer(_entity(world, application) | {"secret": world.oauth.renew_secret(application.id)}, 201)


def _check(world: World) -> None:
    if not has(world, "applications"):
        raise no_route()
    if not caller(world).acts_as_admin:
        raise forbidden()


def _existing(world: World, application_id: int) -> Application:
    application = world.oauth.application(application_id)
    if application is None or application.owner_kind != "instance":
        raise not_found("Application")
    return application


def _create(world: World, body: dict[str, Any]) -> tuple[Application, str]:
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
    return world.oauth.create_application(str(body["name"]), str(body["redirect_uri"]), scopes, confidential)


def _entity(world: World, application: Application) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": application.id,
        "application_id": application.uid,
        "application_name": application.name,
        "callback_url": application.redirect_uri,
        "confidential": application.confidential,
    }
    return body | ({"scopes": application.scopes} if has(world, "application_scopes") else {})
