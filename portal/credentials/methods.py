"""How the portal gets access to a GitLab: what differs between the kinds of credential, behind one protocol.

Access, refresh, retirement, history, health and disconnection ask the method, and know neither the application nor its
Secret.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from portal.connections.models import Application, Connection, Method
from portal.connections.store import open_application, redirect_uri_of
from portal.credentials.machine import (
    Event,
    NotProcessed,
    RefusedClient,
    RefusedGrant,
    RefusedRotation,
    Unknown,
)
from portal.credentials.models import Credential, CredentialState, RetiredToken
from portal.db import utc_now
from portal.errors import Card, Conflict, PortalError
from portal.gitlab import oauth
from portal.gitlab.answers import (
    ForbiddenByRole,
    GitLabError,
    GitLabNotFound,
    GitLabRateLimited,
    InsufficientScope,
    OAuthRefused,
    TokenInfo,
    UnexpectedStatus,
)
from portal.gitlab.client import (
    describe_access_token,
    probe_access_token,
    revoke_access_token,
    rotate_access_token,
)
from portal.net import HostSession, OutboundError
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable
from portal.web.times import moment

# What GitLab requires besides the token before it renews or revokes one.
Key = oauth.ClientCredentials
NO_KEY = Key("", Secret(""))

NOT_AUTHORIZED = Card("not_authorized")
VERDICTS: dict[str, Card] = {
    CredentialState.REVOKED: Card("credential_revoked"),
    CredentialState.LOST: Card("credential_lost"),
    CredentialState.SECRET_CHANGED: Card("client_secret_changed"),
    CredentialState.UNREADABLE: Card("secret_unreadable"),
    CredentialState.ERASED: NOT_AUTHORIZED,
}
ACCESS_TOKEN_VERDICTS: dict[str, Card] = {
    CredentialState.REVOKED: Card("access_token_revoked"),
    CredentialState.LOST: Card("access_token_lost"),
    CredentialState.UNREADABLE: Card("secret_unreadable", {"case": "access_token"}),
    CredentialState.ERASED: Card("access_token_missing"),
}
APPLICATION_GONE = Card("application_gone")
# A rotation that was given up; the access token is used to its end.
ROTATION_UNKNOWN = Card("rotation_unknown")
ROTATION_REFUSED = Card("rotation_refused")
# Attention with these codes ends with the next refresh that works.
HEALED_BY_REFRESH = frozenset(card.code for card in (*VERDICTS.values(), *ACCESS_TOKEN_VERDICTS.values())) | {
    *(APPLICATION_GONE.code, "access_token_expired", "unauthorized", "token_not_accepted")
}
OTHER_APPLICATION = Card("application_changed")
REFUSED = Card("refresh_refused")
CLIENT_REFUSED = Card("client_refused")
# RFC 6749 §5.2: what each error of the token endpoint is evidence of; one alone is not a verdict.
EVIDENCE: dict[str, tuple[Event, Card]] = {
    "invalid_grant": (RefusedGrant(), REFUSED),
    "invalid_client": (RefusedClient(), CLIENT_REFUSED),
    "unauthorized_client": (RefusedClient(), CLIENT_REFUSED),
}


def open_secret(runtime: Runtime, table: str, row: Application | Credential) -> Secret | None:
    """Open the Secret of an application; None if there is none, or if it cannot be read."""
    if row.client_secret_sealed is None:
        return None
    assert row.id is not None
    try:
        return runtime.vault.open(row.client_secret_sealed, Place(table, row.id, "client_secret_sealed"), row.origin)
    except SecretUnreadable:
        return None


class CannotRenew(Exception):
    """Nothing is sent, because the key is missing or belongs to another; the event says what that means for the
    pair.
    """

    def __init__(self, event: Event, card: Card) -> None:
        super().__init__(card.code)
        self.event = event
        self.card = card


class CredentialMethod(Protocol):
    """What a kind of credential can do.

    Attributes:
        has_key: whether GitLab wants more than the token to renew or revoke it.
        is_once: whether it has no refresh token and is renewed with itself, if at all; never again after an attempt
            whose outcome is unknown.
    """

    name: Method
    has_key: bool
    is_once: bool

    def open_key(self, runtime: Runtime, connection: Connection, application: Application | None, key_id: str) -> Key:
        """Return the key with which a credential is renewed now; `key_id` names the one it was issued to.

        Raises:
            CannotRenew: there is none that may be used.
        """

    def keep_key(self, runtime: Runtime, credential: Credential, key: Key) -> None:
        """Store in a row the key that a new credential was issued to: only that one can revoke it."""

    def find_kept_key(
        self, runtime: Runtime, application: Application | None, credential: Credential
    ) -> tuple[str, Secret | None]:
        """Return id and Secret of the key that can revoke a credential; None for a Secret that cannot be read."""

    def is_key_refused(self, runtime: Runtime, connection: Connection, http: HostSession, key: Key) -> bool:
        """Ask GitLab whether it refuses the key itself; no answer does not count as a refusal."""

    def renew(
        self,
        runtime: Runtime,
        connection: Connection | None,
        http: HostSession,
        key: Key,
        refresh_token: Secret,
        until: datetime,
    ) -> oauth.TokenAnswer:
        """Get the next credential, even for a connection that is gone; raises what `meaning_of` interprets.

        `until`: how long it should live, if GitLab lets the client say.
        """

    def meaning_of(self, error: GitLabError | OutboundError) -> tuple[Event, Card]:
        """Return what a failed renewal says about the credential, and what people read about it."""

    def probe(self, http: HostSession, access_token: Secret, gitlab_user_id: int, seconds: float) -> oauth.TokenVerdict:
        """Ask GitLab whether an access token works; raises `GitLabError`, `OutboundError` if it does not say."""

    def describe(self, http: HostSession, access_token: Secret) -> TokenInfo:
        """Ask GitLab for the owner, the scopes and the expiry of an access token."""

    def revoke(self, http: HostSession, key: Key, token: Secret) -> None:
        """End a token, and with it the other half of its pair."""

    def remedy(self, credential: Credential, verdict: str, *, is_key_refused: bool = False) -> Card:
        """Return what people read about a credential that gives no access, and what they can do about it."""


class OAuth:
    """A token pair issued to a connection's application (RFC 6749). The key is Application ID and Secret."""

    name = Method.OAUTH
    has_key = True
    is_once = False

    def open_key(self, runtime: Runtime, connection: Connection, application: Application | None, key_id: str) -> Key:
        """Return the application as it is stored now."""
        if key_id and application is not None and application.client_id != key_id:
            raise CannotRenew(NotProcessed(), OTHER_APPLICATION)
        try:
            return open_application(runtime, connection, application)
        except Conflict:
            # Its key is not here now: another machine may have it, so this is not a verdict.
            raise CannotRenew(NotProcessed(), VERDICTS[CredentialState.UNREADABLE]) from None
        except PortalError:
            raise CannotRenew(RefusedClient(), CLIENT_REFUSED) from None

    def keep_key(self, runtime: Runtime, credential: Credential, key: Key) -> None:
        """Keep Application ID and Secret."""
        assert credential.id is not None
        place = Place("credential", credential.id, "client_secret_sealed")
        credential.client_id = key.client_id
        credential.client_secret_sealed = runtime.vault.seal(key.client_secret, place, credential.origin)

    def find_kept_key(
        self, runtime: Runtime, application: Application | None, credential: Credential
    ) -> tuple[str, Secret | None]:
        """Return the application the pair was issued to: with its current Secret, otherwise the one from then."""
        client_id = credential.client_id or (application.client_id if application else "")
        secret = None
        if application is not None and client_id == application.client_id:
            secret = open_secret(runtime, "application", application)
        return client_id, secret or open_secret(runtime, "credential", credential)

    def is_key_refused(self, runtime: Runtime, connection: Connection, http: HostSession, key: Key) -> bool:
        """Send an invalid code: GitLab checks the application first."""
        try:
            verdict = oauth.check_client(http, key, redirect_uri_of(runtime, connection))
        except (GitLabError, OutboundError):
            return False
        return verdict == oauth.ClientVerdict.REFUSED

    def renew(
        self,
        runtime: Runtime,
        connection: Connection | None,
        http: HostSession,
        key: Key,
        refresh_token: Secret,
        until: datetime,
    ) -> oauth.TokenAnswer:
        """Spend the refresh token for the next pair (RFC 6749 §6)."""
        redirect_uri = redirect_uri_of(runtime, connection) if connection is not None else None
        return oauth.refresh(http, key, refresh_token, redirect_uri)

    def meaning_of(self, error: GitLabError | OutboundError) -> tuple[Event, Card]:
        """Treat only an OAuth error from the token endpoint as evidence."""
        card = error.card()
        if isinstance(error, OAuthRefused) and error.is_of_token_endpoint:
            event, doubt = EVIDENCE.get(error.error, (NotProcessed(), None))
            return event, replace(doubt, words=card.words, request_id=card.request_id) if doubt else card
        if isinstance(error, OutboundError) and not error.may_have_been_processed:
            return NotProcessed(is_outage=True), card
        # Behind a 5xx, a page, a limit, a redirect or a broken body, GitLab may have done it all: something in front
        # of it may have answered instead.
        return Unknown(error.retry_after_seconds if isinstance(error, GitLabRateLimited) else None), card

    def probe(self, http: HostSession, access_token: Secret, gitlab_user_id: int, seconds: float) -> oauth.TokenVerdict:
        """Ask for the user; only the right one proves that the token works."""
        return oauth.probe_token(http, access_token, gitlab_user_id, seconds)

    def describe(self, http: HostSession, access_token: Secret) -> TokenInfo:
        """Ask for `/oauth/token/info`."""
        return oauth.token_info(http, access_token)

    def revoke(self, http: HostSession, key: Key, token: Secret) -> None:
        """Revoke it (RFC 7009)."""
        oauth.revoke(http, key, token)

    def remedy(self, credential: Credential, verdict: str, *, is_key_refused: bool = False) -> Card:
        """Authorize again, enter the Secret again, or create a new application."""
        return APPLICATION_GONE if is_key_refused and verdict == CredentialState.REVOKED else VERDICTS[verdict]


class AccessToken:
    """A token that a person made in GitLab (api/personal_access_tokens). It needs no key: it acts for itself."""

    name = Method.ACCESS_TOKEN
    has_key = False
    is_once = True

    def open_key(self, runtime: Runtime, connection: Connection, application: Application | None, key_id: str) -> Key:
        """Return an empty one."""
        return NO_KEY

    def keep_key(self, runtime: Runtime, credential: Credential, key: Key) -> None:
        """Keep nothing of an application that a previous credential was issued to."""
        credential.client_id, credential.client_secret_sealed = "", None

    def find_kept_key(
        self, runtime: Runtime, application: Application | None, credential: Credential
    ) -> tuple[str, Secret | None]:
        """Return an empty one."""
        return "", None

    def is_key_refused(self, runtime: Runtime, connection: Connection, http: HostSession, key: Key) -> bool:
        """There is none to refuse."""
        return False

    def renew(
        self,
        runtime: Runtime,
        connection: Connection | None,
        http: HostSession,
        key: Key,
        refresh_token: Secret,
        until: datetime,
    ) -> oauth.TokenAnswer:
        """Rotate it."""
        return rotate_access_token(http, refresh_token, until.date())

    def meaning_of(self, error: GitLabError | OutboundError) -> tuple[Event, Card]:
        """Treat only a refusal that GitLab itself makes before it rotates as one; a proxy may have asked twice."""
        card = error.card()
        if isinstance(error, OutboundError) and not error.may_have_been_processed:
            return NotProcessed(is_outage=True), card
        is_refusal = isinstance(error, (InsufficientScope, ForbiddenByRole, GitLabNotFound))
        if is_refusal or (isinstance(error, UnexpectedStatus) and error.status in {400, 405, 422}):
            return RefusedRotation(), replace(ROTATION_REFUSED, words=card.words, request_id=card.request_id)
        return Unknown(), card

    def probe(self, http: HostSession, access_token: Secret, gitlab_user_id: int, seconds: float) -> oauth.TokenVerdict:
        """Ask for the token itself, before 15.5 for the user."""
        return probe_access_token(http, access_token, gitlab_user_id, seconds)

    def describe(self, http: HostSession, access_token: Secret) -> TokenInfo:
        """Ask for the token itself."""
        return describe_access_token(http, access_token)

    def revoke(self, http: HostSession, key: Key, token: Secret) -> None:
        """Have it revoke itself."""
        revoke_access_token(http, token)

    def remedy(self, credential: Credential, verdict: str, *, is_key_refused: bool = False) -> Card:
        """Replace the token."""
        ends_at = credential.expires_at
        if verdict == CredentialState.REVOKED and ends_at is not None and ends_at <= utc_now():
            return Card("access_token_expired", {"at": moment(ends_at)})
        return ACCESS_TOKEN_VERDICTS[verdict]


METHODS: dict[str, CredentialMethod] = {Method.OAUTH: OAuth(), Method.ACCESS_TOKEN: AccessToken()}


def method_of(row: Credential | RetiredToken) -> CredentialMethod:
    """Return the method of a credential, or of what is left of one."""
    return METHODS[row.method]
