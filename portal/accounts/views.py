"""First run, sign-in and sign-out, the user's profile, and the members of an organization."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, Response, after_this_request, flash, g, request, url_for

from portal import audit
from portal.accounts import first_run, limits, members, notes, people, proof_views, signed_out_views
from portal.accounts.forms import InvitationForm, InviteForm, NameForm, PasswordForm, RoleForm, SetupForm, SignInForm
from portal.accounts.models import Membership
from portal.actor import ROLE_SENTENCES, AccessRefused, Right, Role
from portal.db import MAX_ID
from portal.errors import InvalidInput, NotFound
from portal.logs import get_logger
from portal.requestinfo import current_request_info, loggable_path
from portal.runtime import Runtime
from portal.web.access import public, requires, signed_in
from portal.web.addresses import safe_next
from portal.web.current import current_principal, current_runtime, find_principal, forget_principal
from portal.web.error_pages import answer
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof
from portal.web.request_checks import SAFE_METHODS
from portal.web.sessions import current_session, current_sessions

blueprint = Blueprint("accounts", __name__)
log = get_logger(__name__)


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)
    proof_views.register(app)
    signed_out_views.register(app)
    app.register_error_handler(AccessRefused, _answer_refused)
    app.add_template_filter(initials)
    app.add_url_rule("/healthz", "healthz", public(lambda: Response("ok\n", mimetype="text/plain")))
    app.add_url_rule("/readyz", "readyz", _say_ready)


@public
def _say_ready() -> Response:
    """Tell a load balancer whether pages can be shown: like each of them, this is 503 while the database is
    unreachable.
    """
    current_runtime().database.ping()
    return Response("ok\n", mimetype="text/plain")


def _answer_refused(error: AccessRefused) -> Response:
    """Record that someone asked for what they have no right to; in no transaction of the view's."""
    # The principal as the request began, whatever their rights are now.
    if principal := find_principal():
        path = loggable_path(request.path)
        log.warning("access_refused", user_id=principal.user_id, right=error.right, path=path, method=request.method)
        if request.method not in SAFE_METHODS:  # A GET changes nothing, the audit log included.
            with current_runtime().database.transaction() as database:
                audit.record(
                    database,
                    principal.actor,
                    "access.refused",
                    audit.Target(principal.organization_id, "address", path),
                    result="refused",
                    right=error.right.value,
                    method=request.method,
                )
    return answer(error)


def initials(name: str) -> str:
    """Return the first letters of the first and the last word of a name, as capitals."""
    words = name.split()
    return "".join(word[0] for word in (words if len(words) < 2 else (words[0], words[-1]))).upper()


@blueprint.get("/")
@public
def home() -> Response:
    """Go to where the work is."""
    return leave_to(url_for("connections.index" if find_principal() else ".sign_in"))


@blueprint.route("/setup/<token>", methods=["GET", "POST"])
@public
def setup(token: str) -> Response:
    """Make the organization and its owner, once."""
    runtime = current_runtime()
    first_run.require_open_setup(runtime, token)
    form = SetupForm()
    if request.method in SAFE_METHODS:
        return _page("setup", form)
    try:
        membership = first_run.set_up(
            runtime,
            token,
            _text(form, "organization"),
            _text(form, "name"),
            _text(form, "email"),
            _text(form, "password"),
        )
    except InvalidInput as error:
        return _page("setup", form, error)
    _begin_session(membership)
    return leave_to(url_for("connections.index"))


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> Response:
    """Sign in by e-mail and password."""
    runtime, form = current_runtime(), SignInForm()
    target = safe_next(request.values.get("next")) or url_for("connections.index")
    if request.method in SAFE_METHODS:
        return leave_to(target) if find_principal() else _page("sign_in", form, next=target)
    kept = _text(form, "kept")
    try:
        email, source = _text(form, "email"), current_request_info().source_address
        device = limits.known_device(runtime, email, _device_cookie())
        membership = people.check_sign_in(runtime, email, _text(form, "password"), source, device)
    except InvalidInput as error:
        if wants_fragment():
            return signed_out_views.render_question(422, errors={"": error.sentence})
        return _page("sign_in", form, error, next=target, kept=kept)
    _begin_session(membership)
    if wants_fragment():
        return render("accounts/_signed_in.html")
    if "kept" in request.form:
        signed_out_views.take_up(target, kept)
    return leave_to(target)


@blueprint.post("/sign-out")
@public
def sign_out() -> Response:
    """End the session; browsers forget what they kept of it."""
    refuse_unknown_fields()
    if find_principal() is not None:
        current_sessions().end(current_session())
        forget_principal()
    response = leave_to(url_for(".sign_in"))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@blueprint.route("/invitations/<token>", methods=["GET", "POST"])
@public
def accept_invitation(token: str) -> Response:
    """Become a member."""
    runtime = current_runtime()
    try:
        invitation = members.find_invitation(runtime, token)
    except NotFound:
        if request.method not in SAFE_METHODS:
            members.note_refused_invitation(runtime, token)
        raise
    form = InvitationForm()
    if request.method in SAFE_METHODS:
        return _page("invitation", form, invitation=invitation)
    try:
        membership = members.accept_invitation(runtime, token, _text(form, "name"), _text(form, "password"))
    except InvalidInput as error:
        return _page("invitation", form, error, invitation=invitation)
    _begin_session(membership)
    return leave_to(url_for("connections.index"))


@blueprint.get("/profile")
@signed_in
def profile() -> Response:
    """Show the user's name, password form and sessions."""
    return _profile()


@blueprint.post("/profile/name")
@signed_in
def rename() -> Response:
    """Change the user's name."""
    form = NameForm()
    try:
        people.rename_person(current_runtime(), current_principal().user_id, _text(form, "name"))
    except InvalidInput as error:
        return _profile(error)
    flash("Your name is changed.", "success")
    return leave_to(url_for(".profile"))


@blueprint.post("/profile/password")
@signed_in
def change_password() -> Response:
    """Change the user's password; other sessions end."""
    runtime, principal, form = current_runtime(), current_principal(), PasswordForm()
    source = current_request_info().source_address
    try:
        people.verify_own_password(runtime, principal, _text(form, "password"), source)
        people.set_password(runtime, principal.email, _text(form, "new_password"), keep_session=principal.session_id)
    except InvalidInput as error:
        return _profile(error)
    current_sessions().renew(current_session(), is_proved=True)
    flash("Your password is changed; you are signed out everywhere else.", "success")
    return leave_to(url_for(".profile"))


@blueprint.post("/profile/sessions/end")
@signed_in
def end_sessions() -> Response:
    """End the user's other sessions."""
    refuse_unknown_fields()
    members.end_own_sessions(current_runtime(), current_principal())
    flash("You will be signed out everywhere else.", "success")
    return leave_to(url_for(".profile"))


@blueprint.get("/members", endpoint="members")
@requires(Right.SEE_MEMBERS)
def show_members() -> Response:
    """Show the members and open invitations."""
    return _members()


@blueprint.get("/members/invitations")
@requires(Right.MANAGE_MEMBERS)
def new_invitation() -> Response:
    """Ask whom to invite, with which role and to which groups."""
    return _invitation(InviteForm())


@blueprint.post("/members/invitations")
@requires(Right.MANAGE_MEMBERS)
def invite() -> Response:
    """Make an invitation and show its link, once."""
    form, runtime, principal = InviteForm(), current_runtime(), current_principal()
    require_proof(purpose="inviting someone", keep=("email", "role", "groups"))
    chosen = set(form.groups.data or [])
    groups = [group for group in notes.group_choices(runtime, principal) if str(group.id) in chosen]
    try:
        link = members.invite(runtime, current_principal(), _text(form, "email"), _text(form, "role"), groups)
    except InvalidInput as error:
        return _invitation(form, error)
    return _members(link=link, invited=_text(form, "email"))


@blueprint.post(f"/members/invitations/<int(max={MAX_ID}):invitation_id>/withdrawal")
@requires(Right.MANAGE_MEMBERS)
def withdraw_invitation(invitation_id: int) -> Response:
    """Void the link of an invitation."""
    refuse_unknown_fields()
    email = members.withdraw_invitation(current_runtime(), current_principal(), invitation_id)
    flash(f"The invitation for {email} is withdrawn.", "success")
    return leave_to(url_for(".members"))


@blueprint.post(f"/members/<int(max={MAX_ID}):membership_id>/role")
@requires(Right.MANAGE_MEMBERS)
def change_role(membership_id: int) -> Response:
    """Give a member another role."""
    form = RoleForm()
    require_proof(purpose="changing a role", keep=("role",))
    principal = current_principal()
    members.change_role(current_runtime(), principal, membership_id, _text(form, "role"))
    if principal.membership_id == membership_id:
        current_sessions().renew(current_session())
        forget_principal()
    flash("The role is changed.", "success")
    may_stay = current_principal().may(Right.SEE_MEMBERS)
    return leave_to(url_for(".members" if may_stay else "connections.index"))


@blueprint.post(f"/members/<int(max={MAX_ID}):membership_id>/removal")
@requires(Right.MANAGE_MEMBERS)
def remove(membership_id: int) -> Response:
    """Remove a member."""
    refuse_unknown_fields()
    require_proof(purpose="removing a member")
    principal = current_principal()
    members.remove_member(current_runtime(), principal, membership_id)
    flash("The member is removed.", "success")
    gone = principal.membership_id == membership_id
    return leave_to(url_for(".sign_in") if gone else url_for(".members"))


def _begin_session(membership: Membership) -> None:
    current_sessions().begin(current_session(), membership.user_id, membership.organization_id)
    forget_principal()
    g.pop("csrf_token", None)  # Flask-WTF keeps the one it made for the session before.
    runtime = current_runtime()
    known = limits.remember_device(runtime, current_principal().email, _device_cookie())

    @after_this_request
    def remember(response: Response) -> Response:
        response.set_cookie(
            _device_cookie_name(),
            known,
            max_age=limits.DEVICE_DAYS * 24 * 3600,
            secure=runtime.settings.is_https,
            httponly=True,
            samesite="Lax",
            path="/",
        )
        return response


def _device_cookie_name() -> str:
    return "__Host-gatehouse-device" if current_runtime().settings.is_https else "gatehouse-device"


def _device_cookie() -> str:
    """Return the browser's cookie from earlier sign-ins; nothing if it came twice: one may be someone else's."""
    values = request.cookies.getlist(_device_cookie_name())
    return values[0] if len(values) == 1 else ""


def _text(form: Any, name: str) -> str:
    return str(form[name].data or "")


def _page(name: str, form: Any, error: InvalidInput | None = None, **context: Any) -> Response:
    errors = (error.field_errors or {"": error.sentence}) if error else {}
    return render(f"accounts/{name}.html", status=422 if error else 200, form=form, errors=errors, **context)


def _profile(error: InvalidInput | None = None) -> Response:
    runtime, principal = current_runtime(), current_principal()
    found = members.list_sessions(runtime, principal)
    return _page("profile", None, error, sessions=found, present_session_id=principal.session_id)


def _invitation(form: InviteForm, error: InvalidInput | None = None) -> Response:
    choices = notes.group_choices(current_runtime(), current_principal())
    return _page("invite", form, error, choices=choices, roles=[(role, ROLE_SENTENCES[role]) for role in Role])


def _members(**context: Any) -> Response:
    runtime, principal = current_runtime(), current_principal()
    found = members.list_members(runtime, principal)
    return _page(
        "members",
        None,
        members=found,
        notes=notes.notes_for(runtime, principal, [member.membership for member in found]),
        may_manage=principal.may(Right.MANAGE_MEMBERS),
        invitations=members.list_invitations(runtime, principal),
        roles=[(role, ROLE_SENTENCES[role]) for role in Role],
        **context,
    )
