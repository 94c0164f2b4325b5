"""`/oauth/authorize`: the page a person sees, its consent form, and the ways out of it.

Errors are pages with status 200 and are never redirected; a consent that is not needed ends on a page that
navigates by script. So the status says nothing here, as on a real GitLab.
"""

# authlib is untyped.
# mypy: allow-untyped-calls, allow-subclassing-any

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from authlib.oauth2 import OAuth2Error
from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from portal.sandbox.oauth import texts
from portal.sandbox.oauth.authorize import CodeGrant
from portal.sandbox.oauth.errors import sentence_of
from portal.sandbox.oauth.scopes import ADMIN_RISK_SCOPES, named
from portal.sandbox.oauth.server import Provider
from portal.sandbox.oauth.store import Application
from portal.sandbox.web.session import current_user, refuse_forged_forms, remember_destination

if TYPE_CHECKING:
    from portal.sandbox.world import User, World

CONSENT_FIELDS = (
    "client_id",
    "redirect_uri",
    "state",
    "response_type",
    "scope",
    "nonce",
    "code_challenge",
    "code_challenge_method",
)


def authorize_blueprint(world: World, provider: Provider) -> Blueprint:
    """Return the routes; the caller mounts them under the relative root."""
    blueprint = Blueprint("oauth_authorize", __name__)
    blueprint.before_request(refuse_forged_forms)

    @blueprint.get("/oauth/authorize")
    def show() -> ResponseReturnValue:
        user = current_user(world)
        if user is None:
            remember_destination()
            return redirect(url_for("web.sign_in"))
        return _page_for(world, provider, user)

    @blueprint.route("/oauth/authorize", methods=["POST", "DELETE"])
    def decide() -> ResponseReturnValue:
        user = current_user(world)
        if user is None:
            return redirect(url_for("web.sign_in"))
        denies = request.method == "DELETE" or request.form.get("_method", "").lower() == "delete"
        return _decided(world, provider, user, denies=denies)

    return blueprint


def _page_for(world: World, provider: Provider, user: User) -> ResponseReturnValue:
    if not user.confirmed:
        return _error_page("Your email address is not confirmed. Please check your inbox for the instructions.")
    try:
        grant: CodeGrant = provider.get_consent_grant(end_user=user)
    except OAuth2Error as error:
        return _error_page(sentence_of(error)), _status_of_page(world, error)
    application: Application = grant.request.client.application
    if _forbidden_to_administrator(world, user, application):
        return render_template("sandbox/oauth/forbidden.html", application=application)
    if _needs_no_consent(provider, user, application, grant.request.scope):
        location = _approved(provider, user, grant).headers["Location"]
        session.pop("return_to", None)
        return render_template("sandbox/oauth/redirect.html", location=location)
    return _consent_page(user, application, grant)


def _consent_page(user: User, application: Application, grant: CodeGrant) -> str:
    data = grant.request.payload.data
    fields = {name: data.get(name) or "" for name in CONSENT_FIELDS}
    return render_template(
        "sandbox/oauth/consent.html",
        application=application,
        user=user,
        fields=fields | {"scope": grant.request.scope},
        scopes=named(grant.request.scope.split()),
    )


def _decided(world: World, provider: Provider, user: User, *, denies: bool) -> ResponseReturnValue:
    try:
        grant: CodeGrant = provider.get_consent_grant(end_user=user)
    except OAuth2Error as error:
        return _error_page(sentence_of(error)), _status_of_page(world, error)
    if not user.confirmed or _forbidden_to_administrator(world, user, grant.request.client.application):
        return _error_page(texts.ACCESS_DENIED)
    if denies:
        return redirect(_denied_location(grant.redirect_uri, request.values.get("state") or ""))
    return _approved(provider, user, grant)


def _approved(provider: Provider, user: User, grant: CodeGrant) -> Response:
    response: Response = provider.create_authorization_response(request=grant.request, grant_user=user, grant=grant)
    return response


def _denied_location(redirect_uri: str, state: str) -> str:
    answer = {"error": "access_denied", "error_description": texts.ACCESS_DENIED, "state": state}
    parts = urlsplit(redirect_uri)
    pairs = parse_qsl(parts.query, keep_blank_values=True) + [pair for pair in answer.items() if pair[1]]
    return urlunsplit(parts._replace(query=urlencode(pairs)))


def _needs_no_consent(provider: Provider, user: User, application: Application, scope: str) -> bool:
    """Return whether GitLab skips its consent page: for a trusted application, or a repeated authorization.

    An expired token counts as a repetition, a revoked one does not; public applications always ask.
    """
    if application.trusted:
        return True
    rows = provider.store.tokens(user_id=user.id, application_id=application.id)
    wanted = set(scope.split())
    return application.confidential and any(not row.is_revoked and set(row.scopes) == wanted for row in rows)


def _forbidden_to_administrator(world: World, user: User, application: Application) -> bool:
    guarded = world.settings.disable_admin_oauth_scopes and user.admin and not application.trusted
    return guarded and not ADMIN_RISK_SCOPES.isdisjoint(application.scopes)


def _status_of_page(world: World, error: OAuth2Error) -> int:
    """The engine shows every error with 200; the IAM service refuses unknown clients with 401."""
    return 401 if world.settings.iam and error.error == "invalid_client" else 200


def _error_page(sentence: str) -> str:
    return render_template("sandbox/oauth/error.html", sentence=sentence)
