"""The list of connections, the details page, the addresses of the walkthrough and its first page."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, Response, flash, render_template, url_for
from markupsafe import Markup

from portal.accounts import members
from portal.accounts.models import User
from portal.actor import ActorKind, Right, Role
from portal.audit_log.search import Search, list_events
from portal.audit_log.sentences import sentence_of
from portal.connections import application_views, instance, instance_views, server_views, setup_views, store
from portal.connections.forms import PurposeForm, RenameForm
from portal.connections.models import Connection, ConnectionState, Method, is_failing
from portal.connections.panels import panels_for
from portal.connections.remedies import ways_of, who_can
from portal.connections.steps import Step, first_open_step, next_url, number_and_label, rail, step_url
from portal.errors import Card, InvalidInput, NotFound, Surface
from portal.gitlab.identification import Service
from portal.runtime import Runtime
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime, find_principal
from portal.web.error_pages import answer
from portal.web.forms import problems_of, refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment

blueprint = Blueprint("connections", __name__, url_prefix="/connections")
DEFAULT_NAME = "GitLab"
SANDBOX_NAME = "Sandbox"
RECENT = 5


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    if not blueprint._got_registered_once:
        _add_steps()
    app.register_blueprint(blueprint)
    app.register_error_handler(store.NotInPlan, say_what_is_missing)
    app.register_blueprint(server_views.blueprint)
    app.add_template_filter(step_url, "step_url")
    # Called by the layout: a page's connection may also be None.
    app.add_template_global(
        lambda it: isinstance(it, Connection) and store.is_in_clear(current_runtime(), it), "is_in_clear"
    )
    app.add_template_global(is_failing, "is_failing")
    app.add_template_global(number_and_label, "step_of")
    app.add_template_global(lambda connection: store.is_sandbox(current_runtime(), connection), "is_sandbox_connection")
    app.add_template_global(lambda card, connection=None: ways_of(find_principal(), card, connection), "ways_of")
    app.add_template_global(lambda card: who_can(find_principal(), card), "who_can")


def _add_steps() -> None:
    """Add every step's page and action; all of them need the right to manage connections."""
    routes = (
        ("", "GET", setup_views.resume),
        ("/instance", "GET", instance_views.setup_instance),
        ("/instance", "POST", instance_views.save_instance),
        ("/instance/checks", "GET", instance_views.checks),
        ("/instance/checks", "POST", instance_views.check_again),
        ("/purpose", "GET", setup_views.setup_purpose),
        ("/purpose", "POST", setup_views.save_purpose),
        ("/application", "GET", application_views.setup_application),
        ("/application", "POST", application_views.save_application),
        ("/application/check", "POST", application_views.check_application),
        ("/service-user", "GET", setup_views.setup_service_user),
        ("/service-user", "POST", setup_views.save_service_user),
        ("/credentials", "GET", application_views.setup_credentials),
        ("/credentials", "POST", application_views.save_credentials),
        ("/services", "GET", setup_views.setup_services),
        ("/services", "POST", setup_views.save_services),
        ("/cancel", "GET", setup_views.ask_cancel),
        ("/cancel", "POST", setup_views.cancel),
    )
    for path, method, view in routes:
        view = requires(Right.MANAGE_CONNECTIONS)(view)
        blueprint.add_url_rule(f"/<slug>/setup{path}", view_func=view, methods=[method])


@blueprint.get("/")
@requires(Right.SEE_CONNECTIONS)
def index() -> Response:
    """Show every connection of the organization, and the button for a new one."""
    principal = current_principal()
    found = store.list_connections(current_runtime(), principal)
    return render(
        "connections/index.html",
        connections=found,
        may_manage=principal.may(Right.MANAGE_CONNECTIONS),
        is_included=store.is_included(principal),
        owners=_owners(),
        sandbox_origin=current_runtime().settings.sandbox_origin,
    )


@blueprint.get("/new")
@requires(Right.MANAGE_CONNECTIONS)
def new() -> Response:
    """Show step 1."""
    store.require_plan(current_principal())
    name = store.free_name(current_runtime(), current_principal(), DEFAULT_NAME)
    chosen = {"display_name": name, "method": Method.OAUTH, "services": list(Service)}
    return _render_new(PurposeForm(data=chosen))


@blueprint.post("/new")
@requires(Right.MANAGE_CONNECTIONS)
def create() -> Response:
    """Create the draft and continue to step 2."""
    form = PurposeForm()
    if not form.validate():
        return _render_new(form, errors=problems_of(form))
    try:
        made = store.create_draft(
            current_runtime(),
            current_principal(),
            form.display_name.data or "",
            Method(form.method.data),
            form.services.data or [],
            hooks_wanted=bool(form.hooks_wanted.data),
        )
    except InvalidInput as error:
        return _render_new(form, errors=error.field_errors or {"": error.sentence})
    return leave_to(next_url(made, Step.PURPOSE))


@blueprint.post("/sandbox")
@requires(Right.MANAGE_CONNECTIONS)
def try_sandbox() -> Response:
    """Create a draft for the simulated GitLab beside this portal and continue to step 2, where it is checked."""
    refuse_unknown_fields()
    runtime, principal = current_runtime(), current_principal()
    if not runtime.settings.sandbox_origin:
        raise NotFound
    name = store.free_name(runtime, principal, SANDBOX_NAME)
    made = store.create_draft(runtime, principal, name, Method.OAUTH)
    instance.save_instance(runtime, principal, made.slug, instance.Entered(runtime.settings.sandbox_origin))
    return leave_to(next_url(made, Step.PURPOSE))


@blueprint.get("/<slug>")
@requires(Right.SEE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show the current state of a connection: what needs attention, the facts, recent events."""
    connection = _get(slug)
    return _render_page(
        "show",
        connection,
        attention=Card.from_json(connection.attention).at(Surface.OVERVIEW, connection.method)
        if connection.attention
        else None,
        activity=_activity_of(connection)[:RECENT],
        resume_url=step_url(connection, first_open_step(connection)),
        step=number_and_label(connection),
        is_draft=connection.state in {ConnectionState.DRAFT, ConnectionState.AWAITING_AUTHORIZATION},
    )


@blueprint.get("/<slug>/activity")
@requires(Right.SEE_CONNECTIONS)
def activity(slug: str) -> Response:
    """Show what happened to a connection, newest first."""
    connection = _get(slug)
    return _render_page("activity", connection, activity=_activity_of(connection))


@blueprint.get("/<slug>/settings")
@requires(Right.SEE_CONNECTIONS)
def settings(slug: str) -> Response:
    """Show all settings of a connection, and how to change them."""
    return _render_settings(_get(slug), RenameForm())


@blueprint.post("/<slug>/name")
@requires(Right.MANAGE_CONNECTIONS)
def rename(slug: str) -> Response:
    """Change the display name."""
    form, connection = RenameForm(), _get(slug)
    if not form.validate():
        return _render_settings(connection, form, errors=problems_of(form))
    try:
        store.rename(current_runtime(), current_principal(), slug, form.display_name.data or "")
    except InvalidInput as error:
        return _render_settings(connection, form, errors=error.field_errors)
    flash("The name was changed.", "success")
    return leave_to(url_for(".settings", slug=slug))


def say_what_is_missing(error: store.NotInPlan) -> Response:
    """Say what the plan lacks and whom to ask, wherever someone would connect a GitLab."""
    if wants_fragment():
        return answer(error)
    return render("connections/not_in_plan.html", status=error.status, error=error, owners=_owners())


def _owners() -> list[User]:
    """Return who can ask for another plan."""
    found = members.list_members(current_runtime(), current_principal())
    return [member.user for member in found if member.membership.role == Role.OWNER]


def _get(slug: str) -> Connection:
    return store.get_connection(current_runtime(), current_principal(), slug)


def _activity_of(connection: Connection) -> list[dict[str, Any]]:
    """Return the newest events about a connection, for those who may read the audit log."""
    runtime, principal = current_runtime(), current_principal()
    if not principal.may(Right.SEE_AUDIT):
        return []
    search = Search(principal.organization_id, about=("connection", str(connection.id)))
    return [
        {
            "actor": event.actor_name or "Someone",
            "is_system": event.actor_kind != ActorKind.USER,
            "sentence": sentence_of(runtime, event),
            "at": event.at,
        }
        for event in list_events(runtime.database, search).events
    ]


def _render_new(form: PurposeForm, errors: dict[str, str] | None = None) -> Response:
    return render(
        "connections/new.html",
        status=422 if errors else 200,
        form=form,
        errors=errors or {},
        rail=rail(None, Step.PURPOSE, form.method.data if form.method.data in set(Method) else Method.OAUTH),
        connection=None,
    )


def _render_settings(connection: Connection, form: RenameForm, errors: dict[str, str] | None = None) -> Response:
    application = store.get_application(current_runtime(), connection)
    return _render_page(
        "settings", connection, 422 if errors else 200, application=application, form=form, errors=errors or {}
    )


def _render_page(name: str, connection: Connection, status: int = 200, **context: Any) -> Response:
    runtime, principal = current_runtime(), current_principal()
    panels = [
        {
            "place": item.place,
            "html": Markup(render_template(item.template, connection=connection, **item.context)),  # noqa: S704
        }
        for item in panels_for(runtime, principal, connection)
    ]
    may_manage = principal.may(Right.MANAGE_CONNECTIONS)
    return render(
        f"connections/{name}.html",
        status=status,
        connection=connection,
        panels=panels,
        may_manage=may_manage,
        **context,
    )
