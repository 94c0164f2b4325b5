"""The machine side: token, token/info, revoke, introspect, userinfo, keys, discovery.

GitLab's engine or its IAM service answers, depending on the request's application.
"""

# authlib is untyped.
# mypy: allow-untyped-calls, allow-subclassing-any

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, jsonify, request

from portal.sandbox.oauth import iam, texts
from portal.sandbox.oauth.openid import discovery, user_claims
from portal.sandbox.oauth.server import Provider
from portal.sandbox.oauth.store import Token

if TYPE_CHECKING:
    from portal.sandbox.world import World


def token_blueprint(world: World, provider: Provider) -> Blueprint:
    """Return the routes; the caller mounts them under the relative root."""
    blueprint = Blueprint("oauth_tokens", __name__)

    @blueprint.post("/oauth/token")
    def token() -> Response:
        return iam.token_response(world) if _is_for_iam(world) else provider.create_token_response()

    @blueprint.post("/oauth/revoke")
    def revoke() -> Response:
        if _is_for_iam(world):
            return iam.revoke_response(world)
        response: Response = provider.create_endpoint_response("revocation")
        return response

    @blueprint.post("/oauth/introspect")
    def introspect() -> Response:
        if _is_for_iam(world):
            return iam.introspect_response(world)
        response: Response = provider.create_endpoint_response("introspection")
        return response

    @blueprint.get("/oauth/token/info")
    def token_info() -> Response:
        if world.settings.iam:
            return Response("404 page not found\n", 404, content_type="text/plain; charset=utf-8")
        row = _live_token(provider)
        return _token_info(provider, row) if row else _bad_token_info()

    @blueprint.route("/oauth/userinfo", methods=["GET", "POST"])
    def userinfo() -> Response:
        return _userinfo(world, provider)

    @blueprint.get("/oauth/discovery/keys")
    def keys() -> Response:
        return jsonify(world.signing_key.public_set())

    @blueprint.get("/.well-known/openid-configuration")
    def openid_configuration() -> Response:
        return jsonify(discovery(world.settings.external_url, world.release))

    return blueprint


def _is_for_iam(world: World) -> bool:
    basic = request.authorization if request.authorization and request.authorization.type == "basic" else None
    uid = (basic.username if basic else None) or request.form.get("client_id")
    return iam.answers_for(world, world.oauth.find_application(uid))


def _bearer() -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else request.values.get("access_token", "")


def _live_token(provider: Provider) -> Token | None:
    text = _bearer()
    token = provider.store.find_token(text)
    if token is None or token.access_token != text or token.family is not None:
        return None
    if token.is_revoked or token.is_expired(provider.now()):
        return None
    return None if provider.world.is_too_fresh(token) else token


def _token_info(provider: Provider, token: Token) -> Response:
    application = provider.store.application(token.application_id)
    expires_in = int((token.expires_at - provider.now()).total_seconds())
    return jsonify(
        resource_owner_id=token.user_id,
        scope=list(token.scopes),
        expires_in=expires_in,
        application={"uid": application.uid if application else None},
        created_at=int(token.created_at.timestamp()),
        scopes=list(token.scopes),
        expires_in_seconds=expires_in,
    )


def _bad_token_info() -> Response:
    """GitLab overrides the engine here: a dead token is a bad request, not a 401."""
    response = jsonify(error="invalid_request", error_description=texts.INVALID_REQUEST)
    response.status_code = 400
    response.headers["WWW-Authenticate"] = _challenge("invalid_request", texts.INVALID_REQUEST)
    return response


def _userinfo(world: World, provider: Provider) -> Response:
    text = _bearer()
    token = iam.read_access_token(world, text) if iam.is_access_token(world, text) else _live_token(provider)
    user = provider.user(token.user_id) if token else None
    if token is None or user is None:
        return _refused(401, "invalid_token", _why_dead(provider, text))
    if "openid" not in token.scopes:
        return _refused(403, "insufficient_scope", 'Access to this resource requires scope "openid".')
    return jsonify(user_claims(world, user, token.scopes))


def _why_dead(provider: Provider, text: str) -> str:
    token = provider.store.find_token(text)
    if token is None or token.access_token != text:
        return "The access token is invalid"
    return "The access token was revoked" if token.is_revoked else "The access token expired"


def _refused(status: int, error: str, description: str) -> Response:
    """The engine says why only in the header; the body is empty."""
    return Response(status=status, headers={"WWW-Authenticate": _challenge(error, description)})


def _challenge(error: str, description: str) -> str:
    return f'Bearer realm="Doorkeeper", error="{error}", error_description="{description}"'
