"""The page that asks whether repositories are gone that the last read no longer saw."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal.actor import Right
from portal.errors import BadRequest
from portal.repositories.unseen import Answer, decide, load_unseen
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint("unseen", __name__)


def register(app: Flask) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/connections/<slug>/unseen")
@requires(Right.MANAGE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show what was no longer seen, and ask."""
    connection, unseen = load_unseen(current_runtime(), current_principal(), slug)
    return render("repositories/unseen.html", connection=connection, unseen=unseen)


@blueprint.post("/connections/<slug>/unseen")
@requires(Right.MANAGE_CONNECTIONS)
def answer(slug: str) -> Response:
    """Do what was decided."""
    refuse_unknown_fields("do", "count")
    said, count = request.form.get("do", ""), request.form.get("count", "")
    if said not in set(Answer) or not (count.isascii() and count.isdigit() and len(count) < 10):
        raise BadRequest
    decided = Answer(said)
    done = decide(current_runtime(), current_principal(), slug, decided, promised=int(count))
    noun = "repository" if done == 1 else "repositories"
    if decided == Answer.GONE:
        flash(
            f"{done:,} {noun} marked as no longer there. If they come back, the next read shows them again.", "success"
        )
    else:
        flash(f"{done:,} {noun} kept. You will be asked again if a read misses others too.", "success")
    return leave_to(url_for("repositories.index", connection=slug))
