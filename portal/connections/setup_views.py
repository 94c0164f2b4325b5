"""What all steps' views share, and steps 1 and 4 themselves; 2 and 3 have their own files, 5 and 6 their own packages.

A draft is saved as soon as it is valid, so every step can be left and resumed.
"""

from __future__ import annotations

from typing import Any

from flask import Response, flash, url_for

from portal.connections import store, walkthrough
from portal.connections.forms import PurposeForm, ServicesForm, ServiceUserForm
from portal.connections.models import Connection, Method
from portal.connections.steps import (
    CREDENTIAL_STEP,
    Step,
    first_open_step,
    next_url,
    previous_url,
    rail,
    step_to_do_first,
    step_url,
)
from portal.errors import Card, InvalidInput, RateLimited
from portal.gitlab import links
from portal.web.current import current_principal, current_runtime
from portal.web.forms import problems_of, refuse_unknown_fields
from portal.web.htmx import leave_to, render

DEFAULT_SERVICE_USER = "gatehouse"


def load_connection(slug: str) -> Connection:
    """Return the connection of an address, as far as this person may see it and set it up."""
    connection = store.get_connection(current_runtime(), current_principal(), slug)
    store.require_plan(current_principal(), connection)
    return connection


def go_first(connection: Connection, step: Step) -> Response | None:
    """Return a redirect to an earlier step that is not done yet; None if this one may be shown or done."""
    url = step_to_do_first(connection, step)
    if url is None:
        return None
    flash("This step comes first.", "info")
    return leave_to(url)


def render_step(
    connection: Connection, step: Step, *, errors: dict[str, Any] | None = None, status: int = 0, **context: Any
) -> Response:
    """Render a step's page; 422 when something is wrong with what was entered."""
    refused = bool(errors) or context.get("card") is not None
    return render(
        f"connections/setup/{step}.html",
        status=status or (422 if refused else 200),
        connection=connection,
        errors=errors or {},
        rail=rail(connection, step),
        back_url=previous_url(connection, step),
        cancel_url="" if connection.authorized_at else url_for("connections.cancel", slug=connection.slug),
        is_sandbox=store.is_sandbox(current_runtime(), connection),
        **context,
    )


def say_when(response: Response, error: RateLimited) -> Response:
    """Tell programs, too, when the next attempt is allowed."""
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def waiting_card(error: RateLimited) -> Card:
    """Return the page for a rate limit, with everything that was typed."""
    return Card(error.code, {"sentence": error.sentence})


def resume(slug: str) -> Response:
    """Go to the first step that is not done."""
    connection = load_connection(slug)
    return leave_to(step_url(connection, first_open_step(connection)))


def setup_purpose(slug: str) -> Response:
    """Show step 1 of a draft again; a connection in use has a page for its services."""
    connection = load_connection(slug)
    if connection.authorized_at is not None:
        return leave_to(step_url(connection, Step.SERVICES))
    form = PurposeForm(
        data={
            "display_name": connection.display_name,
            "method": connection.method,
            "services": connection.services,
            "hooks_wanted": connection.hooks_wanted,
        }
    )
    return render_step(connection, Step.PURPOSE, form=form)


def save_purpose(slug: str) -> Response:
    """Store what step 1 asks for."""
    form, connection = PurposeForm(), load_connection(slug)
    if connection.authorized_at is not None:
        return leave_to(step_url(connection, Step.SERVICES))
    if not form.validate():
        return render_step(connection, Step.PURPOSE, form=form, errors=problems_of(form))
    runtime, principal = current_runtime(), current_principal()
    try:
        if form.display_name.data != connection.display_name:
            store.rename(runtime, principal, slug, form.display_name.data or "")
        walkthrough.choose_method(runtime, principal, slug, Method(form.method.data))
        saved = walkthrough.save_services(
            runtime, principal, slug, form.services.data or [], bool(form.hooks_wanted.data)
        )
    except InvalidInput as error:
        return render_step(connection, Step.PURPOSE, form=form, errors=error.field_errors)
    return leave_to(next_url(saved, Step.PURPOSE))


def setup_service_user(slug: str) -> Response:
    """Show step 4."""
    connection = load_connection(slug)
    if first := go_first(connection, Step.SERVICE_USER):
        return first
    username = connection.service_username or DEFAULT_SERVICE_USER
    return _render_service_user(connection, ServiceUserForm(data={"service_username": username}))


def save_service_user(slug: str) -> Response:
    """Store the expected user name."""
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
    """Show the page that changes what a connection is used for; a draft has it in step 1."""
    connection = load_connection(slug)
    if connection.authorized_at is None:
        return leave_to(step_url(connection, Step.PURPOSE))
    form = ServicesForm(data={"services": connection.services, "hooks_wanted": connection.hooks_wanted})
    return render_step(connection, Step.SERVICES, form=form)


def save_services(slug: str) -> Response:
    """Keep what the connection is used for; services that need more scopes lead to the authorization."""
    form, connection = ServicesForm(), load_connection(slug)
    if connection.authorized_at is None:
        return leave_to(step_url(connection, Step.PURPOSE))
    if not form.validate():
        return render_step(connection, Step.SERVICES, form=form, errors=problems_of(form))
    try:
        saved = walkthrough.save_services(
            current_runtime(), current_principal(), slug, form.services.data or [], bool(form.hooks_wanted.data)
        )
    except InvalidInput as error:
        return render_step(connection, Step.SERVICES, form=form, errors=error.field_errors)
    if walkthrough.needs_wider_scopes(saved):
        return leave_to(step_url(saved, CREDENTIAL_STEP[saved.method]))
    return leave_to(url_for("connections.show", slug=slug))


def ask_cancel(slug: str) -> Response:
    """Ask before a draft is discarded, if no dialog can open."""
    connection = store.get_connection(current_runtime(), current_principal(), slug)
    return render("connections/setup/cancel.html", connection=connection)


def cancel(slug: str) -> Response:
    """Discard the draft."""
    refuse_unknown_fields()
    runtime, principal = current_runtime(), current_principal()
    connection = store.get_connection(runtime, principal, slug)
    store.discard_draft(runtime, principal, slug)
    flash(f"The draft “{connection.display_name}” was discarded.", "success")
    return leave_to(url_for("connections.index"))


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
