"""Both sides of a hand-over: the page of whoever made the link, and the one page that the link opens.

Reading the link changes nothing, so nothing that looks at links in messages uses it up. The button on its page opens
it: from then on a cookie of that browser is what counts, and the token is no longer in the address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, flash, make_response, redirect, render_template, request, url_for
from wtforms import RadioField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice

from portal.actor import Right, RightLost
from portal.authorization import attempts
from portal.authorization.status import load_status, user_name
from portal.authorization.views import go_to_gitlab, leave_with_cookie
from portal.connections.application_views import application_values
from portal.connections.forms import ApplicationForm
from portal.connections.models import Connection
from portal.connections.steps import LABELS, Step, next_url, rail, step_to_do_first, step_url
from portal.connections.store import get_application, get_connection, require_plan
from portal.errors import Card, Conflict, InvalidInput, RateLimited
from portal.handover import links
from portal.handover.links import LinkOver, Task
from portal.handover.models import HandOver, Outcome
from portal.runtime import Runtime
from portal.web.access import opens_popup, polling, public, requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import StrictForm, answer_form, refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof
from portal.web.request_checks import SAFE_METHODS

blueprint = Blueprint("handover", __name__)
STEP = f"<any({','.join(links.STEPS)}):step>"


class HandOverForm(StrictForm):
    """Who gets the link, and how long it works."""

    recipient = StringField("Name")
    # The newest link when the form was opened: whoever reloads the page of a new link makes no other one.
    after = StringField()
    days = RadioField("Works for", default="3", choices=[SelectChoice(str(days), str(days)) for days in links.DAYS])


class DeclineForm(StrictForm):
    """Why not."""

    reason = TextAreaField("Reason")


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)
    app.register_error_handler(LinkOver, say_over)


@blueprint.route(f"/connections/<slug>/hand-over/{STEP}", methods=["GET", "POST"])
@requires(Right.MANAGE_CONNECTIONS)
def show(slug: str, step: str) -> Response:
    """Ask whom a step is handed over to, make the link and show it once; later, show how far it has come."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    if first := step_to_do_first(connection, Step(step)):
        return leave_to(first)
    require_plan(principal, connection)
    if request.method not in SAFE_METHODS and connection.authorized_at is not None:
        require_proof(purpose="handing over a step of a connection in use", keep=("recipient", "after", "days"))
    form = HandOverForm()
    if request.method in SAFE_METHODS:
        form.after.data = _newest(connection, Step(step))

    def act() -> Response:
        if form.text("after") != _newest(connection, Step(step)):
            return leave_to(url_for(".show", slug=slug, step=step))
        link = links.hand_over(runtime, principal, slug, Step(step), form.text("recipient"), int(form.text("days")))
        return _page(connection, Step(step), form, link=link)

    return answer_form(form, lambda: _page(connection, Step(step), form), act)


@blueprint.post(f"/connections/<slug>/hand-over/{STEP}/withdrawal")
@requires(Right.MANAGE_CONNECTIONS)
def withdraw(slug: str, step: str) -> Response:
    """Void the link."""
    refuse_unknown_fields()
    links.withdraw(current_runtime(), current_principal(), slug, Step(step))
    flash("The link no longer works.", "success")
    return leave_to(url_for(".show", slug=slug, step=step))


@blueprint.get("/hand-over/<token>")
@public
def sealed(token: str) -> Response:
    """Show who asks, and the button that opens the request."""
    runtime = current_runtime()
    if public_id := links.find_resumed(runtime, token, _cookies(runtime)):
        return leave_to(url_for(".step", public_id=public_id))
    return _letter("sealed", links.find_sealed(runtime, token))


@blueprint.post("/hand-over/<token>")
@public
def open_link(token: str) -> Response:
    """Bind the link to this browser."""
    refuse_unknown_fields()
    runtime = current_runtime()
    if public_id := links.find_resumed(runtime, token, _cookies(runtime)):
        return leave_to(url_for(".step", public_id=public_id))
    link, cookie = links.open_link(runtime, token)
    response = make_response(redirect(url_for(".step", public_id=link.public_id), code=303))
    response.set_cookie(
        _cookie_name(runtime, link.public_id),
        cookie,
        expires=link.expires_at,
        secure=runtime.settings.is_https,
        httponly=True,
        samesite="Lax",
        path="/",
    )
    return response


@blueprint.get("/hand-over/step/<public_id>")
@public
@opens_popup
def step(public_id: str) -> Response:
    """Show the step, or thanks once it is done."""
    if link := links.find_finished(current_runtime(), public_id, _cookie(public_id)):
        return render("handover/thanks.html", link=link, asker=_maker_of(link))
    task = _task(public_id)
    # What was sent before is kept; the Application ID of a connection in use is not shown.
    sent = get_application(current_runtime(), task.connection) if task.link.sent_at else None
    form = ApplicationForm(data={"application_id": sent.client_id if sent and not sent.checked_at else ""})
    return _letter(task.link.step, task, form=form, card=None)


@blueprint.post("/hand-over/step/<public_id>/application")
@public
def send_application(public_id: str) -> Response:
    """Have GitLab check Application ID and Secret, and end the link if it accepts them."""
    form, task = ApplicationForm(), _task(public_id, Step.APPLICATION)
    card: Card | None = None

    def page() -> Response:
        return _letter(Step.APPLICATION, task, form=form, card=card, status=422)

    def act() -> Response:
        nonlocal card
        typed = form.text("application_id"), form.text("secret")
        try:
            card = links.send_application(current_runtime(), task, _cookie(public_id), *typed)
        except (Conflict, RateLimited) as error:
            _task(public_id)  # If the link has ended, that is all there is to say.
            form.add_problems(InvalidInput(error.sentence))
            response = page()
            response.status_code = error.status
            return response
        return page() if card else leave_to(url_for(".step", public_id=public_id))

    return answer_form(form, page, act)


@blueprint.post("/hand-over/step/<public_id>/decline")
@public
def decline(public_id: str) -> Response:
    """End the link without doing the step."""
    form, task = DeclineForm(), _task(public_id)

    def act() -> Response:
        links.decline(current_runtime(), public_id, _cookie(public_id), form.text("reason"))
        return leave_to(url_for(".step", public_id=public_id))

    empty = ApplicationForm(formdata=None)
    return answer_form(form, lambda: _letter(task.link.step, task, form=empty, card=None, declining=form), act)


@blueprint.post("/hand-over/step/<public_id>/authorization")
@public
def start(public_id: str) -> Response:
    """Start an authorization with the rights of whoever made the link."""
    refuse_unknown_fields("in_popup")
    runtime, task = current_runtime(), _task(public_id, Step.AUTHORIZE)
    in_popup = request.form.get("in_popup") == "1"
    return_to = url_for(".step", public_id=public_id)
    try:
        started = attempts.start_attempt(
            runtime, task.principal, task.connection.slug, in_popup=in_popup, return_to=return_to
        )
    except RightLost:
        raise LinkOver from None
    return leave_with_cookie(url_for(".leave", public_id=public_id, attempt=started.public_id), started)


@blueprint.get("/hand-over/step/<public_id>/authorization/<attempt>/leave")
@public
def leave(public_id: str, attempt: str) -> Response:
    """Show which GitLab comes next and navigate there."""
    task = _task(public_id, Step.AUTHORIZE)
    go_url = url_for(".go", public_id=public_id, attempt=attempt)
    return render("authorization/leave.html", connection=task.connection, go_url=go_url)


@blueprint.get("/hand-over/step/<public_id>/authorization/<attempt>/go")
@public
def go(public_id: str, attempt: str) -> Response:
    """Redirect to GitLab's authorize page."""
    return go_to_gitlab(_task(public_id, Step.AUTHORIZE).principal, attempt)


@blueprint.get("/hand-over/step/<public_id>/status")
@public
@polling
def status(public_id: str) -> Response:
    """Return what the page shows of an authorization, while it waits for the small window; 204 if that is still so."""
    if not wants_fragment() or links.find_finished(current_runtime(), public_id, _cookie(public_id)):
        return leave_to(url_for(".step", public_id=public_id))
    task = _task(public_id, Step.AUTHORIZE)
    found = load_status(current_runtime(), task.principal, task.connection)
    pressed = request.args.get("pressed")
    if pressed is not None:
        found = found.after(pressed)
    if request.args.get("shown") == f"{found.phase}.{found.latest}":
        return Response(status=204)
    return make_response(
        render_template("handover/_authorize.html", task=task, authorization=found, pressed=pressed, is_update=True)
    )


@blueprint.get("/hand-over/step/<public_id>/done")
@public
def done(public_id: str) -> Response:
    """End the small window; the page behind it asks how it went."""
    return render("handover/done.html", public_id=public_id)


@dataclass(frozen=True)
class Stage:
    """One line of how far a link has come: `pass`, `wait`, `stop` or `next`."""

    title: str
    state: str
    note: str = ""
    at: Any = None
    after: str = ""


def stages_of(link: HandOver, maker: str) -> list[Stage]:
    """Return how far a link has come, as the person who made it reads it."""
    is_open, is_application = links.is_open(link), link.step == Step.APPLICATION
    what = "Application ID and Secret" if is_application else "Authorized in GitLab"
    stages = [Stage("Link made", "pass", f"by {maker}, ", link.created_at)]
    waits = "wait" if is_open else "next"
    if link.opened_at:
        stages.append(Stage("Opened", "pass", "", link.opened_at, f", from {link.opened_from}"))
    else:
        stages.append(Stage("Opened", waits, "not yet"))
    is_refused = bool(link.card) and link.outcome != Outcome.ACCEPTED
    if link.outcome == Outcome.ACCEPTED:
        stages.append(Stage(what, "pass", "", link.ended_at))
    elif is_application and link.sent_at:
        stages.append(Stage(what, "pass", "sent ", link.sent_at))
    else:
        stages.append(Stage(what, waits if link.opened_at else "next", "not sent yet" if is_application else "not yet"))
    if is_application:
        state = "pass" if link.outcome == Outcome.ACCEPTED else "stop" if is_refused else "next"
        told = Card.from_json(link.card).at("application").sentence if is_refused and link.card else ""
        note = {"pass": "checked before anything was stored", "stop": told, "next": "checked before it is stored"}[
            state
        ]
        stages.append(Stage("GitLab accepts both", state, note))
    if link.outcome == Outcome.DECLINED:
        stages.append(Stage("Declined", "stop", "", link.ended_at))
    elif link.outcome == Outcome.WITHDRAWN:
        stages.append(Stage("Link withdrawn", "stop", "", link.ended_at))
    elif not is_open and not link.outcome:
        stages.append(Stage("Link expired", "stop", "", link.expires_at))
    return stages


def _newest(connection: Connection, step: Step) -> str:
    found = links.latest_link(current_runtime(), connection, step)
    return found.public_id if found else ""


def _page(connection: Connection, step: Step, form: HandOverForm, link: str = "") -> Response:
    runtime, principal = current_runtime(), current_principal()
    found = links.latest_link(runtime, connection, step)
    maker = ""
    if found is not None:
        is_own = found.requested_by_user_id == principal.user_id
        maker = "you" if is_own else _maker_of(found)
        if wants_fragment() and request.method in SAFE_METHODS and not links.is_open(found):
            # Its title, its sentences and its buttons are about a link that still works.
            return leave_to(url_for(".show", slug=connection.slug, step=step))
    return render(
        "handover/show.html",
        fragment="handover/_stages.html" if request.method in SAFE_METHODS else None,
        connection=connection,
        step=step,
        label=LABELS[step],
        form=form,
        link=link,
        found=found,
        is_open=found is not None and links.is_open(found),
        is_asking=found is None or (request.args.get("again") == "1" and not link) or bool(form.errors),
        stages=stages_of(found, maker) if found else [],
        rail=rail(connection, step),
        step_here=step_url(connection, step),
        next_step="" if step == Step.AUTHORIZE else next_url(connection, step),
    )


def _letter(name: str, task: Task, **context: Any) -> Response:
    if name == Step.APPLICATION:
        context |= application_values(current_runtime(), task.connection)
        context["application"] = get_application(current_runtime(), task.connection)
    elif name == Step.AUTHORIZE:
        context["authorization"] = load_status(current_runtime(), task.principal, task.connection)
    return render(f"handover/{name}.html", task=task, connection=task.connection, **context)


def _maker_of(link: HandOver) -> str:
    with current_runtime().database.reading() as session:
        return user_name(session, link.requested_by_user_id)


def _task(public_id: str, step: Step | None = None) -> Task:
    task = links.find_opened(current_runtime(), public_id, _cookie(public_id))
    if step is not None and task.link.step != step:
        raise LinkOver
    return task


def say_over(_error: LinkOver) -> Response:
    """Say that a link no longer leads anywhere, and note a form that was sent through it."""
    names = request.view_args or {}
    if request.method not in SAFE_METHODS:
        told = {name: names[name] for name in ("token", "public_id") if name in names}
        links.note_refused(current_runtime(), **told)
    if wants_fragment():
        return leave_to(url_for(".step", public_id=names.get("public_id", "ended")))
    return render("handover/over.html", status=LinkOver.status)


def _cookie_name(runtime: Runtime, public_id: str) -> str:
    return f"{'__Host-' if runtime.settings.is_https else ''}hand-over-{public_id}"


def _cookie(public_id: str) -> str:
    return _cookies(current_runtime()).get(public_id, "")


def _cookies(runtime: Runtime) -> dict[str, str]:
    """Return this browser's cookies of links by public id; one that came twice may be someone else's, and is none."""
    prefix = _cookie_name(runtime, "")
    found = {name: request.cookies.getlist(name) for name in request.cookies if name.startswith(prefix)}
    return {name.removeprefix(prefix): values[0] for name, values in found.items() if len(values) == 1}
