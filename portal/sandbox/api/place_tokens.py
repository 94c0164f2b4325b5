"""Access tokens of projects and groups, and service accounts with their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import answer, bad_request, forbidden, no_content, no_route, not_found
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import find_group, find_project
from portal.sandbox.api.tokens import new_token, not_allowed, rotated, token_entity
from portal.sandbox.bearer import Caller, caller, unauthorized
from portal.sandbox.groups import MAINTAINER, OWNER, Group
from portal.sandbox.people import User
from portal.sandbox.personal_tokens import PersonalToken
from portal.sandbox.profiles import has
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

NOT_GRANTED = "User does not have permission to create {kind} access token"
TOO_HIGH = "Access level of the token contains permissions not held by the creating user"


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount the same addresses for projects and for groups."""
    for kind in ("project", "group"):
        _mount_tokens(blueprint, world, kind)
        _mount_accounts(blueprint, world, kind)

    @blueprint.post("/service_accounts")
    def create_service_account() -> Response:
        _require_service_accounts(world)
        if not caller(world).acts_as_admin:
            raise forbidden()
        return answer(_account(_new_account(world, None)), 201)

    @blueprint.get("/service_accounts")
    def list_service_accounts() -> Response:
        _require_service_accounts(world)
        if not caller(world).acts_as_admin:
            raise forbidden()
        rows, headers = offset_page(world, _accounts_of(world, None))
        return answer([_account(row) for row in rows], headers=headers)


def _mount_tokens(blueprint: Blueprint, world: World, kind: str) -> None:
    def found(place_id: str, who: Caller) -> tuple[Group | Project, int]:
        if not has(world, f"{kind}_tokens"):
            raise no_route()
        return _place(world, kind, place_id, who)

    def list_tokens(place_id: str) -> Response:
        who = caller(world)
        place, level = found(place_id, who)
        if not who.acts_as_admin and level < _least(kind):
            raise unauthorized()
        rows, headers = offset_page(world, _tokens_of(world, place))
        return answer([_entity(world, place, row) for row in rows], headers=headers)

    def create_token(place_id: str) -> Response:
        who, body = caller(world), params.body()
        place, level = found(place_id, who)
        if (not who.acts_as_admin and level < _least(kind)) or who.user.kind == "project_bot":
            raise bad_request(NOT_GRANTED.format(kind=kind))
        access_level = int(body.get("access_level") or MAINTAINER)
        if access_level not in params.ACCESS_LEVELS:
            raise params.refused("access_level", "does not have a valid value")
        if not who.acts_as_admin and access_level > level:
            raise bad_request(TOO_HIGH)
        text = _issue(world, place, access_level, new_token(world, who.user, body))
        return answer(_entity(world, place, world.personal_access_tokens.find(text), text), 201)

    def revoke_token(place_id: str, token_id: int) -> Response:
        who = caller(world)
        place, level = found(place_id, who)
        token = next((row for row in _tokens_of(world, place) if row.id == token_id), None)
        if token is None:
            raise not_found(f"{kind} Access Token")
        if not who.acts_as_admin and level < _least(kind):
            raise bad_request(f"{who.user.name} cannot delete {kind}_{place.id}_bot")
        token.revoked_at = token.revoked_at or world.now()
        return no_content()

    def rotate_token(place_id: str, token_id: int) -> Response:
        if not has(world, "token_rotate"):
            raise no_route()
        who = caller(world)
        place, level = found(place_id, who)
        token = next((row for row in _tokens_of(world, place) if row.id == token_id), None)
        if token is None or who.user.kind == "project_bot" or not (who.acts_as_admin or level >= _least(kind)):
            raise not_found() if who.acts_as_admin else unauthorized()
        return _answer_rotated(world, place, token)

    def rotate_itself(place_id: str) -> Response:
        if not has(world, "project_token_self_rotate"):
            raise no_route()
        who = caller(world, "self_rotate")
        own = who.personal_token
        if own is None or who.user.kind != "project_bot":
            raise not_allowed()
        place, _ = found(place_id, who)
        if own not in _tokens_of(world, place):
            raise unauthorized()
        return _answer_rotated(world, place, own)

    rule, name = f"/{kind}s/<place_id>/access_tokens", f"{kind}_access_token"
    blueprint.add_url_rule(rule, f"{name}s", list_tokens)
    blueprint.add_url_rule(rule, f"create_{name}", create_token, methods=["POST"])
    blueprint.add_url_rule(f"{rule}/<int:token_id>", f"revoke_{name}", revoke_token, methods=["DELETE"])
    blueprint.add_url_rule(f"{rule}/<int:token_id>/rotate", f"rotate_{name}", rotate_token, methods=["POST"])
    blueprint.add_url_rule(f"{rule}/self/rotate", f"rotate_own_{name}", rotate_itself, methods=["POST"])


def _mount_accounts(blueprint: Blueprint, world: World, kind: str) -> None:
    def managed(place_id: str) -> Group | Project:
        _require_service_accounts(world)
        if kind == "project" and not has(world, "project_service_accounts"):
            raise no_route()
        who = caller(world)
        place, level = _place(world, kind, place_id, who)
        if isinstance(place, Group) and place.parent_id is not None:
            raise bad_request("Group is not a top-level group")
        owners_may = level >= OWNER and world.settings.owners_create_service_accounts
        if not who.acts_as_admin and not owners_may:
            raise forbidden()
        return place

    def create_account(place_id: str) -> Response:
        return answer(_account(_new_account(world, managed(place_id))), 201)

    def list_accounts(place_id: str) -> Response:
        rows, headers = offset_page(world, _accounts_of(world, managed(place_id)))
        return answer([_account(row) for row in rows], headers=headers)

    def create_token(place_id: str, user_id: int) -> Response:
        place = managed(place_id)
        account = next((row for row in _accounts_of(world, place) if row.id == user_id), None)
        if account is None:
            raise not_found("User")
        text = world.create_personal_token(account, **new_token(world, account, params.body()))
        return answer(token_entity(world, world.personal_access_tokens.find(text), text), 201)

    rule, name = f"/{kind}s/<place_id>/service_accounts", f"{kind}_service_account"
    blueprint.add_url_rule(rule, f"{name}s", list_accounts)
    blueprint.add_url_rule(rule, f"create_{name}", create_account, methods=["POST"])
    blueprint.add_url_rule(
        f"{rule}/<int:user_id>/personal_access_tokens", f"create_{name}_token", create_token, methods=["POST"]
    )


def _place(world: World, kind: str, text: str, who: Caller) -> tuple[Group | Project, int]:
    """Return the place an address means, and the caller's level on it."""
    if kind == "project":
        project = find_project(world, who, text, redirects=False)
        return project, world.members.on_project(project, who.user.id)
    group = find_group(world, who, text)
    return group, world.members.on_groups(who.user.id).get(group.id, 0)


def _least(kind: str) -> int:
    return MAINTAINER if kind == "project" else OWNER


def _tokens_of(world: World, place: Group | Project) -> list[PersonalToken]:
    bots = {bot.id for bot, _ in world.bots_of(place)}
    return [row for row in world.personal_access_tokens.all() if row.user_id in bots]


def _issue(world: World, place: Group | Project, access_level: int, details: dict[str, Any]) -> str:
    if isinstance(place, Group):
        return world.create_group_token(place, access_level, **details)
    return world.create_project_token(place, access_level, **details)


def _answer_rotated(world: World, place: Group | Project, token: PersonalToken) -> Response:
    owner = world.user(token.user_id)
    if owner is None:
        raise not_found("User")
    text = rotated(world, owner, token)
    return answer(_entity(world, place, world.personal_access_tokens.find(text), text))


def _entity(world: World, place: Group | Project, token: PersonalToken | None, text: str = "") -> dict[str, Any]:
    levels = {bot.id: level for bot, level in world.bots_of(place)}
    return token_entity(world, token, text) | {"access_level": levels.get(token.user_id if token else 0)}


def _require_service_accounts(world: World) -> None:
    needed = "service_accounts" if world.settings.edition == "ee" else "service_accounts_in_ce"
    if not has(world, needed):
        raise no_route()


def _accounts_of(world: World, place: Group | Project | None) -> list[User]:
    owner = None if place is None else (type(place).__name__, place.id)
    owned = {user_id for user_id, its_owner in world.service_accounts.items() if its_owner == owner}
    return [row for row in world.all_users() if row.id in owned]


def _new_account(world: World, place: Group | Project | None) -> User:
    body = params.optional_body()
    wanted = {name: str(body.get(name) or "") for name in ("name", "username", "email")}
    if not has(world, "service_account_names"):
        wanted = {}
    if wanted.get("username") and world.people.by_username(wanted["username"]) is not None:
        raise bad_request("Username has already been taken")
    if wanted.get("email") and world.people.by_email(wanted["email"]) is not None:
        raise bad_request("Email has already been taken")
    return world.create_service_account(place, **wanted)


def _account(user: User) -> dict[str, Any]:
    return {"id": user.id, "username": user.username, "name": user.name, "email": user.email}
