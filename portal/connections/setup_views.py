"""Every step's address; the views of steps 3, 4 and 7. Steps 2 and 5 have modules of their own.

A draft is saved as soon as it is valid, so every step can be left and resumed.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, url_for

from portal.accounts.principal import current_principal
from portal.accounts.rights import Right, requires
from portal.connections import credentials_views, instance_views
from portal.connections.forms import PresetForm, ServicesForm, ServiceUserForm
from portal.connections.models import Connection
from portal.connections.service import applications, connections, walkthrough
from portal.connections.setup_pages import go_first, load_connection, render_step
from portal.connections.steps import Step, first_open_step, next_url, step_url
from portal.errors import InvalidInput
from portal.forms import problems_of, refuse_unknown_fields
from portal.gitlab import links
from portal.gitlab.version import parse_version
from portal.htmx import leave_to, render
from portal.runtime import current_runtime

DEFAULT_SERVICE_USER = "gatehouse"


def add_routes(blueprint: Blueprint) -> None:
    """Add every step's page and action; all of them need the right to manage connections."""
    routes = (
        ("", "GET", resume),
        ("/instance", "GET", instance_views.setup_instance),
        ("/instance", "POST", instance_views.save_instance),
        ("/instance/checks", "GET", instance_views.checks),
        ("/instance/checks", "POST", instance_views.check_again),
        ("/application", "GET", setup_application),
        ("/application", "POST", save_application),
        ("/application/preset", "POST", choose_preset),
        ("/service-user", "GET", setup_service_user),
        ("/service-user", "POST", save_service_user),
        ("/credentials", "GET", credentials_views.setup_credentials),
        ("/credentials", "POST", credentials_views.save_credentials),
        ("/services", "GET", setup_services),
        ("/services", "POST", save_services),
        ("/cancel", "GET", ask_cancel),
        ("/cancel", "POST", cancel),
    )
    for path, method, view in routes:
        view = requires(Right.MANAGE_CONNECTIONS)(view)
        blueprint.add_url_rule(f"/<slug>/setup{path}", view_func=view, methods=[method])


def resume(slug: str) -> Response:
    """Go to the first step that is not done."""
    connection = load_connection(slug)
    return leave_to(step_url(connection, first_open_step(connection)))


def setup_application(slug: str) -> Response:
    """Show step 3: the values, in the order of GitLab's form, and where that form is."""
    connection = load_connection(slug)
    return go_first(connection, Step.APPLICATION) or _render_application(connection)


def choose_preset(slug: str) -> Response:
    """Compute the scopes for another set of services."""
    form, connection = PresetForm(), load_connection(slug)
    if first := go_first(connection, Step.APPLICATION):
        return first
    if not form.validate():
        return _render_application(connection, problems_of(form))
    saved = walkthrough.choose_preset(current_runtime(), current_principal(), slug, form.preset.data or "")
    return leave_to(step_url(saved, Step.APPLICATION))


def save_application(slug: str) -> Response:
    """Go on once the application is made in GitLab."""
    refuse_unknown_fields()
    if first := go_first(load_connection(slug), Step.APPLICATION):
        return first
    saved = walkthrough.confirm_application(current_runtime(), current_principal(), slug)
    return leave_to(next_url(saved, Step.APPLICATION))


def setup_service_user(slug: str) -> Response:
    """Show step 4."""
    connection = load_connection(slug)
    if first := go_first(connection, Step.SERVICE_USER):
        return first
    username = connection.service_username or DEFAULT_SERVICE_USER
    return _render_service_user(connection, ServiceUserForm(data={"service_username": username}))


def save_service_user(slug: str) -> Response:
    """Keep the expected user name."""
    form, connection = ServiceUserForm(), load_connection(slug)
    if first := go_first(connection, Step.SERVICE_USER):
        return first
    if not form.validate():
        return _render_service_user(connection, form, errors=problems_of(form))
    try:
        saved = walkthrough.save_service_user(
            current_runtime(), current_principal(), slug, form.service_username.data or ""
        )
    except InvalidInput as error:
        return _render_service_user(connection, form, errors=error.field_errors)
    return leave_to(next_url(saved, Step.SERVICE_USER))


def setup_services(slug: str) -> Response:
    """Show step 7."""
    connection = load_connection(slug)
    if first := go_first(connection, Step.SERVICES):
        return first
    form = ServicesForm(data={"services": connection.services, "hooks_wanted": connection.hooks_wanted})
    return render_step(connection, Step.SERVICES, form=form)


def save_services(slug: str) -> Response:
    """Keep what the connection is used for."""
    form, connection = ServicesForm(), load_connection(slug)
    if first := go_first(connection, Step.SERVICES):
        return first
    if not form.validate():
        return render_step(connection, Step.SERVICES, form=form, errors=problems_of(form))
    try:
        saved = walkthrough.save_services(
            current_runtime(), current_principal(), slug, form.services.data or [], bool(form.hooks_wanted.data)
        )
    except InvalidInput as error:
        return render_step(connection, Step.SERVICES, form=form, errors=error.field_errors)
    if walkthrough.needs_wider_scopes(saved):
        return leave_to(step_url(saved, Step.AUTHORIZE))
    return leave_to(next_url(saved, Step.SERVICES))


def ask_cancel(slug: str) -> Response:
    """Ask before a draft is discarded, where no dialog can open."""
    return render("connections/setup/cancel.html", connection=load_connection(slug))


def cancel(slug: str) -> Response:
    """Discard the draft."""
    refuse_unknown_fields()
    connection = load_connection(slug)
    connections.discard_draft(current_runtime(), current_principal(), slug)
    flash(f"The draft “{connection.display_name}” was discarded.", "success")
    return leave_to(url_for("connections.index"))


def _preset_of(connection: Connection) -> str:
    present = (sorted(connection.services), connection.hooks_wanted)
    presets = applications.PRESETS.items()
    return next((name for name, (services, hooks) in presets if (sorted(services), hooks) == present), "")


def _render_application(connection: Connection, errors: dict[str, Any] | None = None) -> Response:
    base, version = connection.external_url, parse_version(connection.version_seen)
    return render_step(
        connection,
        Step.APPLICATION,
        errors=errors,
        redirect_uri=applications.redirect_uri_of(current_runtime(), connection),
        name=applications.APPLICATION_NAME,
        scopes=applications.scope_reasons(connection),
        preset=_preset_of(connection),
        instance_url=links.new_application(base),
        own_url=links.own_applications(base, version),
        group_url=links.groups(base),
    )


def _render_service_user(
    connection: Connection, form: ServiceUserForm, errors: dict[str, Any] | None = None
) -> Response:
    base = connection.external_url
    return render_step(
        connection,
        Step.SERVICE_USER,
        form=form,
        errors=errors,
        new_user_url=links.new_user(base),
        groups_url=links.groups(base),
    )
