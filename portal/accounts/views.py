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
from portal.errors import NotFound
from portal.logs import get_logger
from portal.requestinfo import current_request_info, loggable_path
from portal.runtime import Runtime
from portal.web.access import public, requires, signed_in
from portal.web.addresses import safe_next
from portal.web.current import current_principal, current_runtime, find_principal, forget_principal
from portal.web.error_pages import answer
from portal.web.forms import answer_form, refuse_unknown_fields
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
    app.register_error_handler(AccessRefused, answer_refused)
    app.add_template_filter(initials)
    app.add_url_rule("/healthz", "healthz", public(lambda: Response("ok\n", mimetype="text/plain")))
    app.add_url_rule("/readyz", "readyz", say_ready)


@public
def say_ready() -> Response:
    """Tell a load balancer whether pages can be shown: like them, this is 503 while the database is unreachable."""
    current_runtime().database.ping()
    return Response("ok\n", mimetype="text/plain")


def answer_refused(error: AccessRefused) -> Response:
    """Record that someone asked for what they have no right to; outside the view's transaction."""
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
    """Create the organization and its owner, once."""
    runtime = current_runtime()
    first_run.require_open_setup(runtime, token)
    form = SetupForm()

    def act() -> Response:
        entered = [form.text(name) for name in ("organization", "name", "email", "password")]
        _begin_session(first_run.set_up(runtime, token, *entered))
        return leave_to(url_for("connections.index"))

    return answer_form(form, lambda: render("accounts/setup.html", form=form), act)


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> Response:
    """Sign in by e-mail and password."""
    runtime, form = current_runtime(), SignInForm()
    target = safe_next(request.values.get("next")) or url_for("connections.index")

    def page() -> Response:
        if request.method in SAFE_METHODS:
            return leave_to(target) if find_principal() else render("accounts/sign_in.html", form=form, next=target)
        if wants_fragment():
            return signed_out_views.render_question(422, form)
        return render("accounts/sign_in.html", form=form, next=target, kept=form.text("kept"))

    def act() -> Response:
        email, source = form.text("email"), current_request_info().source_address
        device = limits.known_device(runtime, email, _device_cookie())
        _begin_session(people.check_sign_in(runtime, email, form.text("password"), source, device))
        if wants_fragment():
            return render("accounts/_signed_in.html")
        if "kept" in request.form:
            signed_out_views.take_up(target, form.text("kept"))
        return leave_to(target)

    return answer_form(form, page, act)


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

    def act() -> Response:
        entered = form.text("name"), form.text("password")
        _begin_session(members.accept_invitation(runtime, token, *entered))
        return leave_to(url_for("connections.index"))

    return answer_form(form, lambda: render("accounts/invitation.html", form=form, invitation=invitation), act)


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

    def act() -> Response:
        people.rename_person(current_runtime(), current_principal().user_id, form.text("name"))
        flash("Your name is changed.", "success")
        return leave_to(url_for(".profile"))

    return answer_form(form, lambda: _profile(naming=form), act)


@blueprint.post("/profile/password")
@signed_in
def change_password() -> Response:
    """Change the user's password; other sessions end."""
    runtime, principal, form = current_runtime(), current_principal(), PasswordForm()

    def act() -> Response:
        source = current_request_info().source_address
        people.verify_own_password(runtime, principal, form.text("password"), source)
        people.set_password(runtime, principal.email, form.text("new_password"), keep_session=principal.session_id)
        current_sessions().renew(current_session(), is_proved=True)
        flash("Your password is changed; you are signed out everywhere else.", "success")
        return leave_to(url_for(".profile"))

    return answer_form(form, lambda: _profile(changing=form), act)


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


@blueprint.route("/members/invitations", methods=["GET", "POST"])
@requires(Right.MANAGE_MEMBERS)
def invite() -> Response:
    """Ask whom to invite, with which role and to which groups; then create an invitation and show its link, once."""
    runtime, form = current_runtime(), InviteForm()
    if request.method not in SAFE_METHODS:
        require_proof(purpose="inviting someone", keep=("email", "role", "groups"))
    choices = notes.group_choices(runtime, current_principal())

    def page() -> Response:
        roles = [(role, ROLE_SENTENCES[role]) for role in Role]
        return render("accounts/invite.html", form=form, choices=choices, roles=roles)

    def act() -> Response:
        chosen = set(form.groups.data or [])
        groups = [group for group in choices if str(group.id) in chosen]
        link = members.invite(runtime, current_principal(), form.text("email"), form.text("role"), groups)
        return _members(link=link, invited=form.text("email"))

    return answer_form(form, page, act)


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
    members.change_role(current_runtime(), principal, membership_id, form.text("role"))
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


def _profile(*, naming: NameForm | None = None, changing: PasswordForm | None = None) -> Response:
    """Show the profile, with a form that was refused."""
    runtime, principal = current_runtime(), current_principal()
    return render(
        "accounts/profile.html",
        naming=naming or NameForm(formdata=None, name=principal.name),
        changing=changing or PasswordForm(formdata=None),
        sessions=members.list_sessions(runtime, principal),
        present_session_id=principal.session_id,
    )


def _members(**context: Any) -> Response:
    runtime, principal = current_runtime(), current_principal()
    found = members.list_members(runtime, principal)
    return render(
        "accounts/members.html",
        members=found,
        notes=notes.notes_for(runtime, principal, [member.membership for member in found]),
        may_manage=principal.may(Right.MANAGE_MEMBERS),
        invitations=members.list_invitations(runtime, principal),
        roles=[(role, ROLE_SENTENCES[role]) for role in Role],
        **context,
    )
