"""The authorization code grant: what `/oauth/authorize` accepts and what an exchange checks, in GitLab's order."""

# authlib is untyped.
# mypy: allow-untyped-calls, allow-subclassing-any

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant

from portal.sandbox.oauth import texts
from portal.sandbox.oauth.clients import AUTH_METHOD, Client
from portal.sandbox.oauth.errors import InvalidGrantError, InvalidScopeError, MissingParameter, PageError
from portal.sandbox.oauth.scopes import DEFAULT_SCOPE, application_scopes
from portal.sandbox.oauth.store import Application, Grant
from portal.sandbox.personal_tokens import GRANULAR

if TYPE_CHECKING:
    from portal.sandbox.oauth.server import Provider

CHALLENGE_METHODS = ("plain", "S256")


class CodeGrant(AuthorizationCodeGrant):
    """GitLab's `authorization_code` grant with optional PKCE for every kind of application."""

    TOKEN_ENDPOINT_AUTH_METHODS = [AUTH_METHOD]  # noqa: RUF012  authlib reads this class attribute
    server: Provider
    request: Any
    redirect_uri: Any

    def validate_authorization_request(self) -> str:
        """Check the query of the authorize page; return the redirect URI.

        Raises:
            PageError: always shown as a page; GitLab redirects none of these.
        """
        payload = self.request.payload
        application = self._known_application(payload.client_id)
        self.request.client = Client(application)
        if not payload.redirect_uri or not self.request.client.check_redirect_uri(payload.redirect_uri):
            raise PageError("invalid_redirect_uri", texts.invalid_redirect_uri(self.server.release))
        self._check_response(payload)
        self.request.scope = self._checked_scope(application, payload.scope)
        data = payload.data
        if data.get("code_challenge") and data.get("code_challenge_method") not in CHALLENGE_METHODS:
            raise PageError("invalid_code_challenge_method", texts.INVALID_CODE_CHALLENGE_METHOD)
        return str(payload.redirect_uri)

    def _known_application(self, uid: str | None) -> Application:
        if not uid:
            raise PageError("invalid_request", texts.missing_parameter("client_id", self.server.release))
        application = self.server.store.find_application(uid)
        if application is None:
            raise PageError("invalid_client", texts.INVALID_CLIENT)
        return application

    def _check_response(self, payload: Any) -> None:
        if not payload.response_type:
            raise PageError("invalid_request", texts.missing_parameter("response_type", self.server.release))
        if payload.response_type != "code":
            raise PageError("unsupported_response_type", texts.UNSUPPORTED_RESPONSE_TYPE)
        if payload.data.get("response_mode", "query") not in ("", "query"):
            raise PageError("unsupported_response_mode", texts.UNSUPPORTED_RESPONSE_MODE)

    def _checked_scope(self, application: Application, asked: str | None) -> str:
        if application.granular_scopes:
            return GRANULAR
        allowed = application.scopes or tuple(scope.name for scope in application_scopes(self.server.release))
        names = (asked or "").split() or [name for name in (DEFAULT_SCOPE,) if name in allowed]
        if not names or not set(names) <= set(allowed):
            raise PageError("invalid_scope", texts.INVALID_SCOPE)
        return " ".join(dict.fromkeys(names))

    def generate_authorization_code(self) -> str:
        """Return 64 hex characters, as GitLab's codes are."""
        return secrets.token_hex(32)

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Store the code with everything the exchange compares."""
        data = request.payload.data
        self.server.store.save_grant(
            Grant(
                code,
                request.client.application.id,
                request.user.id,
                request.payload.redirect_uri,
                tuple(request.scope.split()),
                self.server.now(),
                data.get("code_challenge") or "",
                data.get("code_challenge_method") or "",
                data.get("nonce") or "",
            )
        )

    def validate_token_request(self) -> None:
        """Check an exchange: parameters, client, code, redirect URI, verifier."""
        form = self.request.form
        if not form.get("code"):
            raise MissingParameter("code", self.server.release)
        grant = self.server.store.find_grant(form["code"])
        if grant is not None and grant.code_challenge and not form.get("code_verifier"):
            raise MissingParameter("code_verifier", self.server.release)
        if not form.get("redirect_uri"):
            raise MissingParameter("redirect_uri", self.server.release)
        client = self.authenticate_token_endpoint_client()
        if grant is None or grant.application_id != client.application.id or not grant.is_accessible(self.server.now()):
            raise InvalidGrantError()
        if grant.redirect_uri != form["redirect_uri"] or not verifier_fits(grant, form.get("code_verifier") or ""):
            raise InvalidGrantError()
        self.request.client, self.request.authorization_code = client, grant
        # authlib reads the scope of the new token from here; the request's own `scope` means nothing in an exchange.
        self.request.scope = " ".join(grant.scopes)

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Use up the code, then issue; the code is void even if the response never arrives."""
        grant: Grant = self.request.authorization_code
        if not self.server.store.burn_grant(grant):
            raise InvalidGrantError()
        user = self.server.user(grant.user_id)
        if user is None:
            raise InvalidGrantError()
        self.request.user = user
        token = self.generate_token(user=user, scope=" ".join(grant.scopes), include_refresh_token=True)
        self.save_token(token)
        if "openid" in grant.scopes:
            token["id_token"] = self.server.id_token(user, self.request.client.get_client_id(), grant.nonce)
        return 200, token, self.TOKEN_RESPONSE_HEADER


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def verifier_fits(grant: Grant, verifier: str) -> bool:
    """Return whether this is the verifier of the challenge that came with the authorization (RFC 7636 §4.6)."""
    if not verifier:
        return not grant.code_challenge
    if grant.code_challenge_method == "S256":
        return hmac.compare_digest(challenge_of(verifier), grant.code_challenge.rstrip("="))
    if grant.code_challenge_method == "plain":
        return hmac.compare_digest(verifier.encode(), grant.code_challenge.encode())
    # The engine refuses a verifier without a challenge.
    return False


def scope_within(asked: str, original: tuple[str, ...]) -> str:
    """Return the scope of a refreshed token: as asked, or the original. Raises InvalidScopeError if wider."""
    names = asked.split()
    if not set(names) <= set(original):
        raise InvalidScopeError()
    return " ".join(names or original)
