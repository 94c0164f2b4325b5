"""The pages about webhooks: all of a connection, one of them, and what a person enters in GitLab by hand."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, current_app, flash, jsonify, request, url_for

from portal.actor import Right
from portal.connections.store import get_connection
from portal.connections.walkthrough import save_services
from portal.db import MAX_ID, read_id
from portal.errors import NotFound, SignInRequired
from portal.runtime import Runtime
from portal.web.access import public, requires
from portal.web.charts import draw_bars
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render
from portal.web.machine import Body, machine
from portal.webhooks import changes, log
from portal.webhooks.intake import Intake, Taken
from portal.webhooks.listing import EVENTS, TIMES, Asked, Shown, load_deliveries, load_delivery, load_last_day
from portal.webhooks.models import Outcome
from portal.webhooks.status import load_hook, load_hooks_page

blueprint = Blueprint("webhooks", __name__, url_prefix="/connections/<slug>/webhooks")
# GitLab sends at most 20 commits of a push (docs.gitlab.com, Webhook events), which stay far below this.
MAX_BODY_BYTES = 1024 * 1024
# One GitLab is one network: this is what keeps a broken sender from occupying a process.
DELIVERIES_PER_MINUTE = 60_000
INTAKE = "gatehouse_intake"
# What the checks of every program's request have refused before the intake saw it.
REFUSED_BEFORE = {413: Outcome.TOO_LARGE, 415: Outcome.NOT_JSON}


class NotVerified(SignInRequired):
    """A delivery without the secrets of its hook."""

    sentence = "The secret token or the signature is not the one of this webhook."


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)
    app.extensions[INTAKE] = Intake(runtime)
    # Outside the prefix: GitLab does not know the connection's name.
    app.add_url_rule("/webhooks/gitlab/<public_id>", "webhooks.receive", receive, methods=["POST"])
    app.after_request(_count_refused)


def _count_refused(response: Response) -> Response:
    outcome = REFUSED_BEFORE.get(response.status_code)
    if outcome and request.endpoint == "webhooks.receive":
        intake: Intake = current_app.extensions[INTAKE]
        intake.refuse((request.view_args or {})["public_id"], outcome)
    return response


@public  # The secrets of the hook prove it.
@machine(Body.JSON, max_bytes=MAX_BODY_BYTES, per_minute=DELIVERIES_PER_MINUTE)
def receive(public_id: str) -> Response:
    """Take a delivery: 2xx means that it is stored, whatever it says."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    taken: Taken = current_app.extensions[INTAKE].take(public_id, headers, request.get_data())
    if taken == Taken.NO_HOOK:
        raise NotFound
    if taken == Taken.REFUSED:
        raise NotVerified
    return jsonify(result=taken)


@blueprint.get("")
@requires(Right.SEE_CONNECTIONS)
def index(slug: str) -> Response:
    """Show every hook, what needs a person first."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    asked = request.args
    page = read_id(asked.get("page", "")) or 1
    found = load_hooks_page(runtime, principal, connection, asked.get("q", ""), asked.get("state", ""), page)
    last_day = load_last_day(runtime, principal, connection, [row.hook.id for row in found.rows if row.hook.id])
    columns = last_day.columns()
    return render(
        "webhooks/index.html",
        connection=connection,
        hooks=found,
        last_day=last_day,
        columns=columns,
        wide=draw_bars(columns, width=1040),
        narrow=draw_bars(columns, width=390, every=2),
    )


@blueprint.get("/deliveries")
@requires(Right.SEE_CONNECTIONS)
def deliveries(slug: str) -> Response:
    """Show what came, of one hook or repository if the address names it."""
    runtime, principal, asked = current_runtime(), current_principal(), request.args
    connection = get_connection(runtime, principal, slug)
    shown, event, since = (asked.get(name, "") for name in ("verdict", "event", "since"))
    found = load_deliveries(
        runtime,
        principal,
        connection,
        Asked(
            hook_id=_id(asked["hook"]) if asked.get("hook") else None,
            before=read_id(asked.get("before", "")),
            query=asked.get("q", ""),
            shown=Shown(shown) if shown in set(Shown) else Shown.ALL,
            event=event if event in EVENTS else "",
            since=since if since in TIMES else "",
        ),
    )
    return render(
        "webhooks/deliveries.html",
        connection=connection,
        found=found,
        events=EVENTS,
        kept_days=runtime.settings.delivery_days,
    )


@blueprint.get(f"/deliveries/<int(max={MAX_ID}):delivery_id>")
@requires(Right.SEE_CONNECTIONS)
def delivery(slug: str, delivery_id: int) -> Response:
    """Show one delivery as it is known here."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    row = load_delivery(runtime, principal, connection, delivery_id)
    return render(
        "webhooks/delivery.html",
        connection=connection,
        row=row,
        kept_days=runtime.settings.delivery_days,
    )


@blueprint.get(f"/deliveries/<int(max={MAX_ID}):delivery_id>/both")
@requires(Right.SEE_CONNECTIONS)
def both_ends(slug: str, delivery_id: int) -> Response:
    """Show one delivery as GitLab and Gatehouse know it."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    row = load_delivery(runtime, principal, connection, delivery_id)
    return render(
        "webhooks/delivery.html",
        "webhooks/_both.html",
        connection=connection,
        row=row,
        log=log.find_sent(runtime, connection, row.delivery),
        may_manage=principal.may(Right.MANAGE_CONNECTIONS),
        kept_days=runtime.settings.delivery_days,
    )


@blueprint.get(f"/<int(max={MAX_ID}):hook_id>")
@requires(Right.SEE_CONNECTIONS)
def show(slug: str, hook_id: int) -> Response:
    """Show one hook."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    return render("webhooks/show.html", connection=connection, found=load_hook(runtime, principal, connection, hook_id))


@blueprint.get(f"/<int(max={MAX_ID}):hook_id>/log")
@requires(Right.SEE_CONNECTIONS)
def show_log(slug: str, hook_id: int) -> Response:
    """Show GitLab's log of one hook beside what arrived here."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    return render(
        "webhooks/log.html",
        "webhooks/_log.html",
        connection=connection,
        found=load_hook(runtime, principal, connection, hook_id),
        log=log.read_log(runtime, principal, connection, hook_id),
        kept_days=runtime.settings.delivery_days,
    )


@blueprint.post(f"/<int(max={MAX_ID}):hook_id>/log/<int(max={MAX_ID}):event_id>")
@requires(Right.MANAGE_CONNECTIONS)
def resend(slug: str, hook_id: int, event_id: int) -> Response:
    """Have GitLab send one delivery again."""
    refuse_unknown_fields("delivery")
    flash(log.resend(current_runtime(), current_principal(), slug, hook_id, event_id), "success")
    if delivery_id := read_id(request.form.get("delivery", "")):
        return leave_to(url_for(".delivery", slug=slug, delivery_id=delivery_id))
    return leave_to(url_for(".show_log", slug=slug, hook_id=hook_id))


@blueprint.post("/compare")
@requires(Right.MANAGE_CONNECTIONS)
def compare(slug: str) -> Response:
    """Compare everything now, and repair it."""
    refuse_unknown_fields()
    changes.request_comparison(current_runtime(), current_principal(), slug)
    flash("Gatehouse is comparing the webhooks with GitLab. Reload the page to see the result.", "success")
    return leave_to(url_for(".index", slug=slug))


@blueprint.post("/settings")
@requires(Right.MANAGE_CONNECTIONS)
def settings(slug: str) -> Response:
    """Switch webhooks on or off, and choose how they are made."""
    refuse_unknown_fields("level", "hooks_wanted")
    runtime, principal = current_runtime(), current_principal()
    if level := request.form.get("level", ""):
        changes.choose_level(runtime, principal, slug, level)
    if wanted := request.form.get("hooks_wanted", ""):
        connection = get_connection(runtime, principal, slug)
        save_services(runtime, principal, slug, connection.services, wanted == "1")
    return leave_to(url_for(".index", slug=slug))


@blueprint.post("/rotate")
@requires(Right.MANAGE_CONNECTIONS)
def rotate_all(slug: str) -> Response:
    """Give every hook new secrets."""
    refuse_unknown_fields()
    count = changes.request_rotation(current_runtime(), current_principal(), slug)
    flash(f"{count:,} webhooks get new secrets. The previous ones work until GitLab has the new ones.", "success")
    return leave_to(url_for(".index", slug=slug))


@blueprint.post(f"/<int(max={MAX_ID}):hook_id>/repair")
@requires(Right.MANAGE_CONNECTIONS)
def repair(slug: str, hook_id: int) -> Response:
    """Compare one hook now, and repair it."""
    refuse_unknown_fields()
    changes.request_repair(current_runtime(), current_principal(), slug, hook_id)
    flash("Gatehouse is comparing this webhook with GitLab. Reload the page to see the result.", "success")
    return leave_to(url_for(".show", slug=slug, hook_id=hook_id))


@blueprint.post(f"/<int(max={MAX_ID}):hook_id>/rotate")
@requires(Right.MANAGE_CONNECTIONS)
def rotate(slug: str, hook_id: int) -> Response:
    """Give one hook new secrets."""
    refuse_unknown_fields()
    changes.request_rotation(current_runtime(), current_principal(), slug, hook_id)
    flash("It gets new secrets. The previous ones work until GitLab has the new ones.", "success")
    return leave_to(url_for(".show", slug=slug, hook_id=hook_id))


@blueprint.post(f"/<int(max={MAX_ID}):hook_id>/mode")
@requires(Right.MANAGE_CONNECTIONS)
def mode(slug: str, hook_id: int) -> Response:
    """Switch the hook of one repository off, or on again."""
    refuse_unknown_fields("mode")
    changes.choose_mode(current_runtime(), current_principal(), slug, hook_id, request.form.get("mode", ""))
    return leave_to(url_for(".show", slug=slug, hook_id=hook_id))


@blueprint.post(f"/<int(max={MAX_ID}):hook_id>/forget")
@requires(Right.MANAGE_CONNECTIONS)
def forget(slug: str, hook_id: int) -> Response:
    """Take a hook that is left over off the list."""
    refuse_unknown_fields()
    changes.forget_hook(current_runtime(), current_principal(), slug, hook_id)
    flash("The webhook is off the list.", "success")
    return leave_to(url_for(".index", slug=slug))


@blueprint.post(f"/<int(max={MAX_ID}):hook_id>/by-hand")
@requires(Right.MANAGE_CONNECTIONS)
def by_hand(slug: str, hook_id: int) -> Response:
    """Show URL and secrets, this once, to someone who makes the hook in GitLab."""
    refuse_unknown_fields()
    runtime, principal = current_runtime(), current_principal()
    values = changes.set_up_by_hand(runtime, principal, slug, hook_id)
    connection = get_connection(runtime, principal, slug)
    found = load_hook(runtime, principal, connection, hook_id)
    return render("webhooks/by_hand.html", connection=connection, found=found, values=values)


def _id(text: str) -> int:
    number = read_id(text)
    if number is None:
        raise NotFound
    return number
