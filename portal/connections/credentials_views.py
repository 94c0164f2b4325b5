"""Step 5: Application ID and Secret, checked with GitLab before anybody authorizes."""

from __future__ import annotations

from typing import Any

from flask import Response, request, url_for

from portal.accounts.principal import current_principal
from portal.accounts.proof import require_proof
from portal.connections.forms import CredentialsForm
from portal.connections.models import Connection
from portal.connections.service import applications
from portal.connections.setup_pages import go_first, load_connection, render_step, say_when, waiting_card
from portal.connections.steps import Step, next_url
from portal.errors import Card, InvalidInput, RateLimited
from portal.forms import problems_of
from portal.gitlab import links
from portal.htmx import leave_to
from portal.runtime import current_runtime

MAX_ID = 255


def setup_credentials(slug: str) -> Response:
    """Show step 5."""
    connection = load_connection(slug)
    if first := go_first(connection, Step.CREDENTIALS):
        return first
    if connection.authorized_at is not None:
        require_proof()  # Before the Secret is typed: it could not be sent again after the question.
    application = applications.get_application(current_runtime(), connection)
    typed = request.args.get("application_id", "")[:MAX_ID]
    form = CredentialsForm(data={"application_id": typed or (application.client_id if application else "")})
    return _render(connection, form, is_secret_lost=bool(typed))


def save_credentials(slug: str) -> Response:
    """Keep Application ID and Secret, and tell at once what GitLab says of them."""
    form, connection = CredentialsForm(), load_connection(slug)
    if first := go_first(connection, Step.CREDENTIALS):
        return first
    if not form.validate():
        return _render(connection, form, errors=problems_of(form))
    if connection.authorized_at is not None:
        typed = (form.application_id.data or "").strip()[:MAX_ID]
        # It comes back in the address; the Secret never does.
        require_proof(back=url_for("connections.setup_credentials", slug=slug, application_id=typed))
    return _save(connection, form)


def _save(connection: Connection, form: CredentialsForm) -> Response:
    application_id, secret = form.application_id.data or "", form.secret.data or ""
    try:
        saved, card = applications.save_credentials(
            current_runtime(), current_principal(), connection.slug, application_id, secret
        )
    except InvalidInput as error:
        return _render(connection, form, errors=error.field_errors or {"": error.sentence})
    except RateLimited as error:
        return say_when(_render(connection, form, card=waiting_card(error), status=error.status), error)
    return _render(saved, form, card=card) if card else leave_to(next_url(saved, Step.CREDENTIALS))


def _render(
    connection: Connection,
    form: CredentialsForm,
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
        application=applications.get_application(current_runtime(), connection),
        applications_url=links.applications(connection.external_url),
    )
