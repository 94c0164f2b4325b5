"""The GitLab servers of an organization: how each is reached, who uses it, and what its gateway is shown."""

from __future__ import annotations

from flask import Blueprint, Response, flash, url_for

from portal.actor import Right
from portal.connections import servers
from portal.connections.forms import GatewayForm
from portal.connections.servers import EnteredGateway
from portal.db import MAX_ID
from portal.net import parse_certificates
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import answer_form
from portal.web.htmx import leave_to, render
from portal.web.proof import require_proof

blueprint = Blueprint("servers", __name__, url_prefix="/servers")
PURPOSE = "changing the gateway settings"


@blueprint.get("/")
@requires(Right.SEE_CONNECTIONS)
def index() -> Response:
    """Show every GitLab that is set up, with the connections that use it."""
    found = servers.list_servers(current_runtime(), current_principal())
    return render("connections/servers.html", servers=found)


@blueprint.route(f"/<int(max={MAX_ID}):server_id>", methods=["GET", "POST"])
@requires(Right.MANAGE_CONNECTIONS)
def show(server_id: int) -> Response:
    """Show how one GitLab is reached, and change what a gateway in front of it is shown."""
    runtime, principal = current_runtime(), current_principal()
    use = servers.get_server(runtime, principal, server_id)
    here = url_for("servers.show", server_id=server_id)
    form = GatewayForm(
        data={"client_certificate": use.server.client_certificate, "header_name": use.server.header_name}
    )

    def page() -> Response:
        # Before the key is pasted: it could not be sent again after the question.
        require_proof(purpose=PURPOSE, back=here, cancel_to=url_for("servers.index"))
        pinned = use.server.ca_certificate
        authorities = parse_certificates(pinned) if pinned else []
        return render("connections/server.html", use=use, form=form, authorities=authorities)

    def act() -> Response:
        require_proof(purpose=PURPOSE, back=here)
        names = ("client_certificate", "client_key", "header_name", "header_value")
        entered = EnteredGateway(**{name: form.text(name) for name in names})
        servers.save_gateway(runtime, principal, server_id, entered)
        flash("The gateway settings were saved. Gatehouse uses them from the next request on.", "success")
        return leave_to(here)

    return answer_form(form, page, act)
