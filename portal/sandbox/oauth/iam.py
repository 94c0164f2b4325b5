"""GitLab's IAM service, its new token service, which replaces the OAuth engine application by application.

It is built on fosite, the library behind Ory Hydra, and behaves like it. What a client notices:

- An access token is a JWT behind a prefix, signed with a key of the JWKS. GitLab checks the signature and keeps no
  row, so nothing can revoke it: it works until it expires, even after the refresh, after `/oauth/revoke`, and
  after the application was deleted. A dead one is refused with a bare 401, except in its first 30 seconds, which have a
  reason.
- A refresh ends only the old refresh token. Posting a spent one, or a spent code, ends the whole family: every refresh
  token that came from the same authorization.
- The client is checked before the grant, so a wrong secret is a 401, whatever the token is.
- Answers say `bearer`, have no `created_at`, and refusals no `WWW-Authenticate`. `/oauth/revoke` answers 200 with an
  empty body. A scope that the application has lost is refused with 400 `invalid_scope`, and the pair stays alive.
- There is no `/oauth/token/info`. An unknown `client_id` at `/oauth/authorize` is a page with status 401.

Sources: GitLab's lib/authn/tokens/iam_oauth_token.rb, https://gitlab.com/gitlab-org/gitlab/-/issues/594504, and
fosite's own code. GitLab's service itself was not measured.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import Response, json, request
from joserfc import jwt
from joserfc.errors import JoseError

from portal.sandbox.oauth.authorize import verifier_fits
from portal.sandbox.oauth.openid import id_token
from portal.sandbox.oauth.store import Application, Token

if TYPE_CHECKING:
    from portal.sandbox.people import User
    from portal.sandbox.world import World

AUDIENCE = "gitlab-api"
# Clocks differ, so GitLab still knows a token this long after its end and says that it is expired.
LEEWAY_SECONDS = 30

INVALID_CLIENT = (
    "Client authentication failed (e.g., unknown client, no client authentication included, "
    "or unsupported authentication method)."
)
INVALID_GRANT = (
    "The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is "
    "invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued "
    "to another client."
)
INVALID_REQUEST = (
    "The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than "
    "once, or is otherwise malformed."
)
INVALID_SCOPE = "The requested scope is invalid, unknown, or malformed."
UNSUPPORTED_GRANT_TYPE = "The authorization grant type is not supported by the authorization server."


class Refusal(Exception):
    """An error response of fosite; `hint` follows its fixed sentence."""

    def __init__(self, status: int, error: str, sentence: str, hint: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.description = status, error, f"{sentence} {hint}".strip()


@dataclass(frozen=True)
class AccessClaims:
    """The contents of a valid access token of the service."""

    user_id: int
    scopes: tuple[str, ...]
    expires_at: datetime


def answers_for(world: World, application: Application | None) -> bool:
    """Return whether the service answers for this application; an unknown one follows the GitLab-wide setting."""
    if application is None or application.iam is None:
        return world.settings.iam
    return application.iam


def is_access_token(world: World, text: str) -> bool:
    """Return whether this looks like one of the service's access tokens."""
    return text.startswith(world.settings.iam_token_prefix) and text.count(".") == 2


def read_access_token(world: World, text: str) -> AccessClaims | None:
    """Return the contents of an access token, None if it is not valid. Only its signature and its time count."""
    try:
        found = jwt.decode(text.removeprefix(world.settings.iam_token_prefix), world.signing_key.key(), ["RS256"])
    except (JoseError, ValueError):
        return None
    claims = found.claims
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    over = expires_at + timedelta(seconds=LEEWAY_SECONDS) <= world.now()
    if over or claims["iss"] != world.settings.external_url or claims["aud"] != [AUDIENCE]:
        return None
    return AccessClaims(int(claims["sub"]), tuple(claims["scope"].split()), expires_at)


def token_response(world: World) -> Response:
    """Answer `POST /oauth/token`; the lock makes check and change one step."""
    with world.oauth.lock:
        return _answered(lambda: _json(_granted(world)))


def revoke_response(world: World) -> Response:
    """Answer `POST /oauth/revoke`: 200 and an empty body for any token; another application's is left alone."""

    def revoke() -> Response:
        application = _client(world)
        token = world.oauth.find_token(request.form.get("token"))
        if token is not None and token.family is not None and token.application_id == application.id:
            world.oauth.end_family(token.family)
        return _unkept(Response(status=200))

    return _answered(revoke)


def introspect_response(world: World) -> Response:
    """Answer `POST /oauth/introspect`; unlike GitLab's API, the service knows whether a family has ended."""

    def introspect() -> Response:
        application = _client(world)
        text = request.form.get("token", "")
        token = world.oauth.find_token(text)
        if token is None or token.family is None or token.is_revoked or token.application_id != application.id:
            return _json({"active": False})
        is_access = text == token.access_token
        if is_access and token.is_expired(world.now()):
            return _json({"active": False})
        return _json(
            {
                "active": True,
                "client_id": application.uid,
                "exp": int(token.expires_at.timestamp()),
                "iat": int(token.created_at.timestamp()),
                "iss": world.settings.external_url,
                "scope": " ".join(token.scopes),
                "sub": str(token.user_id),
                "token_type": "Bearer",
                "token_use": "access_token" if is_access else "refresh_token",
            }
        )

    return _answered(introspect)


def _granted(world: World) -> dict[str, Any]:
    grant_type = request.form.get("grant_type")
    if not grant_type:
        raise Refusal(400, "invalid_request", INVALID_REQUEST, "Request parameter 'grant_type' is missing")
    application = _client(world)
    if world.use_up("refuse_good_clients"):
        raise Refusal(401, "invalid_client", INVALID_CLIENT)
    if grant_type == "authorization_code":
        return _exchange(world, application)
    if grant_type == "refresh_token":
        return _refresh(world, application)
    raise Refusal(400, "unsupported_grant_type", UNSUPPORTED_GRANT_TYPE)


def _client(world: World) -> Application:
    """Return the client that the request authenticates: HTTP Basic first, the body second."""
    basic = request.authorization if request.authorization and request.authorization.type == "basic" else None
    uid = (basic.username if basic else None) or request.form.get("client_id")
    secret = (basic.password if basic else None) or request.form.get("client_secret", "")
    application = world.oauth.find_application(uid)
    if application is None or not answers_for(world, application):
        raise Refusal(401, "invalid_client", INVALID_CLIENT, "The requested OAuth 2.0 Client does not exist.")
    if (application.confidential or secret) and not application.accepts_secret(secret):
        raise Refusal(401, "invalid_client", INVALID_CLIENT)
    return application


def _exchange(world: World, application: Application) -> dict[str, Any]:
    store, form = world.oauth, request.form
    grant = store.find_grant(form.get("code"))
    if grant is None or grant.application_id != application.id:
        raise Refusal(400, "invalid_grant", INVALID_GRANT)
    if grant.family is not None:
        store.end_family(grant.family)
        raise Refusal(400, "invalid_grant", INVALID_GRANT, "The authorization code has already been used.")
    if not grant.is_accessible(world.now()) or grant.redirect_uri != form.get("redirect_uri", ""):
        raise Refusal(400, "invalid_grant", INVALID_GRANT)
    user = world.user(grant.user_id)
    if user is None or not verifier_fits(grant, form.get("code_verifier", "")):
        raise Refusal(400, "invalid_grant", INVALID_GRANT)
    store.burn_grant(grant)
    grant.family = store.new_family()
    answer = _issue(world, application, user, grant.scopes, grant.family)
    if "openid" in grant.scopes:
        answer["id_token"] = id_token(world, world.signing_key, user, application.uid, grant.nonce)
    return answer


def _refresh(world: World, application: Application) -> dict[str, Any]:
    store = world.oauth
    text = request.form.get("refresh_token")
    token: Token | None = store.find_refresh_token(text)
    if token is None or token.family is None or token.application_id != application.id:
        raise Refusal(400, "invalid_grant", INVALID_GRANT)
    if token.is_revoked:
        store.end_family(token.family)
        raise Refusal(400, "invalid_grant", INVALID_GRANT, "The refresh token was already used.")
    asked = tuple((request.form.get("scope") or "").split()) or token.scopes
    lost = [name for name in asked if name not in token.scopes or name not in application.scopes]
    if lost:
        hint = f"The OAuth 2.0 Client is not allowed to request scope '{lost[0]}'."
        raise Refusal(400, "invalid_scope", INVALID_SCOPE, hint)
    user = world.user(token.user_id or 0)
    if user is None or world.use_up("refuse_good_refreshes"):
        raise Refusal(400, "invalid_grant", INVALID_GRANT)
    store.revoke_token(token)
    return _issue(world, application, user, asked, token.family)


def _issue(world: World, application: Application, user: User, scopes: tuple[str, ...], family: int) -> dict[str, Any]:
    now = int(world.now().timestamp())
    lifetime_seconds = world.settings.token_lifetime_seconds
    early_end = world.settings.end_tokens_after_seconds
    key = world.signing_key.key()
    claims = {
        "iss": world.settings.external_url,
        "aud": [AUDIENCE],
        "sub": str(user.id),
        "client_id": application.uid,
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + int(lifetime_seconds if early_end is None else early_end),
        "jti": secrets.token_hex(16),
    }
    signed = jwt.encode({"typ": "JWT", "alg": "RS256", "kid": key.kid}, claims, key)
    row = world.oauth.create_token(
        application.id,
        user.id,
        scopes,
        access_token=world.settings.iam_token_prefix + signed,
        refresh_token=f"{secrets.token_urlsafe(32)}.{secrets.token_urlsafe(32)}",
        expires_in_seconds=lifetime_seconds,
        family=family,
    )
    return {
        "access_token": row.access_token,
        "expires_in": lifetime_seconds,
        "refresh_token": row.refresh_token,
        "scope": " ".join(scopes),
        "token_type": "bearer",
    }


def _answered(make: Callable[[], Response]) -> Response:
    try:
        return make()
    except Refusal as refusal:
        return _json({"error": refusal.error, "error_description": refusal.description}, refusal.status)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return _unkept(Response(json.dumps(body), status, content_type="application/json;charset=UTF-8"))


def _unkept(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"
    return response
