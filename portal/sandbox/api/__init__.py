"""The REST API of the sandbox, `/api/v4`."""

from __future__ import annotations

import base64
import secrets
import time
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, g, redirect, request, url_for
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as WerkzeugResponse

from portal.sandbox.api.answers import ApiError, answer, raw_answer
from portal.sandbox.web.session import current_user

if TYPE_CHECKING:
    from portal.sandbox.world import World

MAINTENANCE = "GitLab Maintenance: system is in maintenance mode"
READ_ONLY = "You cannot perform write operations on a read-only instance"
# Signing in and exchanging tokens keep working in both modes.
WRITES_ALLOWED = (
    "/oauth/token",
    "/oauth/revoke",
    "/oauth/introspect",
    "/users/sign_in",
    "/users/sign_out",
    "/-/sandbox/",
)
REQUEST_ID_BYTES = 15
# On every response, so that no one mistakes the sandbox for a GitLab. Anyone can send it: it proves nothing.
SANDBOX_HEADER = "X-Gatehouse-Sandbox"


def register(app: Flask, world: World) -> None:
    """Mount the API and what applies to every response of the sandbox."""
    from portal.sandbox.api import (
        applications,
        commits,
        environments,
        groups,
        histories,
        hooks,
        members,
        merge_requests,
        metadata,
        place_tokens,
        projects,
        repositories,
        throttle,
        tokens,
        users,
    )

    root = world.settings.relative_root
    blueprint = Blueprint("api", __name__, url_prefix=f"{root}/api/v4")
    parts = (
        metadata,
        users,
        groups,
        projects,
        members,
        hooks,
        repositories,
        histories,
        merge_requests,
        commits,
        environments,
        tokens,
        place_tokens,
        applications,
    )
    for part in parts:
        part.add_routes(blueprint, world)
    app.register_blueprint(blueprint)
    app.register_error_handler(ApiError, lambda error: answer(error.body, error.status, error.headers))
    app.register_error_handler(HTTPException, lambda error: _unmatched(world, error))
    app.before_request(_start)
    app.before_request(lambda: _refuse_writes(world))
    throttle.register(app, world)
    app.after_request(lambda response: _with_headers(root, response))


def _start() -> None:
    g.started_at = time.perf_counter()


def _unmatched(world: World, error: HTTPException) -> Response | HTTPException | WerkzeugResponse:
    """Answer requests that no route matched: JSON below `/api`; elsewhere a page, or the sign-in page for visitors."""
    root = world.settings.relative_root
    if request.path.startswith(f"{root}/api/v3/"):
        return answer({"error": "API V3 is no longer supported. Use API V4 instead."}, 410)
    if not request.path.startswith(f"{root}/api/"):
        is_route = error.code not in (404, 405)
        if is_route or not request.path.startswith(f"{root}/"):
            return error
        # A wrong method is not a route either. GET has a catch-all route, which asks people to sign in.
        strangers_read = request.method == "GET" and current_user(world) is None
        return redirect(url_for("web.sign_in")) if strangers_read else NotFound()
    if error.code == 405:
        return answer({"error": "405 Not Allowed"}, 405)
    if error.code == 404:
        return answer({"error": "404 Not Found"}, 404)
    return answer({"message": f"{error.code} {error.name}"}, error.code or 500)


def _refuse_writes(world: World) -> Response | None:
    settings = world.settings
    if request.method in ("GET", "HEAD", "OPTIONS") or not (settings.maintenance or settings.read_only):
        return None
    path = request.path.removeprefix(settings.relative_root)
    if path.startswith(WRITES_ALLOWED):
        return None
    status, message = (503, MAINTENANCE) if settings.maintenance else (403, READ_ONLY)
    if path.startswith("/api/"):
        return answer({"message": message}, status)
    return Response(message, status, content_type="text/html; charset=utf-8")


def _with_headers(root: str, response: Response) -> Response:
    request_id = "01" + base64.b32encode(secrets.token_bytes(REQUEST_ID_BYTES)).decode()
    headers = response.headers
    headers.setdefault(SANDBOX_HEADER, "demo")
    headers.setdefault("X-Request-Id", request_id)
    headers.setdefault("X-Runtime", f"{time.perf_counter() - g.get('started_at', time.perf_counter()):.6f}")
    headers.setdefault("X-Gitlab-Meta", f'{{"correlation_id":"{headers["X-Request-Id"]}","version":"1"}}')
    if request.path.startswith(f"{root}/api/"):
        headers.setdefault("Cache-Control", "max-age=0, private, must-revalidate")
        headers.setdefault("Vary", "Origin")
    else:
        headers.setdefault("X-Download-Options", "noopen")
        headers.setdefault("X-Permitted-Cross-Domain-Policies", "none")
        headers.setdefault("X-XSS-Protection", "1; mode=block")
        headers.setdefault("Referrer-Policy", "strict-origin-when-cross-origin")
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "SAMEORIGIN")
    return response


__all__ = ["ApiError", "answer", "raw_answer", "register"]
