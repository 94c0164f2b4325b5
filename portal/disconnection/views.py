"""Disconnect, follow the progress, and authorize again: each page first says what stops."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, flash, make_response, render_template, request, url_for
from wtforms import StringField

from portal.actor import Right
from portal.authorization.status import load_status
from portal.connections.models import Connection, ConnectionState, Method
from portal.connections.steps import CREDENTIAL_STEP, step_url
from portal.connections.store import get_connection
from portal.disconnection.disconnect import check_choice, confirm_revoked_by_hand, disconnect, try_revoking_now
from portal.disconnection.disconnect_status import load_disconnect_status, state_panel
from portal.disconnection.impact import impact_of, narrowing
from portal.disconnection.models import Choice
from portal.errors import InvalidInput, NotFound
from portal.gitlab import links
from portal.gitlab.identification import parse_version
from portal.runtime import Runtime
from portal.web.access import polling, requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import StrictForm, refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof

blueprint = Blueprint("disconnection", __name__, url_prefix="/connections/<slug>")


class DisconnectForm(StrictForm):
    """What should happen to the data, and the connection's name typed again."""

    choice = StringField("Data")
    confirmation = StringField("Name of the connection")


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/disconnect")
@requires(Right.MANAGE_CONNECTIONS)
def ask(slug: str) -> Response:
    """Show what stops, and ask."""
    connection = get_connection(current_runtime(), current_principal(), slug)
    if connection.authorized_at is None:
        return leave_to(url_for("connections.ask_cancel", slug=slug))
    is_over = connection.state == ConnectionState.DISCONNECTED
    return _render_ask(connection, DisconnectForm(data={"choice": Choice.ERASE if is_over else Choice.KEEP}))


@blueprint.post("/disconnect", endpoint="disconnect")
@requires(Right.MANAGE_CONNECTIONS)
def carry_out(slug: str) -> Response:
    """Disconnect; what was typed is checked before the password is asked for."""
    form, runtime, principal = DisconnectForm(), current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    choice, confirmation = form.choice.data or "", form.confirmation.data or ""
    try:
        check_choice(connection, choice, confirmation)
        require_proof(purpose=f"disconnecting {connection.display_name}", keep=("choice", "confirmation"))
        disconnect(runtime, current_principal(), slug, choice, confirmation)
    except InvalidInput as error:
        return _render_ask(connection, form, errors=error.field_errors)
    return leave_to(url_for("connections.show", slug=slug))


@blueprint.get("/disconnection")
@requires(Right.SEE_CONNECTIONS)
@polling
def status(slug: str) -> Response:
    """Return how far disconnecting has got; the panel polls until nothing more will change."""
    runtime, principal = current_runtime(), current_principal()
    try:
        connection = get_connection(runtime, principal, slug)
    except NotFound:
        # The connection of the polling panel is erased by now. A foreign or invented one gets the same response.
        if wants_fragment():
            return make_response(render_template("disconnection/_gone.html"))
        raise
    if not wants_fragment():
        return leave_to(url_for("connections.show", slug=slug))
    found = state_panel(runtime, principal, connection)
    if not found:
        return leave_to(url_for("connections.show", slug=slug))
    panel = found[0]
    return make_response(render_template(panel.template, connection=connection, **panel.context))


@blueprint.post("/disconnection/revocation")
@requires(Right.MANAGE_CONNECTIONS)
def try_again(slug: str) -> Response:
    """Ask GitLab again now."""
    refuse_unknown_fields()
    try_revoking_now(current_runtime(), current_principal(), slug)
    return leave_to(url_for("connections.show", slug=slug))


@blueprint.post("/disconnection/revoked-by-hand")
@requires(Right.MANAGE_CONNECTIONS)
def revoked_by_hand(slug: str) -> Response:
    """Accept a person's confirmation that they revoked the token in GitLab."""
    refuse_unknown_fields("revoked")
    get_connection(current_runtime(), current_principal(), slug)
    if request.form.get("revoked") != "1":
        raise InvalidInput("Revoke it in GitLab first, then tick the box.")
    require_proof(purpose="erasing the token here", keep=("revoked",), cancel_to=url_for("connections.show", slug=slug))
    confirm_revoked_by_hand(current_runtime(), current_principal(), slug)
    flash("The token is erased here.", "success")
    return leave_to(url_for("connections.show", slug=slug))


@blueprint.get("/reauthorize")
@requires(Right.MANAGE_CONNECTIONS)
def reauthorize(slug: str) -> Response:
    """Show who authorized, what authorizing again changes, and the link to the popup."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    found = load_status(runtime, principal, connection)
    if found.credential is None or found.credential.method != Method.OAUTH:
        return leave_to(step_url(connection, CREDENTIAL_STEP[connection.method]))
    return render(
        "disconnection/reauthorize.html",
        connection=connection,
        authorization=found,
        impact=impact_of(runtime, principal, connection),
        manage_url=links.own_applications(connection.external_url, parse_version(connection.version_seen)),
    )


@blueprint.get("/narrowing")
@requires(Right.MANAGE_CONNECTIONS)
def narrow(slug: str) -> Response:
    """Return what another choice of services does to the scopes; the page asks at each tick."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    found = load_status(runtime, principal, connection)
    if not wants_fragment():
        return leave_to(url_for("connections.setup_services", slug=slug))
    services, hooks_wanted = request.args.getlist("services"), bool(request.args.get("hooks_wanted"))
    is_known = found.credential is not None and found.credential.are_scopes_known
    granted = found.credential.scopes if found.credential and is_known else None
    change = None if granted is None else narrowing(connection, granted, services, hooks_wanted=hooks_wanted)
    return make_response(render_template("disconnection/_narrowing.html", narrowing=change, connection=connection))


def _render_ask(connection: Connection, form: DisconnectForm, errors: dict[str, str] | None = None) -> Response:
    runtime, principal = current_runtime(), current_principal()
    return render(
        "disconnection/ask.html",
        status=422 if errors else 200,
        connection=connection,
        form=form,
        errors=errors or {},
        impact=impact_of(runtime, principal, connection),
        disconnect_status=load_disconnect_status(runtime, connection),
        is_over=connection.state == ConnectionState.DISCONNECTED,
    )
