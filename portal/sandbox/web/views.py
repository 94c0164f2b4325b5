"""Puts the sandbox's pages together: session cookie, headers, what every template may use, routes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from portal.sandbox.web import applications, authorized, personal_tokens, sign_in, users, webhooks
from portal.sandbox.web.gate import guard
from portal.sandbox.web.places import settings_area
from portal.sandbox.web.session import configure_cookie, csrf_token, current_user, impersonator

if TYPE_CHECKING:
    from portal.sandbox.world import World

PACKAGE = Path(__file__).parents[2]
# In a checkout both folders are next to the package; in the wheel they are inside it.
ROOT = PACKAGE if (PACKAGE / "templates").is_dir() else PACKAGE.parent

# form-action is left out on purpose: Chromium applies it to the redirect that follows the consent form.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)


def register(app: Flask, world: World) -> None:
    """Mount the pages under the relative root."""
    root = world.settings.relative_root
    configure_cookie(app, root)
    blueprint = Blueprint(
        "web",
        __name__,
        url_prefix=root or None,
        template_folder=str(ROOT / "templates"),
        static_folder=str(ROOT / "static" / "sandbox"),
        static_url_path="/assets",
    )
    guard(blueprint, world, root)
    for pages in (sign_in, users, applications, authorized, personal_tokens, webhooks):
        pages.add_routes(blueprint, world)
    _add_network_settings(blueprint, world)
    blueprint.register_error_handler(HTTPException, _error_page)
    app.register_blueprint(blueprint)
    app.context_processor(lambda: _context(world))
    app.after_request(lambda response: _with_page_headers(world, response))


def _context(world: World) -> dict[str, Any]:
    return {
        "current_user": current_user(world),
        "impersonator": impersonator(world),
        "gitlab_version": world.settings.version,
        "csrf_field": _csrf_field,
        "home_path": url_for("web.home"),
        "settings_area": settings_area(world.release),
    }


def _csrf_field() -> Markup:
    return Markup('<input type="hidden" name="authenticity_token" value="{}">').format(csrf_token())


def _with_page_headers(world: World, response: Response) -> Response:
    """Give every page GitLab's framing rule and our content policy; COOP when switched on."""
    if response.mimetype == "text/html":
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
        if world.settings.coop_same_origin:
            response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if request.endpoint != "web.static":
            response.headers["Cache-Control"] = "max-age=0, private, must-revalidate, no-store"
    return response


def _error_page(error: HTTPException) -> ResponseReturnValue:
    return render_template("sandbox/error.html", error=error), error.code or 500


def _add_network_settings(blueprint: Blueprint, world: World) -> None:
    @blueprint.get("/admin/application_settings/network")
    def network() -> ResponseReturnValue:
        return render_template("sandbox/admin/network.html", settings=world.settings)

    @blueprint.post("/admin/application_settings/network")
    def save_network() -> ResponseReturnValue:
        world.change_settings(
            allow_local_hooks="allow_local_requests" in request.form,
            block_other_outbound="deny_all_requests_except_allowed" in request.form,
            outbound_allowlist=frozenset(request.form.get("outbound_local_requests_allowlist", "").split()),
        )
        flash("Application settings saved successfully")
        return redirect(url_for("web.network"))
