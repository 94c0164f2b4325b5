"""The page of the audit log."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, request, url_for

from portal.accounts.principal import current_principal
from portal.accounts.rights import Right, requires
from portal.audit.service import list_actions, list_events
from portal.errors import BadRequest
from portal.htmx import render
from portal.runtime import Runtime, current_runtime

blueprint = Blueprint("audit", __name__)
MAX_QUERY = 100
MAX_DIGITS = 18


def register(app: Flask, runtime: Runtime) -> None:
    """Add the route."""
    app.register_blueprint(blueprint)


@blueprint.get("/audit")
@requires(Right.SEE_AUDIT)
def index() -> Response:
    """Show the organization's events, newest first; filtered and paged by the address."""
    runtime, principal = current_runtime(), current_principal()
    action, actor = request.args.get("action", "")[:MAX_QUERY], request.args.get("actor", "")[:MAX_QUERY]
    page = list_events(runtime.database, principal.organization_id, action=action, actor=actor, before=_read_before())
    older = url_for(".index", action=action, actor=actor, before=page.next_before) if page.next_before else None
    return render(
        "audit/index.html",
        page=page,
        actions=list_actions(runtime.database, principal.organization_id),
        action=action,
        actor=actor,
        older=older,
    )


def _read_before() -> int | None:
    text = request.args.get("before", "")
    if text and not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise BadRequest
    return int(text) if text else None
