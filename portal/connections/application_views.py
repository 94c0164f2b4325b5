"""Step 3: the values for GitLab's form, and the two boxes for what GitLab shows after saving it.

Application ID and Secret are checked with GitLab before anyone authorizes: as soon as both are there, and again if
*Continue* is pressed with different ones. `setup/credentials` replaces them later.
"""

from __future__ import annotations

from typing import Any

from flask import Response, request, url_for

from portal.connections import applications, checklist, store
from portal.connections.forms import ApplicationForm
from portal.connections.models import Connection, Method
from portal.connections.setup_views import go_first, load_connection, render_step, say_when, waiting_card
from portal.connections.steps import Step, next_url, step_url
from portal.errors import Card, Conflict, InvalidInput, RateLimited
from portal.gitlab import links
from portal.gitlab.identification import parse_version
from portal.runtime import Runtime
from portal.web.current import current_principal, current_runtime
from portal.web.forms import problems_of
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof

MAX_ID = 255


def setup_application(slug: str) -> Response:
    """Show step 3."""
    connection = load_connection(slug)
    return go_first(connection, Step.APPLICATION) or _render_step(connection, _form_of(connection))


def save_application(slug: str) -> Response:
    """Store Application ID and Secret, and continue once GitLab accepts them."""
    form, connection = ApplicationForm(), load_connection(slug)
    if first := go_first(connection, Step.APPLICATION):
        return first
    if connection.authorized_at is not None and connection.method == Method.OAUTH:
        return leave_to(step_url(connection, Step.CREDENTIALS))
    if not form.validate():
        return _render_step(connection, form, errors=problems_of(form))
    if _is_accepted(connection, form):
        return leave_to(next_url(connection, Step.APPLICATION))
    try:
        saved, card = _save(connection, form)
    except InvalidInput as error:
        return _render_step(connection, form, errors=error.field_errors or {"": error.sentence})
    except RateLimited as error:
        return say_when(_render_step(connection, form, card=waiting_card(error), status=error.status), error)
    return _render_step(saved, form, card=card) if card else leave_to(next_url(saved, Step.APPLICATION))


def check_application(slug: str) -> Response:
    """Ask GitLab about what is in the two boxes, as soon as both are filled in."""
    form, connection = ApplicationForm(), load_connection(slug)
    is_in_use = connection.authorized_at is not None and connection.method == Method.OAUTH
    if not wants_fragment() or is_in_use or go_first(connection, Step.APPLICATION):
        return leave_to(step_url(connection, Step.APPLICATION))
    if not form.validate() or not (form.application_id.data or "").strip() or not (form.secret.data or "").strip():
        return _render_result(connection)
    if _is_accepted(connection, form):
        return _render_result(connection, is_accepted=True)
    try:
        saved, card = _save(connection, form)
    except InvalidInput as error:
        return _render_result(connection, problems=list(error.field_errors.values()) or [error.sentence])
    except RateLimited as error:
        return say_when(_render_result(connection, card=waiting_card(error)), error)
    return _render_result(saved, card=card, is_accepted=card is None)


def _is_accepted(connection: Connection, form: ApplicationForm) -> bool:
    typed = form.application_id.data or "", form.secret.data or ""
    return applications.is_accepted(current_runtime(), connection, *typed)


def _save(connection: Connection, form: ApplicationForm) -> tuple[Connection, Card | None]:
    typed = form.application_id.data or "", form.secret.data or ""
    try:
        return applications.save_credentials(current_runtime(), current_principal(), connection.slug, *typed)
    except Conflict:
        # Leaving a box checks them, and *Continue* may be pressed at the same moment: one of the two comes later.
        if _is_accepted(connection, form):
            return load_connection(connection.slug), None
        return applications.save_credentials(current_runtime(), current_principal(), connection.slug, *typed)


def setup_credentials(slug: str) -> Response:
    """Show the page that replaces Application ID and Secret; a draft has them in step 3."""
    connection = load_connection(slug)
    if connection.authorized_at is None:
        return leave_to(step_url(connection, Step.APPLICATION))
    # Before the Secret is typed: it could not be sent again after the question.
    settings = url_for("connections.settings", slug=slug)
    require_proof(purpose="replacing Application ID and Secret", cancel_to=settings)
    typed = request.args.get("application_id", "")[:MAX_ID]
    form = _form_of(connection)
    form.application_id.data = typed or form.application_id.data
    return _render_credentials(connection, form, is_secret_lost=bool(typed))


def save_credentials(slug: str) -> Response:
    """Replace Application ID and Secret once GitLab accepts the new ones."""
    form, connection = ApplicationForm(), load_connection(slug)
    if connection.authorized_at is None:
        return save_application(slug)
    if not form.validate():
        return _render_credentials(connection, form, errors=problems_of(form))
    # The id is passed back in the address; the Secret never is.
    typed = form.shown_id[:MAX_ID]
    back = url_for("connections.setup_credentials", slug=slug, application_id=typed)
    require_proof(purpose="replacing Application ID and Secret", back=back)
    try:
        saved, card = _save(connection, form)
    except InvalidInput as error:
        return _render_credentials(connection, form, errors=error.field_errors or {"": error.sentence})
    except RateLimited as error:
        return say_when(_render_credentials(connection, form, card=waiting_card(error), status=error.status), error)
    return _render_credentials(saved, form, card=card) if card else leave_to(url_for("connections.show", slug=slug))


def _form_of(connection: Connection) -> ApplicationForm:
    application = store.get_application(current_runtime(), connection)
    return ApplicationForm(data={"application_id": application.client_id if application else ""})


def _render_step(
    connection: Connection,
    form: ApplicationForm,
    *,
    errors: dict[str, Any] | None = None,
    card: Card | None = None,
    status: int = 0,
) -> Response:
    application = store.get_application(current_runtime(), connection)
    return render_step(
        connection,
        Step.APPLICATION,
        errors=errors,
        card=card,
        status=status,
        form=form,
        application=application,
        is_accepted=not errors and not card and bool(application and application.checked_at),
        **application_values(current_runtime(), connection),
    )


def application_values(runtime: Runtime, connection: Connection) -> dict[str, Any]:
    """Return what GitLab's form for an application is filled in with, and where that form is."""
    base, version = connection.external_url, parse_version(connection.version_seen)
    return {
        "redirect_uri": store.redirect_uri_of(runtime, connection),
        "name": applications.APPLICATION_NAME,
        "scopes": checklist.scope_reasons(connection),
        "instance_url": links.new_application(base),
        "applications_url": links.applications(base),
        "own_url": links.own_applications(base, version),
        "group_url": links.groups(base),
    }


def _render_result(
    connection: Connection, *, card: Card | None = None, problems: list[str] | None = None, is_accepted: bool = False
) -> Response:
    return render(
        "connections/setup/_result.html",
        connection=connection,
        card=card,
        problems=problems or [],
        is_accepted=is_accepted,
        is_fragment=True,
        applications_url=links.applications(connection.external_url),
        is_sandbox=store.is_sandbox(current_runtime(), connection),
    )


def _render_credentials(
    connection: Connection,
    form: ApplicationForm,
    *,
    errors: dict[str, Any] | None = None,
    card: Card | None = None,
    status: int = 0,
    is_secret_lost: bool = False,
) -> Response:
    return render_step(
        connection,
        Step.CREDENTIALS,
        form=form,
        errors=errors,
        card=card,
        status=status,
        is_secret_lost=is_secret_lost,
        application=store.get_application(current_runtime(), connection),
        applications_url=links.applications(connection.external_url),
    )
