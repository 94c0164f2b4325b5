"""The pages on which people ask for repositories, and on which others answer."""

from __future__ import annotations

from datetime import date

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal.actor import Right
from portal.db import MAX_ID
from portal.errors import BadRequest, InvalidInput
from portal.repositories import requests
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint("requests", __name__)


def register(app: Flask) -> None:
    """Add the routes, and what the pages below *Repositories* show of requests."""
    app.register_blueprint(blueprint)
    app.add_template_global(_waiting, "waiting_requests")


def _waiting() -> int:
    return requests.count_waiting(current_runtime(), current_principal())


@blueprint.get("/repositories/requests")
@requires(Right.SEE_REPOSITORIES)
def index() -> Response:
    """Show what is asked for, and what was answered lately."""
    return _render({})


@blueprint.route(f"/repositories/<int(max={MAX_ID}):repository_id>/request", methods=["GET", "POST"])
@requires(Right.SEE_REPOSITORIES)
def ask(repository_id: int) -> Response:
    """Ask for one repository."""
    refuse_unknown_fields("reason")
    runtime, principal = current_runtime(), current_principal()
    row = requests.row_to_ask_for(runtime, principal, repository_id)
    errors: dict[str, str] = {}
    reason = request.form.get("reason", "")
    if request.method == "POST":
        try:
            requests.ask(runtime, principal, repository_id, reason)
        except InvalidInput as error:
            errors = error.field_errors
        else:
            flash(f"You asked for {row.repository.path_with_namespace}. People who may enable it see that.", "success")
            return leave_to(url_for(".index"))
    status = InvalidInput.status if errors else 200
    return render(
        "repositories/ask.html", status=status, row=row, reason=reason, errors=errors, connection=row.connection
    )


@blueprint.post(f"/repositories/requests/<int(max={MAX_ID}):request_id>")
@requires(Right.SEE_REPOSITORIES)
def answer(request_id: int) -> Response:
    """Approve, decline or withdraw one request."""
    refuse_unknown_fields("do", "answer", "ends_on")
    runtime, principal, said = current_runtime(), current_principal(), request.form.get("do", "")
    if said == "withdraw":
        requests.withdraw(runtime, principal, request_id)
        flash("Your request is withdrawn.", "success")
        return leave_to(url_for(".index"))
    if said not in {"approve", "decline"}:
        raise BadRequest
    typed = request.form.get("answer", ""), request.form.get("ends_on", "")
    try:
        try:
            ends_on = date.fromisoformat(typed[1]) if typed[1] else None
        except ValueError:
            raise InvalidInput(field_errors={"ends_on": "Enter a date, such as 2027-03-31."}) from None
        path = requests.decide(
            runtime, principal, request_id, is_approved=said == "approve", answer=typed[0], ends_on=ends_on
        )
    except InvalidInput as error:
        return _render(error.field_errors, request_id, typed)
    flash(f"{path} is enabled." if said == "approve" else f"You declined the request for {path}.", "success")
    return leave_to(url_for(".index"))


def _render(errors: dict[str, str], request_id: int = 0, typed: tuple[str, str] = ("", "")) -> Response:
    principal = current_principal()
    waiting, ended = requests.list_requests(current_runtime(), principal)
    return render(
        "repositories/requests.html",
        status=InvalidInput.status if errors else 200,
        waiting=waiting,
        ended=ended,
        may_answer=principal.may(Right.ENABLE_REPOSITORIES),
        may_ask=requests.may_ask(principal),
        errors=errors,
        wrong_id=request_id,
        typed=typed,
    )
