"""Personal access tokens over the API: reading, revoking and rotating the token itself, and issuing by an
administrator.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, forbidden, no_content, no_route, not_found
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.bearer import caller, optional_caller, unauthorized
from portal.sandbox.oauth.scopes import personal_token_scopes
from portal.sandbox.personal_tokens import PersonalToken
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

WRONG_KIND = "400 Bad request - This endpoint requires token type to be a personal access token"
ROTATED_LIFETIME_DAYS = 7


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/personal_access_tokens/self")
    def show_self() -> Response:
        if not has(world, "token_self"):
            raise no_route()
        return answer(_entity(world, _own_token(world, any_scope=True)))

    @blueprint.delete("/personal_access_tokens/self")
    def revoke_self() -> Response:
        if not has(world, "token_self_delete"):
            raise no_route()
        token = _own_token(world, any_scope=has(world, "token_self_delete_any_scope"))
        token.revoked_at = token.revoked_at or world.now()
        return no_content()

    @blueprint.post("/personal_access_tokens/self/rotate")
    def rotate_self() -> Response:
        if not has(world, "token_self_rotate"):
            raise no_route()
        return _rotate(world)

    @blueprint.post("/users/<int:user_id>/personal_access_tokens")
    def create_for_user(user_id: int) -> Response:
        if not has(world, "tokens_for_users"):
            raise no_route()
        if not caller(world).acts_as_admin:
            raise forbidden()
        user, body = world.user(user_id), params.body()
        if user is None:
            raise not_found("User")
        scopes = _scopes(world, body)
        if not body.get("name"):
            raise params.refused("name", "is missing")
        text = world.create_personal_token(
            user, name=str(body["name"]), scopes=scopes, expires_at=_day(body, world.anchor.date() + timedelta(365))
        )
        return _with_text(world, text)


def _own_token(world: World, *, any_scope: bool) -> PersonalToken:
    who = optional_caller(world, any_scope=any_scope)
    if who is None:
        raise unauthorized()
    if who.personal_token is None:
        raise ApiError(400, {"message": WRONG_KIND})
    return who.personal_token


def _rotate(world: World) -> Response:
    extra = ("self_rotate",) if has(world, "self_rotate_scope") else ()
    who = caller(world, *extra)
    old = who.personal_token
    if old is None:
        raise ApiError(405, {"message": "405 Method Not Allowed"})
    expires_at = _day(params.body(), world.now().date() + timedelta(days=ROTATED_LIFETIME_DAYS))
    with world.lock:
        text = world.create_personal_token(
            who.user, name=old.name, scopes=old.scopes, expires_at=expires_at, description=old.description
        )
        old.revoked_at = old.revoked_at or world.now()
    return answer(_entity(world, world.personal_access_tokens.find(text), text))


def _with_text(world: World, text: str) -> Response:
    return answer(_entity(world, world.personal_access_tokens.find(text), text), 201)


def _entity(world: World, token: PersonalToken | None, text: str = "") -> dict[str, Any]:
    if token is None:
        raise not_found("Personal Access Token")
    body = {
        "id": token.id,
        "name": token.name,
        "revoked": token.is_revoked,
        "created_at": stamp(token.created_at),
        "scopes": token.scopes,
        "user_id": token.user_id,
        "last_used_at": stamp(token.last_used_at) if token.last_used_at else None,
        "active": not token.is_revoked and not token.is_expired(world.now()),
        "expires_at": str(token.expires_at) if token.expires_at else None,
    }
    if has(world, "token_description"):
        body["description"] = token.description or None
    return body | ({"token": text} if text else {})


def _scopes(world: World, body: dict[str, Any]) -> tuple[str, ...]:
    asked = body.get("scopes") or []
    names = tuple(asked.replace(",", " ").split()) if isinstance(asked, str) else tuple(map(str, asked))
    known = {scope.name for scope in personal_token_scopes(world.release)}
    if not names:
        raise params.refused("scopes", "is missing")
    if not set(names) <= known:
        raise ApiError(400, {"message": {"scopes": ["can only contain available scopes"]}})
    return names


def _day(body: dict[str, Any], default: date) -> date:
    if not body.get("expires_at"):
        return default
    try:
        return date.fromisoformat(str(body["expires_at"]))
    except ValueError:
        raise params.refused("expires_at") from None
