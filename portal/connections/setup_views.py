"""Steps 2 to 5 and 7 of the walkthrough, each at its own address; drafts are saved as soon as they are valid."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, url_for

from portal.accounts.principal import current_principal
from portal.accounts.rights import Right, requires
from portal.connections.forms import CredentialsForm, InstanceForm, PresetForm, ServicesForm, ServiceUserForm
from portal.connections.models import Connection
from portal.connections.service import applications, checklist, connections, instance, walkthrough
from portal.connections.steps import Step, first_open_step, next_url, previous_url, rail, step_to_do_first, step_url
from portal.errors import Card, InvalidInput
from portal.forms import refuse_unknown_fields
from portal.gitlab import links
from portal.gitlab.version import parse_version
from portal.htmx import leave_to, render, wants_fragment
from portal.runtime import current_runtime

DEFAULT_SERVICE_USER = "gatehouse"


def add_routes(blueprint: Blueprint) -> None:
    """Add every step's page and action; all of them need the right to manage connections."""
    routes = (
        ("", "GET", resume),
        ("/instance", "GET", setup_instance),
        ("/instance", "POST", save_instance),
        ("/instance/checks", "GET", checks),
        ("/instance/checks", "POST", check_again),
        ("/application", "GET", setup_application),
        ("/application", "POST", save_application),
        ("/application/preset", "POST", choose_preset),
        ("/service-user", "GET", setup_service_user),
        ("/service-user", "POST", save_service_user),
        ("/credentials", "GET", setup_credentials),
        ("/credentials", "POST", save_credentials),
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
    connection = _connection(slug)
    return leave_to(step_url(connection, first_open_step(connection)))


def setup_instance(slug: str) -> Response:
    """Show step 2; the checklist runs by itself once there is an address."""
    connection = _connection(slug)
    shown = {name: getattr(connection, name) for name in ("api_url", "ca_certificate", "proxy")}
    if shown["api_url"] == connection.external_url:
        shown["api_url"] = ""
    return _render_instance(connection, InstanceForm(data={"domain": connection.external_url, **shown}))


def save_instance(slug: str) -> Response:
    """Keep the address, then show its checks; once they passed, *Continue* goes on."""
    form, connection = InstanceForm(), _connection(slug)
    if not form.validate():
        return _render_instance(connection, form, errors=form.errors)
    known = _reached_by(connection)
    try:
        saved = instance.save_instance(current_runtime(), current_principal(), slug, _entered(form, connection))
    except InvalidInput as error:
        return _render_instance(connection, form, errors=error.field_errors)
    if known != _reached_by(saved):
        return leave_to(step_url(saved, Step.INSTANCE))
    found = checklist.stored_checklist(connection)
    if found is None or not found.is_passed:
        found = checklist.run_checklist(current_runtime(), current_principal(), slug)
    return leave_to(next_url(saved, Step.INSTANCE) if found.is_passed else step_url(saved, Step.INSTANCE))


def checks(slug: str) -> Response:
    """Answer the checklist as it was last found."""
    connection = _connection(slug)
    return _render_checks(connection, checklist.stored_checklist(connection))


def check_again(slug: str) -> Response:
    """Run the checklist."""
    refuse_unknown_fields()
    found = checklist.run_checklist(current_runtime(), current_principal(), slug)
    connection = _connection(slug)
    if not wants_fragment():
        return leave_to(step_url(connection, Step.INSTANCE))
    return _render_checks(connection, found)


def setup_application(slug: str) -> Response:
    """Show step 3: the values, in the order of GitLab's form, and where that form is."""
    connection = _connection(slug)
    if first := step_to_do_first(connection, Step.APPLICATION):
        return _go_first(first)
    base, version = connection.external_url, parse_version(connection.version_seen)
    return _render_step(
        connection,
        Step.APPLICATION,
        redirect_uri=applications.redirect_uri_of(current_runtime(), connection),
        name=applications.APPLICATION_NAME,
        scopes=applications.scope_reasons(connection),
        preset=_preset_of(connection),
        instance_url=links.new_application(base),
        own_url=links.own_applications(base, version),
        group_url=links.groups(base),
    )


def choose_preset(slug: str) -> Response:
    """Compute the scopes for another set of services."""
    form = PresetForm()
    saved = walkthrough.choose_preset(current_runtime(), current_principal(), slug, form.preset.data or "")
    return leave_to(step_url(saved, Step.APPLICATION))


def save_application(slug: str) -> Response:
    """Go on once the application is made in GitLab."""
    refuse_unknown_fields()
    saved = walkthrough.confirm_application(current_runtime(), current_principal(), slug)
    return leave_to(next_url(saved, Step.APPLICATION))


def setup_service_user(slug: str) -> Response:
    """Show step 4."""
    connection = _connection(slug)
    if first := step_to_do_first(connection, Step.SERVICE_USER):
        return _go_first(first)
    username = connection.service_username or DEFAULT_SERVICE_USER
    return _render_service_user(connection, ServiceUserForm(data={"service_username": username}))


def save_service_user(slug: str) -> Response:
    """Keep the expected user name."""
    form = ServiceUserForm()
    try:
        saved = walkthrough.save_service_user(
            current_runtime(), current_principal(), slug, form.service_username.data or ""
        )
    except InvalidInput as error:
        return _render_service_user(_connection(slug), form, errors=error.field_errors)
    return leave_to(next_url(saved, Step.SERVICE_USER))


def setup_credentials(slug: str) -> Response:
    """Show step 5."""
    connection = _connection(slug)
    if first := step_to_do_first(connection, Step.CREDENTIALS):
        return _go_first(first)
    application = applications.get_application(current_runtime(), connection)
    form = CredentialsForm(data={"application_id": application.client_id if application else ""})
    return _render_credentials(connection, form)


def save_credentials(slug: str) -> Response:
    """Keep Application ID and Secret, and tell at once what GitLab says of them."""
    form = CredentialsForm()
    runtime, principal = current_runtime(), current_principal()
    try:
        saved, card = applications.save_credentials(
            runtime, principal, slug, form.application_id.data or "", form.secret.data or ""
        )
    except InvalidInput as error:
        problems = error.field_errors or {"": error.sentence}
        return _render_credentials(_connection(slug), form, errors=problems)
    if card:
        return _render_credentials(saved, form, card=card)
    return leave_to(next_url(saved, Step.CREDENTIALS))


def setup_services(slug: str) -> Response:
    """Show step 7."""
    connection = _connection(slug)
    if first := step_to_do_first(connection, Step.SERVICES):
        return _go_first(first)
    form = ServicesForm(data={"services": connection.services, "hooks_wanted": connection.hooks_wanted})
    return _render_step(connection, Step.SERVICES, form=form)


def save_services(slug: str) -> Response:
    """Keep what the connection is used for."""
    form = ServicesForm()
    try:
        saved = walkthrough.save_services(
            current_runtime(), current_principal(), slug, form.services.data or [], bool(form.hooks_wanted.data)
        )
    except InvalidInput as error:
        return _render_step(_connection(slug), Step.SERVICES, form=form, errors=error.field_errors)
    return leave_to(next_url(saved, Step.SERVICES))


def ask_cancel(slug: str) -> Response:
    """Ask before a draft is discarded, where no dialog can open."""
    return render("connections/setup/cancel.html", connection=_connection(slug))


def cancel(slug: str) -> Response:
    """Discard the draft."""
    refuse_unknown_fields()
    connection = _connection(slug)
    connections.discard_draft(current_runtime(), current_principal(), slug)
    flash(f"The draft “{connection.display_name}” was discarded.", "success")
    return leave_to(url_for("connections.index"))


def _entered(form: InstanceForm, connection: Connection) -> instance.Entered:
    """Return what was typed; a button of the checklist or of the sandbox may name another address to take."""
    reach = (form.ca_certificate.data or "", form.proxy.data or "")
    if form.use_external.data:
        return instance.Entered(form.use_external.data, connection.api_url, *reach)
    if form.use.data:
        return instance.Entered(form.use.data, "", *reach)
    return instance.Entered(form.domain.data or "", form.api_url.data or "", *reach)


def _reached_by(connection: Connection) -> tuple[str, ...]:
    return (connection.external_url, connection.api_url, connection.ca_certificate, connection.proxy)


def _render_checks(connection: Connection, found: checklist.Checklist | None) -> Response:
    return render(
        "connections/setup/checks.html", "connections/setup/_checks.html", connection=connection, checklist=found
    )


def _connection(slug: str) -> Connection:
    return connections.get_connection(current_runtime(), current_principal(), slug)


def _go_first(url: str) -> Response:
    flash("This step comes first.", "info")
    return leave_to(url)


def _preset_of(connection: Connection) -> str:
    present = (sorted(connection.services), connection.hooks_wanted)
    presets = applications.PRESETS.items()
    return next((name for name, (services, hooks) in presets if (sorted(services), hooks) == present), "")


def _render_instance(connection: Connection, form: InstanceForm, errors: dict[str, Any] | None = None) -> Response:
    return _render_step(
        connection,
        Step.INSTANCE,
        form=form,
        errors=errors,
        checklist=None if errors else checklist.stored_checklist(connection),
        sandbox_origin=current_runtime().settings.sandbox_origin,
    )


def _render_service_user(
    connection: Connection, form: ServiceUserForm, errors: dict[str, Any] | None = None
) -> Response:
    base = connection.external_url
    return _render_step(
        connection,
        Step.SERVICE_USER,
        form=form,
        errors=errors,
        new_user_url=links.new_user(base),
        groups_url=links.groups(base),
    )


def _render_credentials(
    connection: Connection, form: CredentialsForm, errors: dict[str, Any] | None = None, card: Card | None = None
) -> Response:
    application = applications.get_application(current_runtime(), connection)
    return _render_step(
        connection,
        Step.CREDENTIALS,
        form=form,
        errors=errors,
        card=card,
        application=application,
        applications_url=links.applications(connection.external_url),
    )


def _render_step(
    connection: Connection, step: Step, *, errors: dict[str, Any] | None = None, **context: Any
) -> Response:
    refused = bool(errors) or context.get("card") is not None
    return render(
        f"connections/setup/{step}.html",
        status=422 if refused else 200,
        connection=connection,
        errors=errors or {},
        rail=rail(connection, step),
        back_url=previous_url(connection, step) if step != Step.INSTANCE else "",
        cancel_url="" if connection.authorized_at else url_for("connections.cancel", slug=connection.slug),
        is_sandbox=instance.is_sandbox(current_runtime(), connection),
        **context,
    )
