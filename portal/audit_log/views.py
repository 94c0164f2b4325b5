"""The pages of the audit log: search, one event, export, and verification."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Flask, Response, request, url_for

from portal.actor import Right
from portal.audit.models import RESULTS
from portal.audit.service import Target, record
from portal.audit_log.export import COLUMNS, rows_of
from portal.audit_log.filters import KINDS, TIMES, Filters, read_number
from portal.audit_log.jobs import request_verification, verification_state
from portal.audit_log.search import find_event, iterate_events, list_events
from portal.audit_log.sentences import sentence_of
from portal.db import MAX_ID, utc_now
from portal.errors import BadRequest
from portal.exports import Format
from portal.runtime import Runtime
from portal.web.access import polling, requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof

blueprint = Blueprint("audit", __name__, url_prefix="/audit")


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes, and the filter that puts an event into words."""
    app.register_blueprint(blueprint)
    app.add_template_filter(partial(sentence_of, runtime), "sentence")


@blueprint.get("")
@requires(Right.SEE_AUDIT)
def index() -> Response:
    """Show the organization's events, newest first; filtered and paged by the address."""
    runtime, principal = current_runtime(), current_principal()
    # The page as it opens shows a week; an address with filters shows exactly what it asks for.
    filters = Filters.read(request.args if set(request.args) & set(Filters.FIELDS) else {**request.args, "days": "7"})
    search = filters.for_organization(principal.organization_id)
    before, after = read_number(request.args, "before"), read_number(request.args, "after")
    return render(
        "audit/index.html",
        "audit/_listing.html",
        page=list_events(runtime.database, search, before=before, after=after),
        filters=filters.fields(),
        kinds=KINDS,
        results=RESULTS,
        times=TIMES,
        verification=verification_state(runtime, principal.organization_id),
    )


@blueprint.get(f"/<int(max={MAX_ID}):number>")
@requires(Right.SEE_AUDIT)
def show(number: int) -> Response:
    """Show every field of one event."""
    event = find_event(current_runtime().database, current_principal().organization_id, number)
    return render("audit/show.html", event=event, filters=Filters.read(request.args).fields())


@blueprint.post("/export")
@requires(Right.SEE_AUDIT)
def export() -> Response:
    """Stream the events that match the filters as a file."""
    refuse_unknown_fields(*Filters.FIELDS, "format")
    filters = Filters.read(request.form)
    try:
        chosen = Format(request.form.get("format", ""))
    except ValueError:
        raise BadRequest("There is no such format.") from None
    require_proof(purpose="exporting the audit log", keep=(*Filters.FIELDS, "format"))
    runtime, principal = current_runtime(), current_principal()
    with runtime.database.transaction() as session:
        target = Target(principal.organization_id, "audit_log")
        record(session, principal.actor, "audit.exported", target, format=chosen.value, filters=filters.fields())
    events = iterate_events(runtime.database, filters.for_organization(principal.organization_id))
    name = f"audit-log-{utc_now():%Y-%m-%d}.{chosen.extension}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(chosen.lines(COLUMNS, rows_of(events)), content_type=chosen.media_type, headers=headers)


@blueprint.get("/verification")
@requires(Right.SEE_AUDIT)
@polling
def verification() -> Response:
    """Return the progress of the verification; polled until it has ended."""
    if not wants_fragment():
        return leave_to(url_for(".index"))
    state = verification_state(current_runtime(), current_principal().organization_id)
    return render("audit/_verification.html", verification=state)


@blueprint.post("/verification")
@requires(Right.SEE_AUDIT)
def verify() -> Response:
    """Start verifying the whole chain."""
    refuse_unknown_fields()
    runtime, principal = current_runtime(), current_principal()
    request_verification(runtime, principal)
    if not wants_fragment():
        return leave_to(url_for(".index"))
    state = verification_state(runtime, principal.organization_id)
    return render("audit/_verification.html", verification=state)
