"""Who may open which page: everyone signs in first, and the Admin area does not exist for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, abort, redirect, request, url_for
from flask.typing import ResponseReturnValue

from portal.sandbox.web.session import current_user, refuse_forged_forms, remember_destination

if TYPE_CHECKING:
    from portal.sandbox.world import User, World

PUBLIC_ENDPOINTS = frozenset({"web.sign_in", "web.sign_out", "web.static"})
STOP_IMPERSONATING = "web.stop_impersonating"


def signed_in_user(world: World) -> User:
    """Return who is signed in; the gate has made sure that someone is."""
    user = current_user(world)
    if user is None:
        abort(401)
    return user


def guard(blueprint: Blueprint, world: World, relative_root: str) -> None:
    """Check every request of these pages before its view runs."""
    admin_prefix = f"{relative_root}/admin/"

    @blueprint.before_request
    def check() -> ResponseReturnValue | None:
        if request.endpoint in PUBLIC_ENDPOINTS:
            return None
        user = current_user(world)
        if user is None:
            if request.method == "GET":
                remember_destination()
            return redirect(url_for("web.sign_in"))
        refuse_forged_forms()
        if request.path.startswith(admin_prefix) and not user.admin and request.endpoint != STOP_IMPERSONATING:
            abort(404)
        return None
