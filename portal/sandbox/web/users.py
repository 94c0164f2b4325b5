"""Admin area, Overview > Users: list, new user, one user with Impersonate and Block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from portal.sandbox.web.gate import signed_in_user
from portal.sandbox.web.roles import ROLES
from portal.sandbox.web.session import start_impersonation, stop_impersonation

if TYPE_CHECKING:
    from portal.sandbox.world import User, World

DEFAULT_ROLE = 40
MINIMUM_PASSWORD_LENGTH = 8
USERS_SHOWN = 200


@dataclass
class UserForm:
    """One filled-in form; `roles` maps group id to access level for the groups to add."""

    name: str = ""
    username: str = ""
    email: str = ""
    admin: bool = False
    external: bool = False
    roles: dict[int, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount `/admin/users` and `/admin/impersonation`."""

    @blueprint.get("/admin/users")
    def users() -> ResponseReturnValue:
        return _list(world)

    @blueprint.get("/admin/users/new")
    def new_user() -> ResponseReturnValue:
        groups = [group for group in world.top_level_groups() if group.suggested_access_level]
        return _form_page(world, UserForm(roles={group.id: group.suggested_access_level for group in groups}))

    @blueprint.post("/admin/users")
    def create_user() -> ResponseReturnValue:
        return _create(world)

    @blueprint.get("/admin/users/<username>")
    def user(username: str) -> ResponseReturnValue:
        return _show(world, _existing(world, username))

    @blueprint.post("/admin/users/<username>/<any(block, unblock):action>")
    def set_user_state(username: str, action: str) -> ResponseReturnValue:
        return _set_state(world, _existing(world, username), "blocked" if action == "block" else "active")

    _add_impersonation(blueprint, world)


def _add_impersonation(blueprint: Blueprint, world: World) -> None:
    @blueprint.post("/admin/users/<username>/impersonate")
    def impersonate(username: str) -> ResponseReturnValue:
        administrator, person = signed_in_user(world), _existing(world, username)
        if person.state != "active" or person.id == administrator.id:
            flash("You cannot impersonate this user.")
            return redirect(url_for("web.user", username=person.username))
        start_impersonation(administrator, person)
        return redirect(url_for("web.home"))

    @blueprint.route("/admin/impersonation", methods=["POST", "DELETE"])
    def stop_impersonating() -> ResponseReturnValue:
        person = stop_impersonation(world)
        if person is None:
            abort(404)
        return redirect(url_for("web.user", username=person.username))


def _existing(world: World, username: str) -> User:
    user = world.user_by_username(username)
    if user is None:
        abort(404)
    return user


def _list(world: World) -> str:
    wanted = request.args.get("search_query", "").strip().lower()
    users = [user for user in world.all_users() if wanted in f"{user.username} {user.name} {user.email}".lower()]
    shown = users[:USERS_SHOWN]
    return render_template("sandbox/admin/users.html", users=shown, total=len(users), search_query=wanted)


def _form_page(world: World, form: UserForm) -> str:
    groups = world.top_level_groups()
    return render_template("sandbox/admin/new_user.html", form=form, groups=groups, roles=ROLES)


def _create(world: World) -> ResponseReturnValue:
    form = _read_form(world, request.form)
    if form.errors:
        return _form_page(world, form), 422
    user = world.create_user(
        name=form.name,
        username=form.username,
        email=form.email,
        password=request.form.get("password", ""),
        admin=form.admin,
        external=form.external,
    )
    for group_id, level in form.roles.items():
        world.add_group_member(group_id, user.id, level)
    flash("User was successfully created.")
    return redirect(url_for("web.user", username=user.username))


def _read_form(world: World, posted: MultiDict[str, str]) -> UserForm:
    known = {group.id for group in world.top_level_groups()}
    chosen = {int(text) for text in posted.getlist("groups") if text.isdecimal()} & known
    form = UserForm(
        name=posted.get("name", "").strip(),
        username=posted.get("username", "").strip().removeprefix("@"),
        email=posted.get("email", "").strip(),
        admin=posted.get("access_level") == "admin",
        external="external" in posted,
        roles={group_id: _role(posted.get(f"role_{group_id}", "")) for group_id in sorted(chosen)},
    )
    form.errors = _errors(world, form, posted.get("password", ""))
    return form


def _role(text: str) -> int:
    return int(text) if text.isdecimal() and int(text) in ROLES else DEFAULT_ROLE


def _errors(world: World, form: UserForm, password: str) -> list[str]:
    users = world.all_users()
    findings = {
        "Name can't be blank": not form.name,
        "Username can't be blank": not form.username,
        "Username can contain only letters, digits, '_', '-' and '.'": bool(form.username)
        and not form.username.replace("_", "a").replace("-", "a").replace(".", "a").isalnum(),
        "Username has already been taken": any(user.username.lower() == form.username.lower() for user in users),
        "Email can't be blank": not form.email,
        "Email is invalid": bool(form.email) and "@" not in form.email[1:-1],
        "Email has already been taken": any(user.email.lower() == form.email.lower() for user in users),
        f"Password is too short (minimum is {MINIMUM_PASSWORD_LENGTH} characters)": len(password)
        < MINIMUM_PASSWORD_LENGTH,
    }
    return [message for message, found in findings.items() if found]


def _show(world: World, user: User) -> str:
    return render_template(
        "sandbox/admin/user.html",
        user=user,
        memberships=[(group, ROLES.get(level, str(level))) for group, level in world.memberships_of(user)],
        administrator=signed_in_user(world),
    )


def _set_state(world: World, user: User, state: str) -> ResponseReturnValue:
    if user.id == signed_in_user(world).id:
        flash("You cannot block yourself.")
    else:
        world.set_user_state(user.id, state)
        flash("Successfully blocked" if state == "blocked" else "Successfully unblocked")
    return redirect(url_for("web.user", username=user.username))
