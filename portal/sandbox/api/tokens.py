"""Personal access tokens over the API: reading, revoking and rotating the token itself, and issuing new ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, bad_request, forbidden, no_content, no_route, not_found
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.bearer import caller, optional_caller, unauthorized
from portal.sandbox.oauth.scopes import personal_token_scopes
from portal.sandbox.people import User
from portal.sandbox.personal_tokens import GranularScope, PersonalToken
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

WRONG_KIND = "This endpoint requires token type to be a personal access token"
LEGACY_OFF = "of legacy personal access tokens is disabled. Use a fine-grained token instead."
ROTATED_LIFETIME_DAYS = 7
# What a token may ask for when it makes another one for the same user.
FOR_ONESELF = frozenset({"k8s_proxy", "self_rotate"})
ACCESSES = frozenset({"user", "instance", "all_memberships", "personal_projects", "selected_memberships"})


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/personal_access_tokens/self")
    def show_self() -> Response:
        if not has(world, "token_self"):
            raise no_route()
        return answer(token_entity(world, _own_token(world, any_scope=True), with_ips=True))

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
        who = caller(world, *(["self_rotate"] if has(world, "self_rotate_scope") else []))
        if who.personal_token is None:
            raise not_allowed()
        text = rotated(world, who.user, who.personal_token)
        return answer(token_entity(world, world.personal_access_tokens.find(text), text))

    @blueprint.post("/personal_access_tokens/<int:token_id>/rotate")
    def rotate(token_id: int) -> Response:
        if not has(world, "token_rotate"):
            raise no_route()
        who, token = caller(world), world.personal_access_tokens.by_id(token_id)
        owner = world.user(token.user_id) if token else None
        if token is None or owner is None or not (who.acts_as_admin or owner.id == who.user.id):
            # Only administrators learn that there is no such token.
            raise not_found() if who.acts_as_admin else unauthorized()
        text = rotated(world, owner, token)
        return answer(token_entity(world, world.personal_access_tokens.find(text), text))

    @blueprint.post("/user/personal_access_tokens")
    def create_for_oneself() -> Response:
        if not has(world, "tokens_for_oneself"):
            raise no_route()
        who, body = caller(world), params.body()
        granular = _granular_scopes(body) if has(world, "fine_grained_enforcement") else ()
        if not granular and not set(_listed(body.get("scopes"))) <= FOR_ONESELF:
            raise params.refused("scopes", "does not have a valid value")
        text = _create(world, who.user, body, granular)
        return answer(token_entity(world, world.personal_access_tokens.find(text), text), 201)

    @blueprint.post("/users/<int:user_id>/personal_access_tokens")
    def create_for_user(user_id: int) -> Response:
        if not has(world, "tokens_for_users"):
            raise no_route()
        if not caller(world).acts_as_admin:
            raise forbidden()
        user, body = world.user(user_id), params.body()
        if user is None:
            raise not_found("User")
        text = _create(world, user, body)
        return answer(token_entity(world, world.personal_access_tokens.find(text), text), 201)


def not_allowed() -> ApiError:
    """Return the refusal of a credential that is no personal access token."""
    return ApiError(405, {"message": "405 Method Not Allowed"})


def rotated(world: World, owner: User, old: PersonalToken) -> str:
    """Revoke a token and return the text of its successor. Raises ApiError 400."""
    if old.is_revoked:
        raise bad_request("Token already revoked")
    if not old.is_granular and world.requires_fine_grained(owner):
        raise bad_request(f"Rotation {LEGACY_OFF}")
    in_a_week = world.now().date() + timedelta(days=ROTATED_LIFETIME_DAYS)
    body = params.optional_body() if has(world, "rotated_expiry") else {}
    expires_at = _day(body) or (in_a_week if world.token_must_expire(owner) else None)
    _check_expiry(world, owner, expires_at)
    with world.lock:
        old.revoked_at = world.now()
        return world.create_personal_token(
            owner,
            name=old.name,
            scopes=old.scopes,
            expires_at=expires_at,
            description=old.description,
            impersonation=old.impersonation,
            granular_scopes=old.granular_scopes,
            family=old.family,
        )


def token_entity(
    world: World, token: PersonalToken | None, text: str = "", *, with_ips: bool = False
) -> dict[str, Any]:
    """Return a token as GitLab shows it; `text` only where it has just been issued."""
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
    if has(world, "granular"):
        body["granular"] = token.is_granular
    if with_ips and has(world, "last_used_ips"):
        body["last_used_ips"] = ["127.0.0.1"]
    if text:
        return body | {"token": text}
    if token.is_granular and has(world, "granular_scopes"):
        body["granular_scopes"] = [
            {
                "access": scope.access,
                "permissions": scope.permissions,
                "project_id": scope.project_id,
                "group_id": scope.group_id,
            }
            for scope in token.granular_scopes
        ]
    return body


def new_token(world: World, owner: User, body: dict[str, Any]) -> dict[str, Any]:
    """Read the details of a new legacy token; the result is what the world's methods take. Raises ApiError 400."""
    names = tuple(_listed(body.get("scopes")))
    if not body.get("name"):
        raise params.refused("name", "is missing")
    if not names:
        raise params.refused("scopes", "is missing")
    if not set(names) <= {scope.name for scope in personal_token_scopes(world.release)}:
        raise ApiError(400, {"message": {"scopes": ["can only contain available scopes"]}})
    expires_at = _day(body) or world.latest_expiry(owner)
    _check_expiry(world, owner, expires_at)
    description = str(body.get("description") or "")
    return {"name": str(body["name"]), "scopes": names, "expires_at": expires_at, "description": description}


def _own_token(world: World, *, any_scope: bool) -> PersonalToken:
    who = optional_caller(world, any_scope=any_scope)
    if who is None:
        raise unauthorized()
    if who.personal_token is None:
        raise bad_request(WRONG_KIND)
    return who.personal_token


def _create(world: World, owner: User, body: dict[str, Any], granular: tuple[GranularScope, ...] = ()) -> str:
    if not granular and world.requires_fine_grained(owner):
        raise ApiError(422, {"message": f"Creation {LEGACY_OFF}"})
    details = new_token(world, owner, body | ({"scopes": ["api"]} if granular else {}))
    return world.create_personal_token(owner, **details, granular_scopes=granular)


def _granular_scopes(body: dict[str, Any]) -> tuple[GranularScope, ...]:
    rows = body.get("granular_scopes") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get("access") in ACCESSES for row in rows):
        raise params.refused("granular_scopes")
    return tuple(
        GranularScope(
            row["access"],
            tuple(map(str, row.get("permissions") or ())),
            project_id=row.get("project_id"),
            group_id=row.get("group_id"),
        )
        for row in rows
    )


def _listed(asked: Any) -> Iterable[str]:
    return asked.replace(",", " ").split() if isinstance(asked, str) else [str(name) for name in asked or ()]


def _check_expiry(world: World, owner: User, expires_at: date | None) -> None:
    latest = world.latest_expiry(owner)
    if expires_at is None:
        if world.token_must_expire(owner):
            raise bad_request("Expiration date can't be blank")
    elif expires_at <= world.now().date():
        raise bad_request("Expiration date can't be in the past")
    elif latest is not None and expires_at > latest:
        raise bad_request(f"Expiration date must be before {latest}")


def _day(body: dict[str, Any]) -> date | None:
    if not body.get("expires_at"):
        return None
    try:
        return date.fromisoformat(str(body["expires_at"]))
    except ValueError:
        raise params.refused("expires_at") from None
