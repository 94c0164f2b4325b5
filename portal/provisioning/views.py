"""The pages that take a one-time token: *Create it for me* in the walkthrough, and *Verify* or *Renew* later."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response, request, url_for
from wtforms import BooleanField, SelectMultipleField, StringField
from wtforms.validators import Length

from portal.actor import Right
from portal.connections.models import Connection
from portal.connections.setup_views import DEFAULT_SERVICE_USER, go_first, load_connection, say_when, waiting_card
from portal.connections.steps import Step as SetupStep
from portal.connections.steps import first_open_step, rail, step_url
from portal.connections.store import get_application, is_sandbox
from portal.connections.walkthrough import read_username
from portal.errors import Card, Conflict, InvalidInput, NotFound, RateLimited
from portal.gitlab import links
from portal.gitlab.access_tokens import why_no_token
from portal.gitlab.identification import parse_version
from portal.net.address import trim_pasted
from portal.provisioning.models import Kind, ProvisioningRun, RunState
from portal.provisioning.run import (
    USER_KIND,
    Planned,
    Stopped,
    Wanted,
    find_run,
    is_silent,
    kind_of_application,
    list_groups,
    plan,
    role_of,
    use_token,
    wanted_of,
)
from portal.runtime import Runtime
from portal.vault import Secret
from portal.web.access import polling, requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import StrictForm, problems_of
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof

blueprint = Blueprint("provisioning", __name__, url_prefix="/connections/<slug>")
MAX_GROUPS = 50
_TOO_LONG = "That is too long."


class TokenForm(StrictForm):
    """A one-time token, and whether GitLab should end it afterwards."""

    one_time_token = StringField("Token", [Length(max=4000, message=_TOO_LONG)])
    revoke = BooleanField("Do this too")


class CreateForm(TokenForm):
    """What is created for the connection."""

    service_username = StringField("Service user", [Length(max=255, message=_TOO_LONG)])
    # Full paths as typed, and those chosen among what GitLab listed.
    groups = StringField("Groups", [Length(max=5000, message=_TOO_LONG)])
    group = SelectMultipleField("Groups", choices=[], validate_choice=False)
    # Of the calls that the page listed.
    shown = StringField("Calls", [Length(max=64, message=_TOO_LONG)])


class ApplicationForm(TokenForm):
    """What is done to the application: `verify` or `renew`."""

    do = StringField("Button", [Length(max=10, message=_TOO_LONG)])


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("/setup/create", defaults={"kind": Kind.INSTANCE}, endpoint="show")
@blueprint.get("/setup/create-own", defaults={"kind": Kind.OWN}, endpoint="show_own")
@requires(Right.MANAGE_CONNECTIONS)
def show(slug: str, kind: Kind) -> Response:
    """Show what will be created and with which calls; while they are made and afterwards, what GitLab answered."""
    connection = load_connection(slug)
    if first := _go_elsewhere(connection):
        return first
    run = find_run(current_runtime(), connection)
    if run is not None and run.state == RunState.RUNNING and not is_silent(run):
        return _render("running", connection, Kind(run.kind), run=run)
    run = run if run is not None and run.kind == kind else None
    following = first_open_step(connection)
    is_done = run is not None and run.state == RunState.DONE and following == SetupStep.AUTHORIZE
    if is_done and "again" not in request.args:
        return _render("done", connection, kind, run=run, next_url=step_url(connection, following))
    asked = run.wanted if run is not None else {}
    username = asked.get("service_username") or connection.service_username or DEFAULT_SERVICE_USER
    entries = {"service_username": username, "groups": ", ".join(asked.get("groups", ())), "revoke": True}
    return _render_form(connection, kind, CreateForm(formdata=None, data=entries), run=run)


@blueprint.post("/setup/create", defaults={"kind": Kind.INSTANCE}, endpoint="create")
@blueprint.post("/setup/create-own", defaults={"kind": Kind.OWN}, endpoint="create_own")
@requires(Right.MANAGE_CONNECTIONS)
def create(slug: str, kind: Kind) -> Response:
    """Make the calls, with the token of an administrator or of the service user."""
    connection, form = load_connection(slug), CreateForm()
    if first := _go_elsewhere(connection):
        return first

    def act() -> None:
        wanted, token = _wanted(kind, form, is_checked=True), _read_token(form)
        if form.shown.data != _digest_of(plan(current_runtime(), connection, wanted)):
            raise InvalidInput(
                "The list below has changed with what you entered. Read it, and paste the token once more."
            )
        use_token(current_runtime(), current_principal(), slug, wanted, token)

    refused = _refusal_of(form, act, lambda **told: _render_form(connection, kind, form, **told))
    return refused or leave_to(url_for(".show_own" if kind == Kind.OWN else ".show", slug=slug))


@blueprint.get("/setup/create/plan")
@requires(Right.MANAGE_CONNECTIONS)
def show_plan(slug: str) -> Response:
    """Return the list of calls for what is typed; the token is not among what is sent here."""
    connection, form = load_connection(slug), CreateForm(request.args)
    if not wants_fragment():
        return leave_to(url_for(".show", slug=slug))
    wanted = _wanted(Kind.INSTANCE, form)
    return render("provisioning/_plan.html", form=form, kind=wanted.kind, **_plan_context(connection, wanted))


@blueprint.post("/setup/create/groups")
@requires(Right.MANAGE_CONNECTIONS)
def show_groups(slug: str) -> Response:
    """List GitLab's top-level groups with the token, for someone to choose; the token is forgotten again."""
    connection, form = load_connection(slug), CreateForm()
    if first := _go_elsewhere(connection):
        return first
    told: dict[str, Any] = {}

    def act() -> None:
        told["found"], told["has_more"] = list_groups(current_runtime(), current_principal(), slug, _read_token(form))
        form.group.data = told["found"]

    refused = _refusal_of(form, act, lambda **why: _render_groups(connection, form, **why))
    return refused or _render_groups(connection, form, **told)


@blueprint.get("/setup/create/progress")
@requires(Right.MANAGE_CONNECTIONS)
@polling
def progress(slug: str) -> Response:
    """Return how far the newest run is: for the page that waits for it, and for anyone else who looks."""
    connection = load_connection(slug)
    run = find_run(current_runtime(), connection)
    if not wants_fragment():
        return leave_to(url_for(".show", slug=slug))
    if run is not None and run.state != RunState.RUNNING and request.args.get("watching"):
        return leave_to(url_for(".show_own" if run.kind == Kind.OWN else ".show", slug=slug))
    watching = request.args.get("watching")
    return render("provisioning/_progress.html", connection=connection, run=run, watching=watching, **_lines_of(run))


@blueprint.get("/application")
@requires(Right.MANAGE_CONNECTIONS)
def application(slug: str) -> Response:
    """Show the page that verifies the application in GitLab, or renews its Secret."""
    connection = load_connection(slug)
    require_proof(purpose="using a GitLab token", cancel_to=url_for("connections.settings", slug=slug))
    return _render_application(connection, ApplicationForm(formdata=None))


@blueprint.post("/application")
@requires(Right.MANAGE_CONNECTIONS)
def use_application(slug: str) -> Response:
    """Verify the application or renew its Secret, with a token that is used once."""
    connection, form = load_connection(slug), ApplicationForm()
    require_proof(purpose="using a GitLab token", back=url_for(".application", slug=slug))
    kind = {"verify": Kind.VERIFY, "renew": Kind.RENEW}.get(form.do.data or "")
    if kind is None:
        raise NotFound
    wanted = Wanted(kind, revokes=bool(form.revoke.data))

    def act() -> None:
        use_token(current_runtime(), current_principal(), slug, wanted, _read_token(form))

    refused = _refusal_of(form, act, lambda **told: _render_application(connection, form, **told))
    return refused or leave_to(url_for(".application", slug=slug))


def _go_elsewhere(connection: Connection) -> Response | None:
    if first := go_first(connection, SetupStep.APPLICATION):
        return first
    in_use = connection.authorized_at is not None
    return leave_to(url_for(".application", slug=connection.slug)) if in_use else None


def _refusal_of(form: TokenForm, act: Callable[[], object], page: Callable[..., Response]) -> Response | None:
    """Do what takes the token; return the page again if something is in the way."""
    try:
        if not form.validate():
            raise InvalidInput(field_errors=problems_of(form))
        act()
    except (InvalidInput, Conflict) as error:
        return page(errors=getattr(error, "field_errors", {}) or {"": error.sentence})
    except Stopped as error:
        return page(card=error.card)
    except RateLimited as error:
        return say_when(page(card=waiting_card(error), status=error.status), error)
    return None


def _read_token(form: TokenForm) -> Secret:
    """Take the token out of the request.

    Raises:
        InvalidInput: it cannot be one; it is not sent anywhere.
    """
    text = trim_pasted(form.one_time_token.data or "")
    token = Secret(text)
    if problem := why_no_token(text):
        raise InvalidInput(field_errors={"one_time_token": problem})
    return token


def _wanted(kind: Kind, form: CreateForm, *, is_checked: bool = False) -> Wanted:
    if kind == Kind.OWN:
        return Wanted(kind, revokes=bool(form.revoke.data))
    username = form.service_username.data or ""
    # While someone types, the list shows what it can.
    username = read_username(username) if is_checked else trim_pasted(username).removeprefix("@")
    typed = [path.strip("/") for path in re.split(r"[\s,;]+", form.groups.data or "") if path.strip("/")]
    groups = tuple(dict.fromkeys([*(form.group.data or []), *typed]))
    if is_checked and len(groups) > MAX_GROUPS:
        raise InvalidInput(field_errors={"groups": f"Choose at most {MAX_GROUPS} groups at a time."})
    return Wanted(kind, username, groups, bool(form.revoke.data))


def _digest_of(planned: list[Planned]) -> str:
    # What someone may leave out at the last moment does not count.
    told = repr([item for item in planned if item.step != "revoke"])
    return hashlib.sha256(told.encode()).hexdigest()


def _plan_context(connection: Connection, wanted: Wanted) -> dict[str, Any]:
    planned = plan(current_runtime(), connection, Wanted(wanted.kind, wanted.service_username, wanted.groups))
    version = parse_version(connection.version_seen)
    return {
        "planned": planned,
        "wanted": wanted,
        "shown": _digest_of(planned),
        "role": role_of(connection),
        "can_revoke": version is None or (version.major, version.minor) >= (15, 0),
    }


def _lines_of(run: ProvisioningRun | None) -> dict[str, Any]:
    """Return the steps of a run as the page lists them: those taken, and the names of all."""
    if run is None:
        return {"results": [], "steps": []}
    lines = []
    for result in run.results:
        calls: dict[str, dict[str, Any]] = {}
        for call in result["calls"]:
            name = f"{call['method']} {call['path']}"
            line = calls.setdefault(name, {"name": name, "count": 0, "seconds": 0.0})
            line["count"], line["seconds"] = line["count"] + 1, line["seconds"] + call["seconds"]
            told = call["status"] or call.get("verdict") or "no answer"
            line["answer"] = f"{line['count']} calls" if line["count"] > 1 else told
        card = Card.from_json(result["card"]) if result["card"] else None
        lines.append({**result, "calls": list(calls.values()), "card": card})
    if is_silent(run):
        calls_made = {"calls": [], "card": Card("provisioning_stopped"), "facts": {}, "outcome": "failed"}
        lines.append({"step": wanted_of(run).steps[len(lines)], **calls_made})
    return {"results": lines, "steps": wanted_of(run).steps}


def _render_form(
    connection: Connection,
    kind: Kind,
    form: CreateForm,
    *,
    run: ProvisioningRun | None = None,
    errors: dict[str, str] | None = None,
    card: Card | None = None,
    status: int = 0,
    **context: Any,
) -> Response:
    return _render(
        "create",
        connection,
        kind,
        status=status or (422 if errors or card else 200),
        form=form,
        errors=errors or {},
        card=card,
        run=run,
        **_plan_context(connection, _wanted(kind, form)),
        **context,
    )


def _render_groups(
    connection: Connection,
    form: CreateForm,
    *,
    found: list[str] | None = None,
    has_more: bool = False,
    errors: dict[str, str] | None = None,
    card: Card | None = None,
    status: int = 0,
) -> Response:
    told: dict[str, Any] = {"found": found, "has_more": has_more, "form": form, "card": card}
    if not wants_fragment():
        return _render_form(connection, Kind.INSTANCE, errors=errors, status=status, **told)
    context = _plan_context(connection, _wanted(Kind.INSTANCE, form))
    return render(
        "provisioning/_groups.html",
        **{"is_fragment": True, "kind": Kind.INSTANCE, "errors": errors or {}, **context, **told},
    )


def _render(page: str, connection: Connection, kind: Kind, status: int = 200, **context: Any) -> Response:
    base, version = connection.external_url, parse_version(connection.version_seen)
    return render(
        f"provisioning/{page}.html",
        status=status,
        connection=connection,
        kind=kind,
        **_lines_of(context.get("run")),
        **context,
        rail=rail(connection, SetupStep.SERVICE_USER if page == "done" else SetupStep.APPLICATION),
        back_url=step_url(connection, SetupStep.APPLICATION),
        cancel_url=url_for("connections.cancel", slug=connection.slug),
        is_sandbox=is_sandbox(current_runtime(), connection),
        token_url=links.personal_access_tokens(
            base, "Gatehouse, once", ["api", "admin_mode"][: 1 + (kind != Kind.OWN)], version
        ),
        tokens_url=links.personal_access_tokens(base, "", [], version),
        application_url=_application_url(connection, context.get("run")),
        groups_url=links.groups(base),
    )


def _application_url(connection: Connection, run: ProvisioningRun | None) -> str:
    """Return the application's page in GitLab, or the list if its number is not known."""
    base, version = connection.external_url, parse_version(connection.version_seen)
    number = next((result["facts"]["number"] for result in run.results if "number" in result["facts"]), 0) if run else 0
    is_own = kind_of_application(current_runtime(), connection) == USER_KIND
    if not number:
        return links.own_applications(base, version) if is_own else links.applications(base)
    return f"{base}/oauth/applications/{number}" if is_own else f"{links.applications(base)}/{number}"


def _render_application(
    connection: Connection,
    form: ApplicationForm,
    *,
    errors: dict[str, str] | None = None,
    card: Card | None = None,
    status: int = 0,
) -> Response:
    runtime = current_runtime()
    run = find_run(runtime, connection)
    run = run if run is not None and run.kind in {Kind.VERIFY, Kind.RENEW} else None
    is_own = kind_of_application(runtime, connection) == USER_KIND
    version = parse_version(connection.version_seen)
    return render(
        "provisioning/application.html",
        status=status or (422 if errors or card else 200),
        connection=connection,
        application=get_application(runtime, connection),
        form=form,
        errors=errors or {},
        card=card,
        run=run,
        **_lines_of(run),
        is_own=is_own,
        wanted=Wanted(Kind.VERIFY),
        verifies=plan(runtime, connection, Wanted(Kind.VERIFY)),
        application_url=_application_url(connection, run),
        token_url=links.personal_access_tokens(connection.external_url, "Gatehouse, once", ["api"], version),
        can_revoke=version is None or (version.major, version.minor) >= (15, 0),
    )
