"""Light, dark, or as the system: a cookie, so that the server can set it before the first paint."""

from __future__ import annotations

from flask import Blueprint, Flask, Request, Response, request

from portal.accounts.rights import public
from portal.htmx import leave_to
from portal.security.addresses import safe_next

COOKIE = "theme"
THEMES = ("light", "dark", "auto")
YEAR_SECONDS = 31_536_000
blueprint = Blueprint("theme", __name__)


def add_theme(app: Flask) -> None:
    """Add the route."""
    app.register_blueprint(blueprint)


def chosen_theme(visit: Request) -> str:
    """Return the theme of a visit; `auto` until somebody chooses."""
    theme = visit.cookies.get(COOKIE, "auto")
    return theme if theme in THEMES else "auto"


@blueprint.post("/theme")
@public
def choose() -> Response:
    """Keep the choice and go back."""
    theme = request.form.get("theme", "auto")
    response = leave_to(safe_next(request.form.get("next")) or "/")
    response.set_cookie(
        COOKIE,
        theme if theme in THEMES else "auto",
        max_age=YEAR_SECONDS,
        samesite="Lax",
        path="/",
        secure=request.is_secure,
    )
    return response
