"""Signing in and out, and the page that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.sandbox.people import COLLEAGUES
from portal.sandbox.web.gate import signed_in_user
from portal.sandbox.web.roles import ROLES
from portal.sandbox.web.session import current_user, end_session, refuse_forged_forms, start_session

if TYPE_CHECKING:
    from portal.sandbox.world import World

INVALID_LOGIN = "Invalid login or password."
BLOCKED = "Your account has been blocked. Please contact your GitLab administrator if you think this is an error."
PROJECTS_SHOWN = 20
ACCOUNTS_SHOWN = 5


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount `/`, `/dashboard/groups`, `/users/sign_in` and `/users/sign_out`."""

    @blueprint.get("/")
    def home() -> ResponseReturnValue:
        user = signed_in_user(world)
        visible = world.visible_projects(user)
        projects = [(project, world.projects.full_path(project)) for project in visible[:PROJECTS_SHOWN]]
        return render_template("sandbox/home.html", projects=projects, total=len(visible))

    @blueprint.get("/dashboard/groups")
    def groups() -> ResponseReturnValue:
        memberships = world.memberships_of(signed_in_user(world))
        return render_template("sandbox/groups.html", memberships=memberships, roles=ROLES)

    @blueprint.route("/users/sign_in", methods=["GET", "POST"])
    def sign_in() -> ResponseReturnValue:
        if request.method == "POST":
            refuse_forged_forms()
            return _start(world, request.form.get("user[login]", "").strip(), request.form.get("user[password]", ""))
        return redirect(url_for("web.home")) if current_user(world) else _sign_in_page(world)

    # By POST only, as on a real GitLab: a link there leads to a 404.
    @blueprint.post("/users/sign_out")
    def sign_out() -> ResponseReturnValue:
        refuse_forged_forms()
        end_session()
        return redirect(url_for("web.sign_in"))


def _sign_in_page(world: World, login: str = "") -> str:
    colleagues = {username for username, _ in COLLEAGUES}
    people = [user for user in world.all_users() if not user.bot]
    # The last ones are those someone just created in the Admin area, the service user among them.
    leading = [user for user in people if user.username not in colleagues]
    return render_template(
        "sandbox/sign_in.html",
        login=login,
        accounts=leading[:ACCOUNTS_SHOWN] + leading[ACCOUNTS_SHOWN:][-ACCOUNTS_SHOWN:],
        colleagues=[user for user in people if user.username in colleagues],
    )


def _start(world: World, login: str, password: str) -> ResponseReturnValue:
    user = world.user_with_password(login, password)
    if user is None or user.state != "active":
        flash(INVALID_LOGIN if user is None else BLOCKED)
        return _sign_in_page(world, login), 422 if user is None else 403
    # Only our own paths are ever remembered, so this redirect cannot leave the sandbox.
    return redirect(start_session(user) or url_for("web.home"))
