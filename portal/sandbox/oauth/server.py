"""The provider: authlib's server, answering with GitLab's bodies, headers and statuses."""

# authlib is untyped.
# mypy: allow-untyped-calls, allow-subclassing-any

from __future__ import annotations

import json
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from authlib.integrations.flask_oauth2.authorization_server import AuthorizationServer
from authlib.integrations.flask_oauth2.requests import FlaskOAuth2Payload, FlaskOAuth2Request
from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from flask import Request, Response
from flask import request as flask_request

from portal.sandbox.oauth.authorize import CodeGrant
from portal.sandbox.oauth.clients import AUTH_METHOD, Client, client_authenticator
from portal.sandbox.oauth.endpoints import IntrospectionEndpoint, RevocationEndpoint
from portal.sandbox.oauth.errors import MissingParameter, sentence_of, status_of
from portal.sandbox.oauth.openid import id_token
from portal.sandbox.oauth.store import OAuthStore
from portal.sandbox.oauth.token_grants import ClientCredentialsGrant, PasswordGrant, RefreshGrant

if TYPE_CHECKING:
    from portal.sandbox.world import User, World


class LoopbackRequest(FlaskOAuth2Request):
    """A request whose address looks like https to authlib.

    authlib refuses plain HTTP unless a process-wide variable says otherwise; the sandbox listens on loopback only,
    and other parts of the same process must keep that protection.
    """

    payload: Any

    def __init__(self, request: Request) -> None:
        OAuth2Request.__init__(
            self,
            method=request.method,
            uri="https" + request.url.removeprefix("https").removeprefix("http"),
            headers=request.headers,
        )
        self._request = request
        self.payload = FlaskOAuth2Payload(request)


class Provider(AuthorizationServer):
    """The sandbox's OAuth 2 server over one world."""

    def __init__(self, world: World, store: OAuthStore) -> None:
        super().__init__(query_client=self._client_of, save_token=self._save_token)
        self.world = world
        self.store = store
        self.signing_key = world.signing_key
        self.register_token_generator("default", _token_generator(world))
        self.register_client_auth_method(AUTH_METHOD, client_authenticator(world))
        for grant in (CodeGrant, RefreshGrant, PasswordGrant, ClientCredentialsGrant):
            self.register_grant(grant)
        for endpoint in (RevocationEndpoint, IntrospectionEndpoint):
            self.register_endpoint(endpoint)

    @property
    def release(self) -> tuple[int, int]:
        """The (major, minor) this GitLab pretends to be."""
        return self.world.release

    @property
    def token_type(self) -> str:
        """`Bearer`, or `bearer` as very old releases spell it."""
        return self.world.settings.token_type

    @property
    def lazy_refresh(self) -> bool:
        """Whether an old pair lives until the new one is first used."""
        return self.world.settings.lazy_refresh

    def now(self) -> datetime:
        """Return the world's time."""
        return self.world.now()

    def user(self, user_id: int | None) -> User | None:
        """Return the person a code or token belongs to."""
        return self.world.user(user_id) if user_id is not None else None

    def user_with_password(self, login: str, password: str) -> User | None:
        """Return the active person with this login (username or e-mail) and password."""
        return self.world.sign_in(login, password)

    def id_token(self, user: User, audience: str, nonce: str) -> str:
        """Return a signed OpenID Connect token about this person."""
        return id_token(self.world, self.signing_key, user, audience, nonce)

    def _client_of(self, uid: str) -> Client | None:
        application = self.store.find_application(uid)
        return Client(application) if application else None

    def _save_token(self, token: dict[str, Any], request: Any) -> None:
        previous = request.refresh_token if self.lazy_refresh else None
        row = self.store.create_token(
            request.client.application.id,
            request.user.id if request.user else None,
            token.get("scope", "").split(),
            access_token=token["access_token"],
            refresh_token=token.get("refresh_token", ""),
            expires_in_seconds=token["expires_in"],
            previous_id=previous.id if previous else None,
        )
        early_end = self.world.settings.end_tokens_after_seconds
        if early_end is not None:
            row.ended_at = row.created_at + timedelta(seconds=early_end)
        token["token_type"] = self.token_type
        token["created_at"] = int(row.created_at.timestamp())

    def create_oauth2_request(self, request: Any) -> Any:
        """Wrap the current request; one already wrapped stays."""
        return request if isinstance(request, OAuth2Request) else LoopbackRequest(flask_request)

    def get_authorization_grant(self, request: Any) -> CodeGrant:
        """Return the code grant whatever was requested: the engine checks client and redirect URI first."""
        return CodeGrant(request, self)

    def create_token_response(self, request: Any = None) -> Response:
        """Answer `/oauth/token`. The lock makes check and change one step, as GitLab's row lock does."""
        wrapped = self.create_oauth2_request(request)
        if not wrapped.payload.grant_type:
            return self.handle_error_response(wrapped, MissingParameter("grant_type", self.release))
        with self.store.lock:
            response: Response = super().create_token_response(wrapped)
        return response

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:
        """Return JSON as Rails writes it, or a redirect."""
        if not isinstance(body, dict):
            return Response(body, status=status, headers=headers)
        response = Response(json.dumps(body), status=status, content_type="application/json; charset=utf-8")
        response.headers["Cache-Control"] = "no-store"
        response.headers["Pragma"] = "no-cache"
        return response

    def handle_error_response(self, request: Any, error: OAuth2Error) -> Response:
        """Return the engine's body, status and `WWW-Authenticate`."""
        sentence = sentence_of(error)
        response = self.handle_response(status_of(error), {"error": error.error, "error_description": sentence}, [])
        response.headers["Cache-Control"] = "no-store, no-cache"
        challenge = f'Bearer realm="Doorkeeper", error="{error.error}", error_description="{sentence}"'
        response.headers["WWW-Authenticate"] = challenge
        return response


def _token_generator(world: World) -> BearerTokenGenerator:
    def draw(**_: Any) -> str:
        return secrets.token_hex(32)

    return BearerTokenGenerator(draw, draw, lambda *_: world.settings.token_lifetime_seconds)
