"""The page of the periodic review."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal import audit
from portal.actor import Right
from portal.db import MAX_ID, read_id
from portal.errors import BadRequest
from portal.repositories import review
from portal.repositories.enablement import set_enabled
from portal.repositories.forms import as_file
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint("review", __name__)
COLUMNS: tuple[str, ...] = (
    *("connection", "path", "gitlab_project_id", "enabled_by", "enabled_at", "ends_at"),
    *("reviewed_by", "reviewed_at", "last_activity_at"),
)


def register(app: Flask) -> None:
    """Add the routes, and what the pages below *Repositories* show of the review."""
    app.register_blueprint(blueprint)
    app.add_template_global(_created_again, "created_again_count")


def _created_again() -> int:
    principal = current_principal()
    may_answer = principal.may(Right.ENABLE_REPOSITORIES)
    return review.count_created_again(current_runtime(), principal) if may_answer else 0


@blueprint.get("/repositories/review")
@requires(Right.ENABLE_REPOSITORIES)
def index() -> Response:
    """Show what is enabled and due for a review, or everything that is enabled."""
    principal = current_principal()
    found = review.load_review(
        current_runtime(), principal, is_everything="all" in request.args, after=request.args.get("after", "")
    )
    may_schedule = principal.may(Right.MANAGE_CONNECTIONS)
    return render("repositories/review.html", found=found, may_schedule=may_schedule, choices=review.EVERY_MONTHS)


@blueprint.post("/repositories/review")
@requires(Right.ENABLE_REPOSITORIES)
def answer() -> Response:
    """Keep or disable the chosen repositories, or one of them."""
    refuse_unknown_fields("keep", "disable", "do", many=("repository_id",))
    runtime, principal, form = current_runtime(), current_principal(), request.form
    said = next((name for name in ("keep", "disable") if name in form), form.get("do", ""))
    if said not in {"keep", "disable"}:
        raise BadRequest
    only = form.get(said)
    ids = [number for text in ([only] if only else form.getlist("repository_id")) if (number := read_id(text))]
    if not ids:
        flash("Select repositories first.", "warning")
    elif said == "keep":
        count = review.keep(runtime, principal, ids)
        flash(f"{count:,} {'repository stays' if count == 1 else 'repositories stay'} enabled.", "success")
    else:
        flash(set_enabled(runtime, principal, ids, enabled=False).sentence, "success")
    return leave_to(url_for(".index"))


@blueprint.post("/repositories/review/schedule")
@requires(Right.MANAGE_CONNECTIONS)
def schedule() -> Response:
    """Set how often what is enabled is reviewed."""
    refuse_unknown_fields("months")
    months = request.form.get("months", "")
    if months not in {str(choice) for choice in review.EVERY_MONTHS}:
        raise BadRequest
    review.set_schedule(current_runtime(), current_principal(), int(months))
    flash(
        f"What is enabled is due every {months} months." if int(months) else "Nothing is due for a review.", "success"
    )
    return leave_to(url_for(".index"))


@blueprint.post(f"/repositories/review/again/<int(max={MAX_ID}):repository_id>")
@requires(Right.ENABLE_REPOSITORIES)
def created_again(repository_id: int) -> Response:
    """Enable what was created again under the path of an enabled repository, or leave it."""
    refuse_unknown_fields("do")
    said = request.form.get("do", "")
    if said not in {"enable", "leave"}:
        raise BadRequest
    path = review.answer_created_again(
        current_runtime(), current_principal(), repository_id, is_wanted=said == "enable"
    )
    flash(f"{path} is enabled." if said == "enable" else f"{path} stays as it is.", "success")
    return leave_to(url_for(".index"))


@blueprint.post("/repositories/review/export")
@requires(Right.ENABLE_REPOSITORIES)
def export() -> Response:
    """Return everything that is enabled as a file."""
    refuse_unknown_fields("format")
    runtime, principal = current_runtime(), current_principal()
    with runtime.database.transaction() as session:
        target = audit.Target(principal.organization_id, "repositories")
        audit.record(session, principal.actor, "repository.list_exported", target, filters={"state": "enabled"})
    return as_file("enabled-repositories", COLUMNS, map(_row_of, review.iterate_review(runtime, principal)))


def _row_of(entry: review.Entry) -> dict[str, object]:
    def told(at: datetime | None) -> str:
        return at.isoformat() if at else ""

    row = entry.enablement
    return {
        "connection": entry.connection.display_name,
        "path": entry.repository.path_with_namespace,
        "gitlab_project_id": entry.repository.gitlab_project_id,
        "enabled_by": entry.enabler or ("a rule" if row.rule_id is not None else ""),
        "enabled_at": told(row.enabled_at),
        "ends_at": told(row.ends_at),
        "reviewed_by": entry.reviewer,
        "reviewed_at": told(row.reviewed_at),
        "last_activity_at": told(entry.repository.last_activity_at),
    }
