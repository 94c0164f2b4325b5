"""The page of a restored portal: what it means, what will be tried, and the button that lets it run."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, flash, url_for
from sqlalchemy.exc import SQLAlchemyError

from portal.actor import Right
from portal.copies.confirmation import Waiting, confirm_running, find_waiting
from portal.errors import Card
from portal.runtime import Runtime
from portal.storage import LASTING, card_of, trouble_of_folder
from portal.web.access import requires, signed_in
from portal.web.current import current_principal, current_runtime, find_principal
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render
from portal.web.proof import require_proof

blueprint = Blueprint("backup", __name__, url_prefix="/restored")


def register(app: Flask, _runtime: Runtime) -> None:
    """Add the routes, and the banner of every page."""
    app.register_blueprint(blueprint)
    app.add_template_global(restored_waiting)
    app.add_template_global(storage_card)


@blueprint.get("")
@signed_in
def show() -> Response:
    """Show what a restored portal does not do, and why."""
    may_confirm = current_principal().may(Right.CONFIRM_RESTORED)
    return render("backup/restored.html", waiting=find_waiting(current_runtime()), may_confirm=may_confirm)


@blueprint.post("")
@requires(Right.CONFIRM_RESTORED)
def confirm() -> Response:
    """Let the portal run again."""
    refuse_unknown_fields()
    require_proof(purpose="letting this copy run")
    count = confirm_running(current_runtime(), current_principal())
    if count is None:
        flash("It was already confirmed.", "message")
    else:
        tried = f" Credentials tried out before any is renewed: {count}." if count else ""
        flash(f"Confirmed. Jobs run again.{tried}", "success")
    return leave_to(url_for("connections.index"))


def restored_waiting() -> Waiting | None:
    """Return what the banner says; None if there is nothing to confirm or no one is signed in."""
    if find_principal() is None:
        return None
    try:
        return find_waiting(current_runtime())
    except SQLAlchemyError:
        return None  # The page that reports a broken database must not fail because of its banner.


def storage_card() -> Card | None:
    """Return what the banner says about a disk or a database that cannot be written; None if all is well."""
    if find_principal() is None:
        return None
    runtime = current_runtime()
    folder = runtime.settings.data_dir
    if trouble := trouble_of_folder(folder):
        return card_of(trouble, f"the data folder {folder.absolute()}")
    trouble = runtime.database.trouble
    return card_of(trouble, runtime.database.place) if trouble in LASTING else None
