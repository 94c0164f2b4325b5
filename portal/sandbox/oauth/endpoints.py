"""Revocation and introspection, on authlib's endpoint classes with GitLab's answers."""

# authlib is untyped.
# mypy: allow-untyped-calls, allow-subclassing-any

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc7009 import RevocationEndpoint as _RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint as _IntrospectionEndpoint

from portal.sandbox.oauth.clients import Client, authenticated_application, credentials_of
from portal.sandbox.oauth.errors import InvalidClientError, InvalidRequestError, UnauthorizedToRevoke
from portal.sandbox.oauth.store import Token
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.oauth.server import Provider


class RevocationEndpoint(_RevocationEndpoint):
    """`POST /oauth/revoke`: 200 `{}` for every token the client may revoke, known or not."""

    server: Provider

    def authenticate_endpoint_client(self, request: Any) -> Client:
        """Return the client; otherwise 403, whatever the token is."""
        application = authenticated_application(self.server.store, request)
        if application is None:
            raise UnauthorizedToRevoke()
        client = request.client = Client(application)
        return client

    def authenticate_token(self, request: Any, client: Client) -> Token | None:
        """Return the row of either half; None if unknown. Another application's token is refused."""
        token = self.server.store.find_token(request.form.get("token"))
        if token is not None and token.application_id != client.application.id:
            raise UnauthorizedToRevoke()
        return token

    def revoke_token(self, token: Token, request: Any) -> None:
        """Kill both halves, if the access half is still alive.

        Once it has expired, the refresh half kills both from Doorkeeper 5.8.1 on; the access half never does. The
        answer is the same. See https://github.com/doorkeeper-gem/doorkeeper/pull/1744.
        """
        if token.is_expired(self.server.now()):
            world = self.server.world
            by_version = has(world, "revoke_expired") and request.form.get("token") == token.refresh_token
            if not (by_version if world.settings.revokes_expired is None else world.settings.revokes_expired):
                return
        self.server.store.revoke_token(token)


class IntrospectionEndpoint(_IntrospectionEndpoint):
    """`POST /oauth/introspect`, for a client about its own tokens, or for the bearer of another one."""

    server: Provider

    def authenticate_endpoint_client(self, request: Any) -> Client | None:
        """Return the client; None if a live bearer token asks."""
        scheme, _, value = (request.headers.get("Authorization") or "").partition(" ")
        bearer = value.strip() if scheme.lower() == "bearer" else None
        if bearer is not None:
            token = self.server.store.find_token(bearer)
            asks_about_itself = bearer == request.form.get("token")
            if token is None or token.is_revoked or token.is_expired(self.server.now()) or asks_about_itself:
                raise InvalidClientError()
            return None
        if credentials_of(request) is None:
            raise InvalidRequestError()
        application = authenticated_application(self.server.store, request)
        if application is None:
            raise InvalidClientError()
        return Client(application)

    def authenticate_token(self, request: Any, client: Client | None) -> Token | None:
        """Return the row if it is alive and the client may know about it."""
        token = self.server.store.find_token(request.form.get("token"))
        if token is None or token.is_revoked or token.is_expired(self.server.now()):
            return None
        return token if client is None or token.application_id == client.application.id else None

    def create_introspection_payload(self, token: Token | None) -> dict[str, Any]:
        """Return the body."""
        application = self.server.store.application(token.application_id) if token else None
        if token is None or application is None:
            return {"active": False}
        return {
            "active": True,
            "scope": " ".join(token.scopes),
            "client_id": application.uid,
            "token_type": self.server.token_type,
            "exp": int(token.expires_at.timestamp()),
            "iat": int(token.created_at.timestamp()),
        }
