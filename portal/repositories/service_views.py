"""The page of one repository: its services, and the role held against the role needed."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal.actor import Right
from portal.db import MAX_ID
from portal.errors import InvalidInput
from portal.repositories.services import load_repository, needs_of, role_to_give, save_services
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint("services", __name__, url_prefix=f"/repositories/<int(max={MAX_ID}):repository_id>")


def register(app: Flask) -> None:
    """Add the routes, and what marks a role that is too low in the list."""
    app.register_blueprint(blueprint)
    app.add_template_filter(role_to_give, "role_to_give")


@blueprint.get("")
@requires(Right.SEE_REPOSITORIES)
def show(repository_id: int) -> Response:
    """Show a repository."""
    return _page(repository_id)


@blueprint.post("")
@requires(Right.ENABLE_REPOSITORIES)
def save(repository_id: int) -> Response:
    """Choose its services."""
    refuse_unknown_fields(many=("services",))
    try:
        save_services(current_runtime(), current_principal(), repository_id, request.form.getlist("services"))
    except InvalidInput as error:
        return _page(repository_id, error.sentence, error.status)
    flash("Services saved.", "success")
    return leave_to(url_for(".show", repository_id=repository_id))


def _page(repository_id: int, problem: str = "", status: int = 200) -> Response:
    runtime, principal = current_runtime(), current_principal()
    row = load_repository(runtime, principal, repository_id)
    providers = [provider for capability in runtime.capabilities.all for provider in capability.repository_panels]
    panels = [panel for provider in providers for panel in provider(runtime, principal, row)]
    return render(
        "repositories/repository.html", status=status, row=row, needs=needs_of(row), problem=problem, panels=panels
    )
