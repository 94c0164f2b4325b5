"""Everything the portal knows about htmx 4: which response a request wants, and the headers of responses.

`HX-*` request headers are hints about presentation, never a proof of anything.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, make_response, redirect, render_template
from htmx_flask import Htmx, request


def register(app: Flask) -> None:
    """Give requests their `htmx` attribute and answers their `Vary`."""
    Htmx(app)

    @app.after_request
    def vary(response: Response) -> Response:
        response.vary.add("HX-Request")
        return response


def wants_fragment() -> bool:
    """Return whether the response is swapped into a page: an htmx request, neither boosted nor from history."""
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def render(template: str, fragment: str | None = None, *, status: int = 200, **context: Any) -> Response:
    """Return the full page, or the fragment if htmx asked and there is one."""
    chosen = fragment if fragment and wants_fragment() else template
    return make_response(render_template(chosen, **context), status)


def leave_to(url: str) -> Response:
    """Send the browser to another page: 303, or `HX-Redirect` so that no page lands inside a fragment."""
    if request.headers.get("HX-Request") == "true":
        return Response(status=204, headers={"HX-Redirect": url})
    response = redirect(url, code=303)
    assert isinstance(response, Response)
    return response


def hx_trigger(response: Response, *events: str) -> Response:
    """Name events that other parts of the page wait for (`HX-Trigger`)."""
    response.headers["HX-Trigger"] = ", ".join(events)
    return response
