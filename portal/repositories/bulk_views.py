"""The pages of changing everything that matches a view: what would happen, the progress, and what happened."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal.actor import Right
from portal.errors import BadRequest, Conflict, InvalidInput
from portal.repositories import bulk, details
from portal.repositories.forms import PANEL_FIELDS, as_file, view_of_form
from portal.repositories.models import ItemResult
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint("bulk", __name__, url_prefix="/repositories")
MAX_DIGITS = 9


def register(app: Flask) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/change")
@requires(Right.ENABLE_REPOSITORIES)
def ask() -> Response:
    """Show what would change, before anything does."""
    return _preview()


@blueprint.post("/change")
@requires(Right.ENABLE_REPOSITORIES)
def start() -> Response:
    """Start to change everything that matches, if that is still what the page showed."""
    refuse_unknown_fields(*PANEL_FIELDS, "do", "matching", "changing", "confirmation")
    form, view = request.form, view_of_form(request.form)
    numbers = [form.get(name, "") for name in ("matching", "changing")]
    if not all(text.isdecimal() and len(text) <= MAX_DIGITS for text in numbers):
        raise BadRequest
    try:
        job, is_new = bulk.start(
            current_runtime(),
            current_principal(),
            view.filters,
            enabled=_is_enabling(),
            matching=int(numbers[0]),
            changing=int(numbers[1]),
            confirmation=form.get("confirmation", ""),
        )
    except (Conflict, InvalidInput) as error:
        errors = getattr(error, "field_errors", None) or {"": error.sentence}
        return _preview(errors, error.status)
    if not is_new:
        flash("This was started a moment ago; here is how far it is.", "info")
    return leave_to(url_for(".show", public_id=job.public_id))


@blueprint.get("/changes/<public_id>")
@requires(Right.SEE_REPOSITORIES)
def show(public_id: str) -> Response:
    """Show how far a change is, and what happened to each repository; polled until it has ended."""
    page = bulk.load_page(current_runtime(), current_principal(), public_id)
    return render("repositories/changing.html", "repositories/_changing.html", page=page)


@blueprint.post("/changes/<public_id>/undo")
@requires(Right.ENABLE_REPOSITORIES)
def undo(public_id: str) -> Response:
    """Start to restore what a change did."""
    refuse_unknown_fields()
    job = bulk.start_undo(current_runtime(), current_principal(), public_id)
    return leave_to(url_for(".show", public_id=job.public_id))


@blueprint.post("/changes/<public_id>/export")
@requires(Right.SEE_REPOSITORIES)
def export(public_id: str) -> Response:
    """Return the result of every repository as a file."""
    refuse_unknown_fields("format")
    results = bulk.export_results(current_runtime(), current_principal(), public_id)
    rows = ({"result": bulk.RESULTS[ItemResult(item.result)], **details.export_row(row)} for item, row in results)
    return as_file("change", ("result", *details.COLUMNS), rows)


def _is_enabling() -> bool:
    do = request.values.get("do", "")
    if do not in {"enable", "disable"}:
        raise BadRequest
    return do == "enable"


def _preview(errors: dict[str, str] | None = None, status: int = 200) -> Response:
    view = view_of_form(request.values)
    found = bulk.preview(current_runtime(), current_principal(), view.filters, enabled=_is_enabling())
    return render("repositories/change.html", view=view, preview=found, errors=errors or {}, status=status)
