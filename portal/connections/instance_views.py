"""Step 2: where the GitLab is, and its live checklist."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response, request

from portal.connections import checklist, instance
from portal.connections.checks import Checklist
from portal.connections.forms import InstanceForm
from portal.connections.models import Connection, way_of
from portal.connections.servers import SharedServer
from portal.connections.setup_views import load_connection, render_step, say_when, waiting_card
from portal.connections.steps import Step, next_url, step_url
from portal.errors import Card, InvalidInput, RateLimited
from portal.web.current import current_principal, current_runtime
from portal.web.forms import problems_of, refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof

FIELDS = ("domain", "api_url", "ca_certificate", "proxy", "proxy_exceptions", "reach", "trust", "use", "use_external")


def setup_instance(slug: str) -> Response:
    """Show step 2; the checklist runs by itself once there is an address."""
    connection = load_connection(slug)
    return _render(connection, _form_of(connection))


def save_instance(slug: str) -> Response:
    """Store the address, then show its checks; once they have passed, *Continue* goes to the next step."""
    form, connection = InstanceForm(), load_connection(slug)
    if not form.validate():
        return _render(connection, form, errors=problems_of(form))
    runtime, principal = current_runtime(), current_principal()
    known, entered = way_of(connection), _entered(form, connection)
    reach = instance.Reach(form.reach.data) if form.reach.data in list(instance.Reach) else None
    try:
        if form.trust.data:
            entered = instance.trust_authority(runtime, principal, slug, entered, form.trust.data)
        if (connection.authorized_at or reach) and instance.would_change(runtime, connection, entered):
            require_proof(purpose="moving the connection to another address", keep=FIELDS)
        saved = instance.save_instance(runtime, principal, slug, entered, reach)
    except InvalidInput as error:
        return _render(connection, form, errors=error.field_errors)
    except RateLimited as error:
        return _render_waiting(connection, form, error)
    except SharedServer as error:
        kept = {name: request.form.get(name, "") for name in FIELDS if name != "reach"}
        others, status = error.others, error.status
        return render("connections/setup/shared.html", status=status, connection=connection, others=others, kept=kept)
    if known != way_of(saved):
        return leave_to(step_url(saved, Step.INSTANCE))
    found = checklist.stored_checklist(saved)
    if found is None or not found.is_passed:
        try:
            found = checklist.run_checklist(current_runtime(), current_principal(), saved.slug)
        except RateLimited as error:
            return _render_waiting(saved, form, error)
    return leave_to((next_url if found.is_passed else step_url)(saved, Step.INSTANCE))


def checks(slug: str) -> Response:
    """Return the checklist as last found."""
    connection = load_connection(slug)
    return _render_checks(connection, checklist.stored_checklist(connection))


def check_again(slug: str) -> Response:
    """Run the checklist."""
    refuse_unknown_fields()
    connection = load_connection(slug)
    if not connection.api_url:
        return leave_to(step_url(connection, Step.INSTANCE))
    try:
        found = checklist.run_checklist(current_runtime(), current_principal(), slug)
    except RateLimited as error:
        if wants_fragment():
            raise  # It appears above the page, which stays as it is.
        return _render_waiting(connection, _form_of(connection), error)
    if not wants_fragment():
        return leave_to(step_url(connection, Step.INSTANCE))
    return _render_checks(load_connection(slug), found)


def _form_of(connection: Connection) -> InstanceForm:
    return InstanceForm(data=asdict(instance.entered_of(current_runtime(), connection)))


def _entered(form: InstanceForm, connection: Connection) -> instance.Entered:
    """Return what was typed; a button of the checklist or of the sandbox may name another address to take."""
    reach = (form.ca_certificate.data or "", form.proxy.data or "", form.proxy_exceptions.data or "")
    if form.use_external.data:
        return instance.Entered(form.use_external.data, connection.api_url, *reach)
    if form.use.data and (form.api_url.data or "").strip():
        # The address that was checked is the API URL; browsers keep using theirs.
        return instance.Entered(form.domain.data or connection.external_url, form.use.data, *reach)
    if form.use.data:
        return instance.Entered(form.use.data, "", *reach)
    return instance.Entered(form.domain.data or "", form.api_url.data or "", *reach)


def _render_checks(connection: Connection, found: Checklist | None) -> Response:
    return render(
        "connections/setup/checks.html", "connections/setup/_checks.html", connection=connection, checklist=found
    )


def _render_waiting(connection: Connection, form: InstanceForm, error: RateLimited) -> Response:
    return say_when(_render(connection, form, card=waiting_card(error), status=error.status), error)


def _render(
    connection: Connection,
    form: InstanceForm,
    *,
    errors: dict[str, Any] | None = None,
    card: Card | None = None,
    status: int = 0,
) -> Response:
    return render_step(
        connection,
        Step.INSTANCE,
        form=form,
        errors=errors,
        card=card,
        status=status,
        checklist=None if errors else checklist.stored_checklist(connection),
        sandbox_origin=current_runtime().settings.sandbox_origin,
    )
