"""OpenID Connect on top of the provider: discovery, signing key, id_token, claims."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from portal.sandbox.oauth.scopes import application_scopes

if TYPE_CHECKING:
    from portal.sandbox.world import User, World

ID_TOKEN_LIFETIME_SECONDS = 120
CHALLENGE_METHODS_TOLD_SINCE = (15, 0)


class SigningKey:
    """One RSA key per sandbox, generated when first needed because that takes most of a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: RSAKey | None = None

    def key(self) -> RSAKey:
        """Return the private key with its `kid`."""
        with self._lock:
            if self._key is None:
                self._key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
            return self._key

    def public_set(self) -> dict[str, Any]:
        """Return the JWKS document."""
        return {"keys": [self.key().as_dict(private=False)]}


def id_token(world: World, signing_key: SigningKey, user: User, audience: str, nonce: str) -> str:
    """Return a signed id_token for `audience` (a client id)."""
    issued_at = int(world.now().timestamp())
    claims: dict[str, Any] = {
        "iss": world.settings.external_url,
        "sub": str(user.id),
        "aud": audience,
        "exp": issued_at + ID_TOKEN_LIFETIME_SECONDS,
        "iat": issued_at,
        "auth_time": issued_at,
        "sub_legacy": _legacy_subject(user),
        "preferred_username": user.username,
        "nickname": user.username,
        "name": user.name,
    }
    if nonce:
        claims["nonce"] = nonce
    key = signing_key.key()
    return jwt.encode({"typ": "JWT", "alg": "RS256", "kid": key.kid}, claims, key)


def user_claims(world: World, user: User, scopes: tuple[str, ...]) -> dict[str, Any]:
    """Return the body of `/oauth/userinfo` for a token with these scopes."""
    email = user.email if "email" in scopes else user.public_email
    claims: dict[str, Any] = {
        "sub": str(user.id),
        "sub_legacy": _legacy_subject(user),
        "name": user.name,
        "nickname": user.username,
        "preferred_username": user.username,
        "email": email or None,
        "email_verified": "email" in scopes and user.confirmed,
        "profile": f"{world.settings.external_url}/{user.username}",
        "picture": None,
        "groups": world.group_paths_of(user),
    }
    return {name: value for name, value in claims.items() if value is not None}


def _legacy_subject(user: User) -> str:
    return hashlib.sha256(f"{user.id}-{user.username}".encode()).hexdigest()


def discovery(external_url: str, release: tuple[int, int]) -> dict[str, Any]:
    """Return the discovery document; every address is built from the configured URL, whatever the Host header."""
    document: dict[str, Any] = {
        "issuer": external_url,
        "authorization_endpoint": f"{external_url}/oauth/authorize",
        "token_endpoint": f"{external_url}/oauth/token",
        "revocation_endpoint": f"{external_url}/oauth/revoke",
        "introspection_endpoint": f"{external_url}/oauth/introspect",
        "userinfo_endpoint": f"{external_url}/oauth/userinfo",
        "jwks_uri": f"{external_url}/oauth/discovery/keys",
        "scopes_supported": [scope.name for scope in application_scopes(release)],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "password", "client_credentials", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claim_types_supported": ["normal"],
        "claims_supported": [
            *("iss", "sub", "aud", "exp", "iat", "sub_legacy", "name", "nickname", "preferred_username"),
            *("email", "email_verified", "website", "profile", "picture", "groups"),
        ],
    }
    if release >= CHALLENGE_METHODS_TOLD_SINCE:
        document["code_challenge_methods_supported"] = ["plain", "S256"]
    return document
