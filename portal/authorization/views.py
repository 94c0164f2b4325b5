"""Step 5 of the walkthrough, the popup's start and its callback.

The way of the popup: POST start → 303 → our own "leave" page, which navigates by itself → GET go → 302 to GitLab →
callback → 303 → result. Chromium applies CSP `form-action` to every redirect that follows a form POST, so the POST
must not redirect to GitLab; one of our pages that navigates starts a new, unrestricted navigation.
"""

from __future__ import annotations

from flask import Blueprint, Flask, Response, make_response, redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict

from portal.actor import Principal, Right
from portal.authorization import attempts, exchange
from portal.authorization.attempts import AttemptState
from portal.authorization.status import load_status
from portal.connections.steps import Step, rail, step_to_do_first
from portal.connections.store import expect_user, get_connection, get_connection_for_admin, require_plan
from portal.errors import BadRequest
from portal.redaction import register as register_secret
from portal.runtime import Runtime
from portal.web.access import opens_popup, polling, public, requires
from portal.web.current import current_principal, current_runtime, find_principal
from portal.web.error_pages import MethodNotAllowed
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment

blueprint = Blueprint("authorization", __name__)
CALLBACK_PARAMETERS = ("code", "state", "error", "error_description", "iss")
MAX_PARAMETER = 2000


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/connections/<slug>/setup/authorize")
@requires(Right.MANAGE_CONNECTIONS)
@opens_popup
def show(slug: str) -> Response:
    """Show step 5: what will happen, the button, and the outcome."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    require_plan(principal, connection)
    if first := step_to_do_first(connection, Step.AUTHORIZE):
        return leave_to(first)
    status = load_status(runtime, principal, connection)
    return render(
        "authorization/show.html",
        connection=connection,
        authorization=status,
        rail=rail(connection, Step.AUTHORIZE),
        cancel_url="" if connection.authorized_at else url_for("connections.cancel", slug=slug),
    )


@blueprint.get("/connections/<slug>/authorization/status")
@requires(Right.MANAGE_CONNECTIONS)
@polling
def status(slug: str) -> Response:
    """Return what step 5 shows; polled from the press of the button until GitLab's answer has been checked.

    `pressed` is the attempt that was the newest when the button was pressed: the window may be slower than this page,
    and until it has started another one the page waits. `shown` is what the page shows; 204 while that is still so,
    so that nothing is swapped while the person uses it.
    """
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    if not wants_fragment():
        return leave_to(url_for(".show", slug=slug))
    found = load_status(runtime, principal, connection)
    pressed = request.args.get("pressed")
    if pressed is not None:
        found = found.after(pressed)
    shown = request.args.get("shown", "")
    if shown == f"{found.phase}.{found.latest}":
        return Response(status=204)
    return make_response(
        render_template(
            "authorization/_step.html",
            connection=connection,
            authorization=found,
            pressed=pressed,
            is_update=shown.partition(".")[0] != found.phase,
            rail=rail(connection, Step.AUTHORIZE),
        )
    )


@blueprint.post("/connections/<slug>/authorization")
@requires(Right.MANAGE_CONNECTIONS)
def start(slug: str) -> Response:
    """Create an attempt, bind it to this browser, and continue to our own page that leads to GitLab."""
    refuse_unknown_fields("in_popup")
    runtime = current_runtime()
    in_popup = request.form.get("in_popup") == "1"
    started = attempts.start_attempt(runtime, current_principal(), slug, in_popup=in_popup)
    return leave_with_cookie(url_for(".leave", slug=slug, public_id=started.public_id), started)


@blueprint.get("/connections/<slug>/authorization/<public_id>/leave")
@requires(Right.MANAGE_CONNECTIONS)
def leave(slug: str, public_id: str) -> Response:
    """Show which GitLab comes next and navigate there by itself (works without JavaScript)."""
    connection = get_connection(current_runtime(), current_principal(), slug)
    go_url = url_for(".go", slug=slug, public_id=public_id)
    return render("authorization/leave.html", connection=connection, go_url=go_url)


@blueprint.get("/connections/<slug>/authorization/<public_id>/go")
@requires(Right.MANAGE_CONNECTIONS)
def go(slug: str, public_id: str) -> Response:
    """Redirect to GitLab's authorize page."""
    return go_to_gitlab(current_principal(), public_id)


@blueprint.get("/oauth/callback/<slug>")
@public
def callback(slug: str) -> Response:
    """Accept GitLab's answer, once, and redirect to a clean address.

    Public, because a session may end while the person is at GitLab: then the attempt is void and the page says so.
    """
    runtime = current_runtime()
    # HEAD and prefetch requests come from link scanners and browsers' guesses; they must not spend the code.
    purpose = request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", "")
    if request.method != "GET" or "prefetch" in purpose:
        raise MethodNotAllowed
    answer = _read_answer(request.args)
    prefix = browser_cookie(runtime, "")
    tokens = {name.removeprefix(prefix): value for name, value in request.cookies.items() if name.startswith(prefix)}
    with runtime.database.reading() as session:
        found = attempts.find_by_state(session, answer["state"])
        is_handed_over = bool(found and found.details.get("acted_by"))
        principal = attempts.find_stand_in(session, found) if found and is_handed_over else find_principal()
    if principal is None:
        attempts.abandon_by_state(runtime, answer["state"], tokens)
        if found and is_handed_over:
            return leave_to(found.details["return_to"])
        return render("authorization/signed_out.html", slug=slug, status=401)
    token = tokens.get(found.public_id, "") if found else ""
    attempt = attempts.claim_attempt(runtime, principal, slug, answer["state"], token, answer.get("iss"))
    if attempt is not None:
        # Only for one of our attempts: a stranger must not choose what is removed from texts.
        register_secret(answer["state"])
    if attempt is not None and "code" in answer:
        exchange.take_code(runtime, principal, attempt, answer["code"])
    elif attempt is not None:
        exchange.take_refusal(runtime, principal, attempt, answer["error"], answer.get("error_description", ""))
    assert found is not None  # Otherwise the claim was refused.
    in_popup, target = found.details.get("in_popup"), found.details.get("return_to")
    if target:
        target += "/done" if in_popup else ""
    else:
        target = url_for(".done", slug=slug, public_id=found.public_id) if in_popup else url_for(".show", slug=slug)
    response = make_response(redirect(target, code=303))
    response.delete_cookie(browser_cookie(runtime, found.public_id), path="/", secure=runtime.settings.is_https)
    return response


@blueprint.get("/connections/<slug>/authorization/<public_id>")
@requires(Right.MANAGE_CONNECTIONS)
def done(slug: str, public_id: str) -> Response:
    """Show in the popup how it ended; the script tells the page behind it and closes the window."""
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    with runtime.database.reading() as session:
        attempt = attempts.get_own_attempt(session, principal, public_id)
    return render("authorization/done.html", connection=connection, attempt=attempt)


@blueprint.post("/connections/<slug>/authorization/expected-user")
@requires(Right.MANAGE_CONNECTIONS)
def expect(slug: str) -> Response:
    """Make the GitLab user who signed in by mistake the expected one; nothing is stored until they authorize again."""
    refuse_unknown_fields()
    runtime, principal = current_runtime(), current_principal()
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        attempt = attempts.latest_attempt(session, principal, attempts.id_of(connection))
        if attempt is None or attempt.outcome != AttemptState.WRONG_PERSON:
            raise BadRequest("There is no other user to expect.")
        expect_user(session, principal, connection, str(attempt.details["actual"]))
        attempts.finish_attempt(session, attempts.id_of(attempt), AttemptState.ABANDONED)
    return leave_to(url_for(".show", slug=slug))


def leave_with_cookie(target: str, started: attempts.StartedAttempt) -> Response:
    """Continue to the page that leads to GitLab, and bind the attempt to this browser."""
    runtime = current_runtime()
    response = make_response(redirect(target, code=303))
    response.set_cookie(
        browser_cookie(runtime, started.public_id),
        started.browser_token.reveal(),
        max_age=attempts.ATTEMPT_MINUTES * 60,
        secure=runtime.settings.is_https,
        httponly=True,
        samesite="Lax",
        path="/",
    )
    return response


def go_to_gitlab(principal: Principal, public_id: str) -> Response:
    """Redirect to GitLab's authorize page, if the attempt belongs to this browser."""
    runtime = current_runtime()
    token = request.cookies.get(browser_cookie(runtime, public_id), "")
    return make_response(redirect(attempts.authorize_address(runtime, principal, public_id, token), code=302))


def browser_cookie(runtime: Runtime, public_id: str) -> str:
    """Return the name of the cookie that binds an attempt to one browser."""
    prefix = "__Host-" if runtime.settings.is_https else ""
    return f"{prefix}oauth-{public_id}"


def _read_answer(args: MultiDict[str, str]) -> dict[str, str]:
    answer: dict[str, str] = {}
    for name in CALLBACK_PARAMETERS:
        values = args.getlist(name)
        if len(values) > 1 or any(len(value) > MAX_PARAMETER for value in values):
            raise BadRequest("GitLab's answer cannot be read: a part of it came twice or is too long.")
        if values:
            answer[name] = values[0]
    if "state" not in answer or ("code" in answer) == ("error" in answer):
        raise BadRequest("GitLab's answer is incomplete. Start the authorization again from the connection's page.")
    return answer
