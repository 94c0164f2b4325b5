"""The page of a connection's credential."""

from __future__ import annotations

from flask import Blueprint, Flask, Response

from portal.actor import Right
from portal.connections.store import get_connection
from portal.credentials.history import load_history
from portal.runtime import Runtime
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.htmx import render

blueprint = Blueprint("credentials", __name__)


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/connections/<slug>/credential")
@requires(Right.SEE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show the history of every token pair of a connection."""
    runtime = current_runtime()
    connection = get_connection(runtime, current_principal(), slug)
    return render("credentials/credential.html", connection=connection, history=load_history(runtime, connection))
