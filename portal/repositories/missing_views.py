"""The page *Why is this repository not here?*"""

from __future__ import annotations

from flask import Blueprint, Flask, Response, request, url_for

from portal.actor import Right
from portal.errors import InvalidInput, RateLimited
from portal.repositories import missing
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.htmx import render

blueprint = Blueprint("missing", __name__)
MAX_SLUG = 64


def register(app: Flask) -> None:
    """Add the route."""
    app.register_blueprint(blueprint)


@blueprint.get("/repositories/missing")
@requires(Right.SEE_REPOSITORIES)
def index() -> Response:
    """Ask for a repository, and say why it is not in the list."""
    runtime, principal = current_runtime(), current_principal()
    typed = request.args.get("which", "").strip()[: missing.MAX_TYPED]
    slug = request.args.get("connection", "")[:MAX_SLUG]
    with runtime.database.reading() as session:
        connections, connection = missing.choose_connection(session, principal, slug, typed)
    answer, errors, status, wait = None, {}, 200, None
    if typed and connection is None:
        errors, status = {"connection": "Choose the connection whose list it is missing from."}, 422
    elif typed and connection is not None:
        try:
            answer = missing.find_missing(runtime, principal, connection, typed)
        except InvalidInput as error:
            errors, status = error.field_errors, error.status
        except RateLimited as error:
            errors, status, wait = {"which": error.sentence}, error.status, error.retry_after_seconds
    response = render(
        "repositories/missing.html",
        "repositories/_missing.html",
        status=status,
        connections=connections,
        connection=connection if slug or len(connections) == 1 else None,
        chosen=connection,
        typed=typed,
        answer=answer,
        errors=errors,
        may_read=principal.may(Right.MANAGE_CONNECTIONS),
        again_url=url_for(".index", connection=connection.slug, which=typed) if connection else "",
    )
    if wait:
        response.headers["Retry-After"] = str(wait)
    return response
