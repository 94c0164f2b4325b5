"""Step *Access token*: what was pasted is tested, or tested and linked; it is never shown again.

*Test connection* swaps its result into the page, so that the token stays in its box and *Link account* can follow.
Without JavaScript the page is sent again without the token, and it has to be pasted once more to be linked.
"""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Flask, Response, flash, url_for
from wtforms import PasswordField, StringField
from wtforms.validators import Length

from portal.access_tokens import linking
from portal.access_tokens.guide import make_guide
from portal.access_tokens.linking import Tested
from portal.actor import Right
from portal.connections import instance
from portal.connections.forms import MAX_ADDRESS
from portal.connections.models import Connection
from portal.connections.setup_views import go_first, load_connection, render_step, say_when, waiting_card
from portal.connections.steps import Step, next_url
from portal.credentials.access_tokens import OtherUser
from portal.errors import InvalidInput, RateLimited
from portal.runtime import Runtime
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import StrictForm, problems_of
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof

blueprint = Blueprint("access_tokens", __name__)
REPLACING = "replacing the access token"


class TokenForm(StrictForm):
    """Two fields, which button was pressed, and the other user that its page named."""

    domain = StringField("Domain", [Length(max=MAX_ADDRESS, message="That is too long.")])
    access_token = PasswordField("Personal access token", [Length(max=10_000, message="That is too long.")])
    do = StringField("Button")
    agreed_username = StringField("User", [Length(max=255, message="That is too long.")])


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/connections/<slug>/setup/token")
@requires(Right.MANAGE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show the step; for a connection in use, the page that replaces its token."""
    connection = load_connection(slug)
    if first := go_first(connection, Step.TOKEN):
        return first
    if connection.authorized_at is not None:
        # Before the token is pasted: it could not be sent again after the question.
        require_proof(purpose=REPLACING, cancel_to=url_for("connections.settings", slug=slug))
    return _render(connection, TokenForm())


@blueprint.post("/connections/<slug>/setup/token")
@requires(Right.MANAGE_CONNECTIONS)
def submit(slug: str) -> Response:
    """Test the token, and link the account if that is what was asked for."""
    form, connection = TokenForm(), load_connection(slug)
    if first := go_first(connection, Step.TOKEN):
        return first
    if connection.authorized_at is not None:
        require_proof(purpose=REPLACING, back=url_for(".show", slug=slug))
    if not form.validate():
        return _render(connection, form, errors=problems_of(form))
    runtime, principal, typed = current_runtime(), current_principal(), form.text("access_token")
    try:
        # Another Domain may be typed here; the checks of its step run before a token is sent there.
        domain = form.text("domain").strip()
        entered = replace(instance.entered_of(runtime, connection), domain=domain)
        if domain and not connection.authorized_at and instance.would_change(runtime, connection, entered):
            # Connections that share this GitLab stay where they are.
            connection = instance.save_instance(runtime, principal, slug, entered, instance.Reach.ONE)
        if form.do.data not in {"link", "without", "agree"}:
            return _render(connection, form, tested=linking.check_token(runtime, principal, slug, typed))
        tested = linking.link_account(
            runtime,
            principal,
            slug,
            typed,
            is_without_missing=form.do.data == "without",
            agreed_username=form.text("agreed_username") if form.do.data == "agree" else "",
        )
    except InvalidInput as error:
        return _render(connection, form, errors=error.field_errors or {"": error.sentence})
    except OtherUser as error:
        return _render(connection, form, other_user=error)
    except RateLimited as error:
        response = say_when(_render(connection, form, tested=Tested(connection, waiting_card(error))), error)
        response.status_code = response.status_code if wants_fragment() else error.status
        return response
    if tested.is_good and connection.authorized_at is not None:
        flash("The new token is in use.", "success")
        return leave_to(url_for("connections.show", slug=slug))
    if tested.is_good:
        return leave_to(next_url(connection, Step.TOKEN))
    return _render(tested.connection, form, tested=tested)


def _render(
    connection: Connection,
    form: TokenForm,
    *,
    errors: dict[str, str] | None = None,
    tested: Tested | None = None,
    other_user: OtherUser | None = None,
) -> Response:
    told = tested.examined.metadata.version if tested and tested.examined and tested.examined.metadata else ""
    guide = make_guide(connection, told)
    if wants_fragment():
        return render(
            "access_tokens/_tested.html",
            is_fragment=True,
            connection=connection,
            errors=errors or {},
            tested=tested,
            other_user=other_user,
            guide=guide,
        )
    return render_step(
        connection,
        Step.TOKEN,
        errors=errors,
        status=422 if other_user or (tested and not tested.is_good) else 0,
        other_user=other_user,
        domain=form.domain.data or connection.external_url,
        tested=tested,
        guide=guide,
    )
