"""What every step's views have in common: load the connection, go to the step that comes first, render the page."""

from __future__ import annotations

from typing import Any

from flask import Response, flash, url_for

from portal.connections import instance, store
from portal.connections.models import Connection
from portal.connections.steps import STEPS, Step, previous_url, rail, step_to_do_first
from portal.errors import Card, RateLimited
from portal.web.current import current_principal, current_runtime
from portal.web.htmx import leave_to, render


def load_connection(slug: str) -> Connection:
    """Return the connection of an address, as far as this person may see it."""
    return store.get_connection(current_runtime(), current_principal(), slug)


def go_first(connection: Connection, step: Step) -> Response | None:
    """Return the way to an earlier step that is not done yet; None if this one may be shown or done."""
    url = step_to_do_first(connection, step)
    if url is None:
        return None
    flash("This step comes first.", "info")
    return leave_to(url)


def render_step(
    connection: Connection, step: Step, *, errors: dict[str, Any] | None = None, status: int = 0, **context: Any
) -> Response:
    """Render a step's page; 422 when something is wrong with what was entered."""
    refused = bool(errors) or context.get("card") is not None
    return render(
        f"connections/setup/{step}.html",
        status=status or (422 if refused else 200),
        connection=connection,
        errors=errors or {},
        rail=rail(connection, step),
        back_url=previous_url(connection, step) if step in STEPS else "",
        cancel_url="" if connection.authorized_at else url_for("connections.cancel", slug=connection.slug),
        is_sandbox=instance.is_sandbox(current_runtime(), connection),
        **context,
    )


def say_when(response: Response, error: RateLimited) -> Response:
    """Tell programs, too, when the next try is allowed."""
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def waiting_card(error: RateLimited) -> Card:
    """Return what a page shows, with everything that was typed, when something was asked too often."""
    return Card(error.code, {"sentence": error.sentence})
