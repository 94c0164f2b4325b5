"""The grants of `/oauth/token` besides the code: refresh, password, client credentials."""

# authlib is untyped.
# mypy: allow-untyped-calls, allow-subclassing-any

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749.grants import (
    ClientCredentialsGrant as _ClientCredentialsGrant,
)
from authlib.oauth2.rfc6749.grants import (
    RefreshTokenGrant as _RefreshTokenGrant,
)
from authlib.oauth2.rfc6749.grants import (
    ResourceOwnerPasswordCredentialsGrant,
)

from portal.sandbox.oauth.authorize import scope_within
from portal.sandbox.oauth.clients import AUTH_METHOD, Client, authenticated_application, credentials_of
from portal.sandbox.oauth.errors import (
    InvalidClientError,
    InvalidGrantError,
    InvalidScopeError,
    MissingParameter,
    UnsupportedGrantTypeError,
)
from portal.sandbox.oauth.scopes import DEFAULT_SCOPE
from portal.sandbox.oauth.store import Application, Token
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.oauth.server import Provider

PASSWORD_GRANT_GONE_SINCE = (19, 0)


class RefreshGrant(_RefreshTokenGrant):
    """Exchange a refresh token once. The provider holds the store's lock around check and issue."""

    TOKEN_ENDPOINT_AUTH_METHODS = [AUTH_METHOD]  # noqa: RUF012
    server: Provider
    request: Any

    def validate_token_request(self) -> None:
        """Check in the engine's order: presence, token alive, client, token of that client, scope."""
        text = self.request.form.get("refresh_token")
        if not text:
            raise MissingParameter("refresh_token", self.server.release)
        token = self.server.store.find_refresh_token(text)
        if token is None or token.is_revoked or token.family is not None:
            raise InvalidGrantError()
        application = authenticated_application(self.server.store, self.request)
        if application is None and credentials_of(self.request) is not None:
            raise InvalidClientError()
        if application is None or token.application_id != application.id:
            raise InvalidGrantError()
        if self.server.world.use_up("refuse_good_refreshes"):
            raise InvalidGrantError()
        if self.server.world.use_up("refuse_good_clients"):
            raise InvalidClientError()
        self.request.client = Client(application)
        self.request.scope = self._scope(self.request.form.get("scope") or "", token, application)
        self.request.refresh_token = token

    def _scope(self, asked: str, token: Token, application: Application) -> str:
        """Return the scope of the new pair. By default, the engine drops scopes that the application has since lost."""
        names = scope_within(asked, token.scopes).split()
        if not asked and application.scopes and has(self.server.world, "narrowed_refresh"):
            names = [name for name in names if name in application.scopes]
        return " ".join(names)

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Issue the new pair and end the old one: at once, or in lazy mode when the new one is first used."""
        old: Token = self.request.refresh_token
        user = self.server.user(old.user_id)
        if user is None:
            raise InvalidGrantError()
        self.request.user = user
        lifetime = old.expires_in_seconds
        token = self.generate_token(user=user, scope=self.request.scope, expires_in=lifetime)
        self.save_token(token)
        if not self.server.lazy_refresh:
            self.server.store.revoke_token(old)
        return 200, token, self.TOKEN_RESPONSE_HEADER


class PasswordGrant(ResourceOwnerPasswordCredentialsGrant):
    """The password grant, until the release that removed it."""

    TOKEN_ENDPOINT_AUTH_METHODS = [AUTH_METHOD]  # noqa: RUF012
    server: Provider
    request: Any

    def validate_token_request(self) -> None:
        """Check the client first, then the person."""
        if self.server.release >= PASSWORD_GRANT_GONE_SINCE:
            raise UnsupportedGrantTypeError(self.GRANT_TYPE)
        client = self.authenticate_token_endpoint_client()
        form = self.request.form
        user = self.server.user_with_password(form.get("username") or "", form.get("password") or "")
        if user is None:
            raise InvalidGrantError()
        self.request.client, self.request.user = client, user
        self.request.scope = _scope_of(client.application, form.get("scope") or "")

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Issue a pair for this person."""
        token = self.generate_token(user=self.request.user, scope=self.request.scope)
        self.save_token(token)
        return 200, token, self.TOKEN_RESPONSE_HEADER


class ClientCredentialsGrant(_ClientCredentialsGrant):
    """A token without a user: GitLab issues it, and its API refuses it."""

    TOKEN_ENDPOINT_AUTH_METHODS = [AUTH_METHOD]  # noqa: RUF012
    server: Provider
    request: Any

    def validate_token_request(self) -> None:
        """Check the client and the scope."""
        client = self.authenticate_token_endpoint_client()
        self.request.client = client
        self.request.scope = _scope_of(client.application, self.request.form.get("scope") or "")

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Issue an access half only."""
        token = self.generate_token(scope=self.request.scope, include_refresh_token=False)
        self.save_token(token)
        return 200, token, self.TOKEN_RESPONSE_HEADER


def _scope_of(application: Application, asked: str) -> str:
    names = asked.split() or [DEFAULT_SCOPE]
    if not set(names) <= set(application.scopes):
        raise InvalidScopeError()
    return " ".join(names)
