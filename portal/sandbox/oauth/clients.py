"""Which client sent this request: GitLab reads HTTP Basic first, the body second."""

# authlib is untyped.
# mypy: allow-untyped-calls, allow-subclassing-any

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.util import extract_basic_authorization

from portal.sandbox.oauth.redirect_uris import matches
from portal.sandbox.oauth.store import Application, OAuthStore

if TYPE_CHECKING:
    from portal.sandbox.world import World

AUTH_METHOD = "basic_then_body"


class Client(ClientMixin):
    """An application as authlib wants to see it."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def get_client_id(self) -> str:
        """Return the uid."""
        return self.application.uid

    def get_default_redirect_uri(self) -> None:
        """Return nothing: GitLab requires the redirect URI in every request."""

    def get_allowed_scope(self, scope: str | None) -> str:
        """Return the scope unchanged; the grants have checked it."""
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Return whether the registered value allows this URI."""
        return matches(self.application.redirect_uri, redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare with the stored hash."""
        return self.application.accepts_secret(client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Allow the one method there is."""
        return method == AUTH_METHOD

    def check_response_type(self, response_type: str) -> bool:
        """Only codes; 15.0 removed the implicit grant."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """GitLab does not restrict grants per application."""
        return True


def credentials_of(request: Any) -> tuple[str, str] | None:
    """Return (uid, secret) as sent, Basic first; None if the request names no client."""
    uid, secret = extract_basic_authorization(request.headers)
    if not uid:
        uid, secret = request.form.get("client_id"), request.form.get("client_secret")
    return (str(uid), str(secret or "")) if uid else None


def authenticated_application(store: OAuthStore, request: Any) -> Application | None:
    """Return the application whose credentials the request carries.

    A public application may omit the secret; if it sends one, it must still be right.
    """
    credentials = credentials_of(request)
    application = store.find_application(credentials[0]) if credentials else None
    if application is None or credentials is None:
        return None
    secret = credentials[1]
    if not secret:
        return None if application.confidential else application
    return application if application.accepts_secret(secret) else None


def client_authenticator(world: World) -> Any:
    """Return the function authlib calls for `AUTH_METHOD`."""

    def authenticate(query_client: Any, request: Any) -> Client | None:
        application = authenticated_application(world.oauth, request)
        return Client(application) if application and not world.use_up("refuse_good_clients") else None

    return authenticate
