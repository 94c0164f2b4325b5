"""The health page, its live part, the check on demand, and the support bundle."""

from __future__ import annotations

import json
from datetime import UTC

from flask import Blueprint, Flask, Response, g, make_response, render_template, request, url_for
from sqlalchemy.exc import SQLAlchemyError

from portal.actor import Right
from portal.connections.models import Connection
from portal.connections.store import get_connection
from portal.db import utc_now
from portal.gitlab.version_changes import DOCS
from portal.health.bundle import make_bundle
from portal.health.checks import request_check
from portal.health.forecast import forecast_upgrade
from portal.health.status import BANNERS_SHOWN, Alarm, Health, load_health, open_alarms
from portal.runtime import Runtime
from portal.web.access import polling, requires
from portal.web.current import current_principal, current_runtime, find_principal
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment

blueprint = Blueprint("health", __name__, url_prefix="/connections/<slug>/health")


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes, the panel on the connection's details page, and the banner of every page."""
    app.register_blueprint(blueprint)
    app.add_template_global(banners, "health_banners")
    app.add_template_global(alarms_of, "alarms_of")
    app.add_template_global(lambda: sum(not alarm.is_warning for alarm in _open_alarms()), "incident_count")


@blueprint.get("")
@requires(Right.SEE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show what works and what does not, by direction and layer."""
    health = _load(slug)
    return render("health/show.html", health=health, connection=health.connection)


@blueprint.get("/progress")
@requires(Right.SEE_CONNECTIONS)
@polling
def progress(slug: str) -> Response:
    """Return the progress of the check, and its results once it is done; polled until then."""
    health = _load(slug)
    if not wants_fragment():
        return leave_to(url_for(".show", slug=slug))
    return make_response(render_template("health/progress.hx.html", health=health))


@blueprint.post("/checks")
@requires(Right.MANAGE_CONNECTIONS)
def check_again(slug: str) -> Response:
    """Check now, unless a check is already running."""
    refuse_unknown_fields()
    request_check(current_runtime(), current_principal(), slug)
    if not wants_fragment():
        return leave_to(url_for(".show", slug=slug))
    return make_response(render_template("health/progress.hx.html", health=_load(slug)))


@blueprint.get("/upgrade")
@requires(Right.SEE_CONNECTIONS)
def upgrade(slug: str) -> Response:
    """Show what of this connection changes when its GitLab is upgraded to the version in `to`."""
    runtime = current_runtime()
    connection = get_connection(runtime, current_principal(), slug)
    found = forecast_upgrade(runtime, connection, request.args.get("to", ""))
    return render("health/upgrade.html", connection=connection, upgrade=found, docs=DOCS)


@blueprint.post("/support-bundle")
@requires(Right.MANAGE_CONNECTIONS)
def bundle(slug: str) -> Response:
    """Return the support bundle as a file."""
    refuse_unknown_fields()
    collected = make_bundle(current_runtime(), current_principal(), slug)
    response = Response(json.dumps(collected, indent=1, ensure_ascii=False) + "\n", mimetype="application/json")
    # Slugs are letters, digits and hyphens.
    name = f"gatehouse-support-{slug}-{utc_now().astimezone(UTC):%Y%m%d-%H%M}.json"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def banners(only: str | None = None) -> tuple[list[Alarm], int]:
    """Return the alarms for the top of the current page, and how many more there are.

    Args:
        only: the slug of the connection that the page is about; on a page about none in particular None.
    """
    found = [alarm for alarm in _open_alarms() if only is None or alarm.connection.slug == only]
    return found[:BANNERS_SHOWN], max(0, len(found) - BANNERS_SHOWN)


def alarms_of(connection: Connection) -> list[Alarm]:
    """Return the open incidents because of which a connection cannot do its work."""
    return [alarm for alarm in _open_alarms() if alarm.connection.id == connection.id and not alarm.is_warning]


def _open_alarms() -> list[Alarm]:
    principal = find_principal()
    if principal is None or not principal.may(Right.SEE_CONNECTIONS):
        return []
    if "open_alarms" not in g:  # The sidebar, the tabs and the banner ask within one page.
        try:
            g.open_alarms = open_alarms(current_runtime(), principal)
        except SQLAlchemyError:
            g.open_alarms = []  # The page that reports a broken database must not fail because of its banner.
    found: list[Alarm] = g.open_alarms
    return found


def _load(slug: str) -> Health:
    runtime, principal = current_runtime(), current_principal()
    return load_health(runtime, principal, get_connection(runtime, principal, slug))
