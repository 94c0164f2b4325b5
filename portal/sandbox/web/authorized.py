"""Applications a person has authorized, and how to revoke them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, url_for
from flask.typing import ResponseReturnValue

from portal.sandbox.web.gate import signed_in_user
from portal.sandbox.web.places import settings_area

if TYPE_CHECKING:
    from portal.sandbox.world import World


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount `/oauth/authorized_applications/<id>`."""

    @blueprint.route("/oauth/authorized_applications/<int:application_id>", methods=["POST", "DELETE"])
    def revoke_authorization(application_id: int) -> ResponseReturnValue:
        world.oauth.revoke_application_of_user(application_id, signed_in_user(world).id)
        flash("The application was revoked access.")
        return redirect(url_for("web.user_applications", area=settings_area(world.release)))
