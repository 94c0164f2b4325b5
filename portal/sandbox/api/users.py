"""`/user` and `/users`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, forbidden, not_found
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.bearer import Caller, caller
from portal.sandbox.people import User
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

MINIMUM_PASSWORD_LENGTH = 8


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/user")
    def current_user() -> Response:
        who = _reader(world)
        return answer(_own(world, who.user) | (_for_admins(world, who.user) if who.user.admin else {}))

    @blueprint.get("/users")
    def list_users() -> Response:
        who = _reader(world)
        rows, headers = offset_page(world, _matching(world), capped_kind="User")
        return answer([_shown(world, user, to_admin=who.acts_as_admin) for user in rows], headers=headers)

    @blueprint.get("/users/<user_id>")
    def show_user(user_id: str) -> Response:
        who = _reader(world)
        user = world.user(int(user_id)) if user_id.isdecimal() else None
        if user is None:
            raise not_found("User")
        return answer(_shown(world, user, to_admin=who.acts_as_admin))

    @blueprint.post("/users")
    def create_user() -> Response:
        if not caller(world).acts_as_admin:
            raise forbidden()
        user = _create(world, params.body())
        return answer(_shown(world, user, to_admin=True), 201)


def _reader(world: World) -> Caller:
    """Early versions did not accept `read_user` here."""
    return caller(world, *(["read_user"] if has(world, "read_user_is_enough") else []))


def basic_user(world: World, user: User) -> dict[str, Any]:
    """Return what everyone may know of a person."""
    picture = hashlib.sha256(user.email.encode()).hexdigest()
    return {
        "id": user.id,
        "username": user.username,
        "name": user.name,
        "state": user.state,
        "avatar_url": f"{world.settings.external_url}/uploads/-/system/user/avatar/{user.id}/{picture[:8]}.png",
        "web_url": f"{world.settings.external_url}/{user.username}",
        **_known(world, {"locked": False, "public_email": user.public_email or None}),
    }


def _known(world: World, members: dict[str, Any]) -> dict[str, Any]:
    """Leave out what this version does not have; the table of versions has entries of the same names."""
    return {name: value for name, value in members.items() if has(world, name)}


def _shown(world: World, user: User, *, to_admin: bool) -> dict[str, Any]:
    if to_admin:
        return _own(world, user) | _for_admins(world, user)
    extra = {"created_at": stamp(user.created_at), "bio": "", "location": None}
    return basic_user(world, user) | extra | _known(world, {"bot": user.bot, "job_title": ""})


def _own(world: World, user: User) -> dict[str, Any]:
    created_at = stamp(user.created_at)
    return basic_user(world, user) | {
        "created_at": created_at,
        "bio": "",
        "location": None,
        "linkedin": "",
        "twitter": "",
        "website_url": "",
        "organization": "",
        "local_time": None,
        "last_sign_in_at": created_at,
        "confirmed_at": created_at if user.confirmed else None,
        "last_activity_on": str(world.anchor.date()),
        "email": user.email,
        "theme_id": 3,
        "color_scheme_id": 1,
        "projects_limit": 0 if user.external else 100000,
        "current_sign_in_at": created_at,
        "identities": [],
        "can_create_group": not user.external,
        "can_create_project": not user.external,
        "two_factor_enabled": False,
        "external": user.external,
        **_known(
            world,
            {
                "private_profile": False,
                "commit_email": user.email,
                "job_title": "",
                "bot": user.bot,
                "pronouns": None,
                "discord": "",
                "github": "",
            },
        ),
    }


def _for_admins(world: World, user: User) -> dict[str, Any]:
    extra = {"is_admin": user.admin, "note": None} | _known(world, {"namespace_id": 100000 + user.id})
    if world.settings.edition == "ee":
        extra |= {"is_auditor": False, "using_license_seat": not user.bot}
    return extra


def _matching(world: World) -> list[User]:
    users = world.all_users()
    username, search = params.text("username").lower(), params.text("search").lower()
    if username:
        users = [user for user in users if user.username.lower() == username]
    if search:
        users = [user for user in users if search in f"{user.name}\n{user.username}\n{user.email}".lower()]
    if params.flag("active"):
        users = [user for user in users if user.state == "active"]
    if params.flag("blocked"):
        users = [user for user in users if user.state == "blocked"]
    if params.flag("external"):
        users = [user for user in users if user.external]
    return sorted(users, key=lambda user: user.id, reverse=params.text("sort") != "asc")


def _create(world: World, body: dict[str, Any]) -> User:
    missing = [name for name in ("email", "name", "username") if not body.get(name)]
    if missing:
        raise ApiError(400, {"error": ", ".join(f"{name} is missing" for name in missing)})
    random_password = any(params.truth(n, body[n]) for n in ("force_random_password", "reset_password") if n in body)
    password = str(body.get("password") or "")
    if not password and not random_password:
        problem = "password, reset_password, force_random_password are missing, at least one parameter must be provided"
        raise ApiError(400, {"error": problem})
    if not random_password and len(password) < MINIMUM_PASSWORD_LENGTH:
        problem = f"is too short (minimum is {MINIMUM_PASSWORD_LENGTH} characters)"
        raise ApiError(400, {"message": {"password": [problem]}})
    if world.people.by_email(str(body["email"])) is not None:
        raise ApiError(409, {"message": "Email has already been taken"})
    if world.people.by_username(str(body["username"])) is not None:
        raise ApiError(409, {"message": "Username has already been taken"})
    return world.create_user(
        name=str(body["name"]),
        username=str(body["username"]),
        email=str(body["email"]),
        password=password,
        admin=params.truth("admin", body.get("admin", False)),
        external=params.truth("external", body.get("external", False)),
        confirmed=params.truth("skip_confirmation", body.get("skip_confirmation", False)),
    )
