"""The list of connections, step 1, and the details page; steps 2 to 5 and 7 are in `setup_views`."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, render_template, url_for
from markupsafe import Markup

from portal.accounts.principal import current_principal
from portal.accounts.rights import Right, requires
from portal.connections import setup_views
from portal.connections.forms import MethodForm, RenameForm
from portal.connections.models import Connection, ConnectionState, Method, name_key_of
from portal.connections.panels import panels_for
from portal.connections.service import applications, checklist, connections, instance
from portal.connections.steps import Step, first_open_step, next_url, rail, step_url
from portal.errors import Card, InvalidInput
from portal.forms import problems_of
from portal.htmx import leave_to, render
from portal.runtime import Runtime, current_runtime

blueprint = Blueprint("connections", __name__, url_prefix="/connections")
DEFAULT_NAME = "GitLab"


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    if not blueprint._got_registered_once:
        setup_views.add_routes(blueprint)
    app.register_blueprint(blueprint)
    app.add_template_filter(step_url, "step_url")
    app.add_template_global(_is_in_clear, "is_in_clear")


@blueprint.get("/")
@requires(Right.SEE_CONNECTIONS)
def index() -> Response:
    """Show every connection of the organization, and the way to a new one."""
    principal = current_principal()
    found = connections.list_connections(current_runtime(), principal)
    return render(
        "connections/index.html",
        connections=found,
        may_manage=principal.may(Right.MANAGE_CONNECTIONS),
        is_included=connections.is_included(principal),
    )


@blueprint.get("/new")
@requires(Right.MANAGE_CONNECTIONS)
def new() -> Response:
    """Show step 1."""
    principal = current_principal()
    taken = {item.name_key for item in connections.list_connections(current_runtime(), principal)}
    name = DEFAULT_NAME if name_key_of(DEFAULT_NAME) not in taken else ""
    return _render_new(MethodForm(data={"display_name": name, "method": Method.OAUTH}))


@blueprint.post("/new")
@requires(Right.MANAGE_CONNECTIONS)
def create() -> Response:
    """Make the draft and go on to step 2."""
    form = MethodForm()
    if not form.validate():
        return _render_new(form, errors=problems_of(form))
    try:
        made = connections.create_draft(
            current_runtime(), current_principal(), form.display_name.data or "", Method(form.method.data)
        )
    except InvalidInput as error:
        return _render_new(form, errors=error.field_errors or {"": error.sentence})
    return leave_to(next_url(made, Step.METHOD))


@blueprint.get("/<slug>")
@requires(Right.SEE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show state, address, application and whatever the higher capabilities know of a connection."""
    return _render_show(slug, RenameForm())


@blueprint.post("/<slug>/name")
@requires(Right.MANAGE_CONNECTIONS)
def rename(slug: str) -> Response:
    """Change the display name."""
    form = RenameForm()
    if not form.validate():
        return _render_show(slug, form, errors=problems_of(form))
    try:
        connections.rename(current_runtime(), current_principal(), slug, form.display_name.data or "")
    except InvalidInput as error:
        return _render_show(slug, form, errors=error.field_errors)
    return leave_to(url_for(".show", slug=slug))


def _is_in_clear(connection: object) -> bool:
    # Asked by the layout: what a page calls its connection may also be none.
    return isinstance(connection, Connection) and instance.is_in_clear(current_runtime(), connection)


def _render_new(form: MethodForm, errors: dict[str, str] | None = None) -> Response:
    return render(
        "connections/new.html",
        status=422 if errors else 200,
        form=form,
        errors=errors or {},
        rail=rail(None, Step.METHOD),
        connection=None,
        is_included=connections.is_included(current_principal()),
    )


def _render_show(slug: str, form: RenameForm, errors: dict[str, str] | None = None) -> Response:
    runtime, principal = current_runtime(), current_principal()
    connection = connections.get_connection(runtime, principal, slug)
    return render(
        "connections/show.html",
        status=422 if errors else 200,
        connection=connection,
        attention=Card.from_json(connection.attention) if connection.attention else None,
        application=applications.get_application(runtime, connection),
        checklist=checklist.stored_checklist(connection),
        panels=[
            {
                "html": Markup(render_template(item.template, connection=connection, **item.context)),  # noqa: S704
                "is_last": item.is_last,
            }
            for item in panels_for(runtime, principal, connection)
        ],
        may_manage=principal.may(Right.MANAGE_CONNECTIONS),
        resume_url=step_url(connection, first_open_step(connection)),
        is_draft=connection.state in {ConnectionState.DRAFT, ConnectionState.AWAITING_AUTHORIZATION},
        form=form,
        errors=errors or {},
    )
