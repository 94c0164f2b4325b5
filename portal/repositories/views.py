"""The selection panel: as step 6 of a walkthrough and as its own page; enabling, disabling, reading again."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, flash, make_response, render_template, request, url_for

from portal import audit
from portal.actor import Right
from portal.connections.models import ConnectionState
from portal.connections.steps import Step, previous_url, rail, step_to_do_first
from portal.connections.store import get_connection, get_connection_for_admin, mark_step_done
from portal.db import read_id
from portal.errors import BadRequest, Conflict, InvalidInput
from portal.foreign import Path
from portal.repositories import (
    bulk_views,
    details,
    grant_views,
    missing_views,
    request_views,
    review_views,
    rule_views,
    service_views,
    unseen_views,
)
from portal.repositories.availability import explain, role_name
from portal.repositories.catalogue.run import enqueue_catalogue_read
from portal.repositories.enablement import MAX_AT_ONCE, set_enabled
from portal.repositories.forms import PANEL_FIELDS, as_file, read_filters, view_of_form
from portal.repositories.grants import whom_to_ask
from portal.repositories.selection import (
    PanelView,
    SelectionPanel,
    is_as_seen,
    iterate_rows,
    load_panel,
    open_group,
)
from portal.runtime import Runtime
from portal.web.access import polling, requires
from portal.web.addresses import safe_next
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment

blueprint = Blueprint("repositories", __name__)


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes, and the panel on the connection's details page."""
    app.register_blueprint(blueprint)
    app.add_template_filter(explain, "availability")
    app.add_template_filter(role_name, "role")
    app.add_template_global(_counts, "repository_counts")
    bulk_views.register(app)
    grant_views.register(app)
    missing_views.register(app)
    rule_views.register(app)
    request_views.register(app)
    review_views.register(app)
    service_views.register(app)
    unseen_views.register(app)


@blueprint.get("/repositories/")
@requires(Right.SEE_REPOSITORIES)
def index() -> Response:
    """Show the selection panel over all connections, or the one the address names."""
    runtime, principal = current_runtime(), current_principal()
    view = PanelView(read_filters(request.args), url_for(".index"), fixed=False)
    panel = load_panel(runtime, principal, view)
    return _render_panel("repositories/index.html", panel, ask=whom_to_ask(runtime, principal))


@blueprint.get("/connections/<slug>/setup/repositories")
@requires(Right.MANAGE_CONNECTIONS)
def setup(slug: str) -> Response:
    """Show step 6: the selection panel of one connection, filling while GitLab is being read."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    if first := step_to_do_first(connection, Step.REPOSITORIES):
        return leave_to(first)
    view = PanelView(read_filters(request.args, connection=slug), url_for(".setup", slug=slug), fixed=True)
    panel = load_panel(runtime, principal, view)
    return _render_panel(
        "repositories/setup.html",
        panel,
        connection=connection,
        rail=rail(connection, Step.REPOSITORIES),
        back_url=previous_url(connection, Step.REPOSITORIES),
    )


@blueprint.post("/connections/<slug>/setup/repositories")
@requires(Right.MANAGE_CONNECTIONS)
def finish(slug: str) -> Response:
    """Finish the walkthrough."""
    refuse_unknown_fields()
    runtime, principal = current_runtime(), current_principal()
    with runtime.database.transaction() as session:
        mark_step_done(session, get_connection_for_admin(session, principal, slug), Step.REPOSITORIES)
    return leave_to(url_for(".finished", slug=slug))


@blueprint.get("/connections/<slug>/setup/finished")
@requires(Right.MANAGE_CONNECTIONS)
def finished(slug: str) -> Response:
    """Show what is connected, and what people can do next."""
    connection = get_connection(current_runtime(), current_principal(), slug)
    if first := step_to_do_first(connection, Step.REPOSITORIES):
        return leave_to(first)
    counts = _counts().get(connection.id or 0, (0, 0))
    return render("connections/finished.html", connection=connection, counts=counts)


def _counts() -> dict[int, tuple[int, int]]:
    return details.counts_by_connection(current_runtime(), current_principal())


@blueprint.get("/connections/<slug>/catalogue")
@requires(Right.SEE_REPOSITORIES)
@polling
def progress(slug: str) -> Response:
    """Return the progress of the read, with the rows that have arrived; polled until the read has ended."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)  # A foreign one is a 404, not an empty list.
    view = view_of_form(request.args, slug)
    if not wants_fragment():
        return leave_to(view.url())
    if is_as_seen(runtime, principal, connection, request.args.get("seen", "")):
        return Response(status=204)
    panel = load_panel(runtime, principal, view)
    notices = details.load_notices(current_runtime(), current_principal(), panel.connection)
    return make_response(render_template("repositories/progress.hx.html", panel=panel, notices=notices))


@blueprint.get("/repositories/groups")
@requires(Right.SEE_REPOSITORIES)
def groups() -> Response:
    """Return a level of the tree, for someone who opens a group in it."""
    view = view_of_form(request.args)
    if not wants_fragment():
        return leave_to(view.url())
    parent, after = (Path(request.args.get(name, "")) for name in ("parent", "from"))
    level = open_group(current_runtime(), current_principal(), view.filters.connection, parent, after)
    response = make_response(
        render_template("repositories/groups.hx.html", panel=view, level=level, is_rest=bool(after))
    )
    response.headers["HX-Push-Url"] = "false"  # Otherwise the address bar would show a piece of the page.
    return response


@blueprint.post("/connections/<slug>/catalogue")
@requires(Right.MANAGE_CONNECTIONS)
def read(slug: str) -> Response:
    """Read the catalogue again, unless a read is already running."""
    refuse_unknown_fields()
    runtime, principal = current_runtime(), current_principal()
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        if connection.state == ConnectionState.DISCONNECTED:
            raise Conflict("This connection is disconnected, so GitLab cannot be read. Connect it again first.")
        enqueue_catalogue_read(session, connection, principal.actor)
        audit.record(session, principal.actor, "catalogue.read_requested", connection.target)
    return leave_to(safe_next(request.form.get("next", "")) or url_for(".index", connection=slug))


@blueprint.post("/repositories/enable")
@requires(Right.ENABLE_REPOSITORIES)
def enable() -> Response:
    """Enable one or several repositories."""
    return _change(enabled=True)


@blueprint.post("/repositories/disable")
@requires(Right.ENABLE_REPOSITORIES)
def disable() -> Response:
    """Disable one or several repositories."""
    return _change(enabled=False)


@blueprint.post("/repositories/export")
@requires(Right.SEE_REPOSITORIES)
def export() -> Response:
    """Stream what matches the view as a file."""
    refuse_unknown_fields(*PANEL_FIELDS, "format")
    runtime, principal, filters = current_runtime(), current_principal(), read_filters(request.form)
    with runtime.database.transaction() as session:
        target = audit.Target(principal.organization_id, "repositories")
        parameters = filters.parameters()
        audit.record(session, principal.actor, "repository.list_exported", target, filters=parameters)
    rows = map(details.export_row, iterate_rows(runtime, principal, filters))
    return as_file("repositories", details.COLUMNS, rows)


def _change(*, enabled: bool) -> Response:
    refuse_unknown_fields(*PANEL_FIELDS, "repository_ids", "scope", many=("repository_id", "only"))
    if request.form.get("scope") == "matching" and not request.form.get("only"):
        chosen = {"do": "enable" if enabled else "disable", "on": request.form.get("on", ""), "sort": ""}
        return leave_to(f"{url_for('bulk.ask')}?{urlencode(read_filters(request.form).parameters(**chosen))}")
    change = set_enabled(current_runtime(), current_principal(), _chosen_ids(), enabled=enabled)
    panel = load_panel(current_runtime(), current_principal(), view_of_form(request.form))
    if wants_fragment():
        return make_response(render_template("repositories/change.hx.html", change=change, panel=panel))
    flash(change.sentence, "success")
    return leave_to(panel.url())


def _chosen_ids() -> list[int]:
    """Return what a row's own button, the ticked boxes or *Undo* select, in this order."""
    form = request.form
    values = form.getlist("only") or form.get("repository_ids", "").split(",")
    values = [value for value in values if value] or form.getlist("repository_id")
    ids = [number for value in values if (number := read_id(value)) is not None]
    if len(ids) != len(values):
        raise BadRequest
    if not values:
        raise InvalidInput("Choose at least one repository first.")
    if len(values) > MAX_AT_ONCE:
        raise InvalidInput(f"Choose at most {MAX_AT_ONCE} repositories at once.")
    return ids


def _render_panel(page: str, panel: SelectionPanel, **context: Any) -> Response:
    notices = details.load_notices(current_runtime(), current_principal(), panel.connection)
    return render(page, "repositories/listing.hx.html", panel=panel, notices=notices, **context)
