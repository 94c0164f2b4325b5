"""The page of a connection's credential, and the rotation of an access token."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal.actor import Right
from portal.connections.store import get_connection
from portal.credentials.access_tokens import choose_rotation, rotate_now
from portal.credentials.history import load_history
from portal.runtime import Runtime
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint("credentials", __name__, url_prefix="/connections/<slug>/credential")


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("")
@requires(Right.SEE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show the credential and its history."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    return render(
        "credentials/credential.html",
        connection=connection,
        history=load_history(runtime, connection),
        may_manage=principal.may(Right.MANAGE_CONNECTIONS),
    )


@blueprint.post("/rotation")
@requires(Right.MANAGE_CONNECTIONS)
def rotation(slug: str) -> Response:
    """Switch the rotation before the end on or off."""
    refuse_unknown_fields("is_wanted")
    choose_rotation(current_runtime(), current_principal(), slug, is_wanted=request.form.get("is_wanted") == "1")
    return leave_to(url_for(".show", slug=slug))


@blueprint.post("/rotate")
@requires(Right.MANAGE_CONNECTIONS)
def rotate(slug: str) -> Response:
    """Rotate the access token now."""
    refuse_unknown_fields()
    if rotate_now(current_runtime(), current_principal(), slug):
        flash("GitLab issued the next token, and it is in use.", "success")
    else:
        flash("The token was not rotated. This page says what happened.", "warning")
    return leave_to(url_for(".show", slug=slug))
