"""The rows of the provider: applications, authorization codes, and tokens that are two halves of one row."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from portal.sandbox.personal_tokens import GranularScope

OwnerKind = Literal["instance", "group", "user"]

TOKEN_LIFETIME_SECONDS = 7200
CODE_LIFETIME_SECONDS = 600


@dataclass
class Application:
    """One OAuth application.

    Attributes:
        id: the number the Applications API uses; `uid` is what clients know it by (64 hex characters).
        redirect_uri: one or more URIs, separated by whitespace, as typed.
        iam: whether GitLab's IAM service answers for it; None follows the GitLab-wide setting.
        granular_scopes: of an application with fine-grained permissions (19.5): whoever authorizes it grants these.
        secret_text: the secret itself while this GitLab keeps it readable (before 15.10), otherwise empty.
    """

    id: int
    uid: str
    name: str
    redirect_uri: str
    scopes: tuple[str, ...]
    confidential: bool
    trusted: bool
    owner_kind: OwnerKind
    owner_id: int | None
    created_at: datetime
    secret_digest: str = ""
    secret_text: str = ""
    iam: bool | None = None
    granular_scopes: tuple[GranularScope, ...] = ()

    def accepts_secret(self, secret: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.secret_digest, digest_of(secret))


@dataclass
class Grant:
    """One authorization code: ten minutes, one use, bound to user, application and redirect URI.

    Attributes:
        family: what the IAM service made from it; None before, and with Doorkeeper.
    """

    code: str
    application_id: int
    user_id: int
    redirect_uri: str
    scopes: tuple[str, ...]
    created_at: datetime
    code_challenge: str = ""
    code_challenge_method: str = ""
    nonce: str = ""
    revoked_at: datetime | None = None
    family: int | None = None

    def is_accessible(self, now: datetime) -> bool:
        """Return whether the code may still be exchanged."""
        return self.revoked_at is None and now < self.created_at + timedelta(seconds=CODE_LIFETIME_SECONDS)


@dataclass
class Token:
    """One row: an access token with its refresh token.

    Attributes:
        refresh_token: empty if the grant gives none (client credentials).
        user_id: None for client credentials.
        previous_id: in the lazy mode, the row this one replaces as soon as it is first used.
        family: the pairs from one authorization at the IAM service; None for Doorkeeper's.
        ended_at: when the access half stops working although `expires_in` promises more.
    """

    id: int
    access_token: str
    refresh_token: str
    application_id: int
    user_id: int | None
    scopes: tuple[str, ...]
    created_at: datetime
    expires_in_seconds: int = TOKEN_LIFETIME_SECONDS
    revoked_at: datetime | None = None
    previous_id: int | None = None
    ended_at: datetime | None = None
    family: int | None = None

    @property
    def expires_at(self) -> datetime:
        """When the access half stops working; the refresh half has no expiry."""
        return self.created_at + timedelta(seconds=self.expires_in_seconds)

    def is_expired(self, now: datetime) -> bool:
        """Return whether the access half has expired."""
        return now >= min(self.expires_at, self.ended_at or self.expires_at)

    @property
    def is_revoked(self) -> bool:
        """Return whether both halves are dead; for the IAM service, only the refresh half."""
        return self.revoked_at is not None


def digest_of(secret: str) -> str:
    """Return the hash under which a secret is stored."""
    return hashlib.sha512(secret.encode()).hexdigest()
