"""Light, dark, or as the system: a cookie, so that the server can set it before the first paint."""

from __future__ import annotations

from flask import Blueprint, Flask, Request, Response, request

from portal.web.access import public
from portal.web.addresses import safe_next
from portal.web.current import current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to

THEMES = ("light", "dark", "auto")
YEAR_SECONDS = 31_536_000
blueprint = Blueprint("theme", __name__)


def add_theme(app: Flask) -> None:
    """Add the route."""
    app.register_blueprint(blueprint)


def chosen_theme(visit: Request) -> str:
    """Return the theme for this browser; `auto` until someone chooses one."""
    theme = visit.cookies.get(_cookie_name(), "auto")
    return theme if theme in THEMES else "auto"


@blueprint.post("/theme")
@public
def choose() -> Response:
    """Store the choice and go back."""
    refuse_unknown_fields("theme")
    theme = request.form.get("theme", "auto")
    response = leave_to(safe_next(request.form.get("next")) or "/")
    response.set_cookie(
        _cookie_name(),
        theme if theme in THEMES else "auto",
        max_age=YEAR_SECONDS,
        httponly=True,  # No script reads it: the server writes the theme into the page.
        samesite="Lax",
        path="/",
        secure=current_runtime().settings.is_https,  # Not request.is_secure: behind a proxy the request is plain HTTP.
    )
    return response


def _cookie_name() -> str:
    return "__Host-theme" if current_runtime().settings.is_https else "theme"
