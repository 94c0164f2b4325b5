"""The page of a repository's environments: the workflow, a promotion, and what is done with each of them."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, flash, request, url_for
from wtforms import StringField
from wtforms.validators import Length

from portal.actor import Right
from portal.db import MAX_ID
from portal.errors import Conflict, InvalidInput
from portal.gitops import promotions
from portal.gitops.environments import (
    MAX_NAME,
    TIERS,
    can_change,
    create_environment,
    delete_environment,
    find_enabled,
    list_environments,
    stop_environment,
)
from portal.runtime import Runtime
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import StrictForm, answer_form, refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint(
    "environments", __name__, url_prefix=f"/repositories/<int(max={MAX_ID}):repository_id>/environments"
)
ONE = f"/<int(max={MAX_ID}):environment_id>"


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


class EnvironmentForm(StrictForm):
    """A new environment."""

    name = StringField("Name", [Length(max=MAX_NAME, message="That is too long.")])
    external_url = StringField(
        "Address",
        [Length(max=MAX_NAME, message="That is too long.")],
        description="Where it can be opened.",
    )
    tier = StringField("Tier", [Length(max=MAX_NAME)])


@blueprint.get("")
@requires(Right.SEE_REPOSITORIES)
def index(repository_id: int) -> Response:
    """Show the environments; with `to` and `version`, what a promotion would change."""
    runtime, principal = current_runtime(), current_principal()
    row = find_enabled(runtime, principal, repository_id)
    found = list_environments(runtime, row)
    workflow = promotions.load_workflow(runtime, row, found.lines) if found.lines else None
    name, version = request.args.get("to", ""), request.args.get("version", "").strip()
    shown, problem = None, ""
    if name and workflow and version:
        try:
            shown = promotions.preview(runtime, row, workflow, name, version)
        except (Conflict, InvalidInput) as error:
            problem = error.sentence
    return render(
        "gitops/environments.html",
        row=row,
        found=found,
        workflow=workflow,
        shown=shown,
        problem=problem,
        chosen=name,
        can_change=can_change(row),
    )


@blueprint.post("/promote")
@requires(Right.ENABLE_REPOSITORIES)
def promote(repository_id: int) -> Response:
    """Commit a promotion that was shown, or open a merge request for it."""
    refuse_unknown_fields("to", "version", "known")
    runtime, principal = current_runtime(), current_principal()
    row = find_enabled(runtime, principal, repository_id)
    workflow = promotions.load_workflow(runtime, row, list_environments(runtime, row).lines)
    if workflow is None:
        raise Conflict("GitLab did not say which versions run where. Try again later.")
    name, version, known = (request.form.get(field, "") for field in ("to", "version", "known"))
    url = promotions.promote(runtime, principal, repository_id, workflow, name, version, known)
    if url:
        flash(f"The merge request for {version} is open. GitLab deploys after it is merged.", "success")
    else:
        flash(f"{version} is committed to {workflow.branch}. GitLab deploys it.", "success")
    return leave_to(url_for(".index", repository_id=repository_id))


@blueprint.route("/new", methods=["GET", "POST"])
@requires(Right.ENABLE_REPOSITORIES)
def new(repository_id: int) -> Response:
    """Create an environment."""
    runtime, principal, form = current_runtime(), current_principal(), EnvironmentForm()
    row = find_enabled(runtime, principal, repository_id)

    def act() -> Response:
        name = form.text("name").strip()
        create_environment(
            runtime, principal, repository_id, name, form.text("external_url").strip(), form.text("tier")
        )
        flash(f"{name} is created.", "success")
        return leave_to(url_for(".index", repository_id=repository_id))

    tiers = [("", "As the name says"), *((tier, tier.capitalize()) for tier in TIERS)]
    return answer_form(form, lambda: render("gitops/new.html", row=row, form=form, tiers=tiers), act)


@blueprint.post(f"{ONE}/stop")
@requires(Right.ENABLE_REPOSITORIES)
def stop(repository_id: int, environment_id: int) -> Response:
    """Stop an environment."""
    refuse_unknown_fields()
    name = stop_environment(current_runtime(), current_principal(), repository_id, environment_id)
    flash(f"{name} is stopped, or stops once its job in GitLab has run.", "success")
    return leave_to(url_for(".index", repository_id=repository_id))


@blueprint.post(f"{ONE}/delete")
@requires(Right.ENABLE_REPOSITORIES)
def delete(repository_id: int, environment_id: int) -> Response:
    """Delete a stopped environment."""
    refuse_unknown_fields()
    name = delete_environment(current_runtime(), current_principal(), repository_id, environment_id)
    flash(f"{name} is deleted.", "success")
    return leave_to(url_for(".index", repository_id=repository_id))
