"""Response headers: what browsers may load, keep and frame (S11, S13, S14)."""

from __future__ import annotations

from flask import Response, request

from portal.web.access import has_mark
from portal.web.current import find_principal

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "object-src 'none'",
    )
)
YEAR_SECONDS = 31_536_000


def add_headers(response: Response, *, is_https: bool) -> Response:
    """Set all headers on a response, including errors and static files."""
    popup = has_mark("opens_popup")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin-allow-popups" if popup else "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    if is_https:
        response.headers["Strict-Transport-Security"] = f"max-age={YEAR_SECONDS}"
    if request.endpoint == "static" and response.status_code in {200, 304}:
        # Not under another version's digest: during an update, both versions run for a while.
        is_named = (response.get_etag()[0] or "").partition("-")[0] == request.args.get("v")
        fresh = f"public, max-age={YEAR_SECONDS}, immutable" if is_named else "no-cache"
        response.headers["Cache-Control"] = fresh
        return response
    response.headers["Cache-Control"] = "no-store"
    if find_principal() is not None:
        response.vary.add("Cookie")
    return response
