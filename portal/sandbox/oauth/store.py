"""Applications, authorization codes and tokens of the sandbox, in memory, behind one lock."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from portal.sandbox.oauth.rows import TOKEN_LIFETIME_SECONDS, Application, Grant, OwnerKind, Token, digest_of

__all__ = ["TOKEN_LIFETIME_SECONDS", "Application", "Grant", "OAuthStore", "OwnerKind", "Token"]

SECRETS_HASHED_SINCE = (15, 10)
SECRETS_PREFIXED_SINCE = (15, 10)


@dataclass
class _Tables:
    applications: dict[int, Application] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    tokens: dict[int, Token] = field(default_factory=dict)
    by_access_token: dict[str, Token] = field(default_factory=dict)
    by_refresh_token: dict[str, Token] = field(default_factory=dict)


class OAuthStore:
    """Everything the provider remembers. Hold `lock` across a read and the write that depends on it."""

    def __init__(self, now: Callable[[], datetime], release: Callable[[], tuple[int, int]]) -> None:
        self.lock = threading.RLock()
        self._now = now
        self._release = release
        self._tables = _Tables()
        self._next_id = 1

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    # Applications

    def create_application(
        self,
        name: str,
        redirect_uri: str,
        scopes: Iterable[str],
        confidential: bool = True,
        trusted: bool = False,
        owner_kind: OwnerKind = "instance",
        owner_id: int | None = None,
    ) -> tuple[Application, str]:
        """Register an application; the secret is returned here and, on newer releases, never again."""
        with self.lock:
            application = Application(
                self._new_id(),
                secrets.token_hex(32),
                name,
                redirect_uri,
                tuple(scopes),
                confidential,
                trusted,
                owner_kind,
                owner_id,
                self._now(),
            )
            self._tables.applications[application.id] = application
            return application, self.renew_secret(application.id)

    def renew_secret(self, application_id: int) -> str:
        """Replace the secret; the old one stops working at once. Raises KeyError for an unknown id."""
        release = self._release()
        prefix = "gloas-" if release >= SECRETS_PREFIXED_SINCE else ""
        secret = prefix + secrets.token_hex(32)
        with self.lock:
            application = self._tables.applications[application_id]
            application.secret_digest = digest_of(secret)
            application.secret_text = "" if release >= SECRETS_HASHED_SINCE else secret
        return secret

    def applications(self, owner_kind: OwnerKind = "instance", owner_id: int | None = None) -> list[Application]:
        """Return the applications of one owner, oldest first."""
        with self.lock:
            rows = list(self._tables.applications.values())
        return [row for row in rows if (row.owner_kind, row.owner_id) == (owner_kind, owner_id)]

    def application(self, application_id: int) -> Application | None:
        """Return by number."""
        return self._tables.applications.get(application_id)

    def find_application(self, uid: str | None) -> Application | None:
        """Return by client id."""
        with self.lock:
            return next((row for row in self._tables.applications.values() if row.uid == uid), None)

    def update_application(
        self,
        application_id: int,
        name: str,
        redirect_uri: str,
        scopes: Iterable[str],
        confidential: bool,
        trusted: bool,
    ) -> Application:
        """Change what the form shows; uid and secret stay. Raises KeyError for an unknown id."""
        with self.lock:
            application = self._tables.applications[application_id]
            application.name, application.redirect_uri = name, redirect_uri
            application.scopes = tuple(scopes)
            application.confidential, application.trusted = confidential, trusted
            return application

    def delete_application(self, application_id: int) -> bool:
        """Delete with all its codes and tokens; False if there is none."""
        with self.lock:
            if self._tables.applications.pop(application_id, None) is None:
                return False
            tables = self._tables
            tables.grants = {code: row for code, row in tables.grants.items() if row.application_id != application_id}
            for token in [row for row in tables.tokens.values() if row.application_id == application_id]:
                del tables.tokens[token.id]
                tables.by_access_token.pop(token.access_token, None)
                tables.by_refresh_token.pop(token.refresh_token, None)
            return True

    def use_iam(self, application_id: int, on: bool | None = True) -> None:
        """Have the IAM service answer for this application, or not; None: follow the GitLab-wide setting."""
        self._tables.applications[application_id].iam = on

    # Authorization codes

    def save_grant(self, grant: Grant) -> None:
        """Store a code just given to the browser."""
        with self.lock:
            self._tables.grants[grant.code] = grant

    def find_grant(self, code: str | None) -> Grant | None:
        """Return by code, used and expired ones included."""
        return self._tables.grants.get(code or "")

    def burn_grant(self, grant: Grant) -> bool:
        """Mark the code used; False if someone else was first or it has expired."""
        with self.lock:
            if not grant.is_accessible(self._now()):
                return False
            grant.revoked_at = self._now()
            return True

    # Tokens

    def create_token(
        self,
        application_id: int,
        user_id: int | None,
        scopes: Iterable[str],
        *,
        access_token: str | None = None,
        refresh_token: str | None = None,
        expires_in_seconds: int = TOKEN_LIFETIME_SECONDS,
        previous_id: int | None = None,
        family: int | None = None,
    ) -> Token:
        """Issue a new row; missing halves are generated, an empty refresh half means there is none."""
        with self.lock:
            token = Token(
                self._new_id(),
                access_token or secrets.token_hex(32),
                secrets.token_hex(32) if refresh_token is None else refresh_token,
                application_id,
                user_id,
                tuple(scopes),
                self._now(),
                expires_in_seconds,
                previous_id=previous_id,
                family=family,
            )
            self._tables.tokens[token.id] = token
            self._tables.by_access_token[token.access_token] = token
            if token.refresh_token:
                self._tables.by_refresh_token[token.refresh_token] = token
            return token

    def find_access_token(self, text: str) -> Token | None:
        """Return a user's token by access half, dead ones included; finding it counts as its first use."""
        with self.lock:
            token = self._tables.by_access_token.get(text)
            if token is None or token.user_id is None or token.family is not None:
                return None
            self._replace_previous(token)
            return token

    def find_refresh_token(self, text: str | None) -> Token | None:
        """Return by refresh half, dead ones included."""
        return self._tables.by_refresh_token.get(text or "")

    def find_token(self, text: str | None) -> Token | None:
        """Return by either half, without counting as a use."""
        tables = self._tables
        return tables.by_access_token.get(text or "") or tables.by_refresh_token.get(text or "")

    def new_family(self) -> int:
        """Return the number of a new family of pairs."""
        with self.lock:
            return self._new_id()

    def end_family(self, family: int) -> None:
        """End the refresh half of every pair of a family."""
        with self.lock:
            for token in self._tables.tokens.values():
                if token.family == family:
                    self.revoke_token(token)

    def _replace_previous(self, token: Token) -> None:
        previous = self._tables.tokens.get(token.previous_id or 0)
        token.previous_id = None
        if previous is not None:
            self.revoke_token(previous)

    def revoke_token(self, token: Token) -> None:
        """Kill both halves; a second time changes nothing."""
        with self.lock:
            token.revoked_at = token.revoked_at or self._now()

    def end_access_token(self, text: str) -> None:
        """End the access half now; the refresh half stays. Raises LookupError if it is unknown."""
        token = self._tables.by_access_token.get(text)
        if token is None:
            raise LookupError("no such access token")
        token.ended_at = self._now()

    def tokens(self, *, user_id: int | None = None, application_id: int | None = None) -> list[Token]:
        """Return rows of one user, one application or both, oldest first, dead ones included."""
        with self.lock:
            rows = list(self._tables.tokens.values())
        rows = [row for row in rows if user_id is None or row.user_id == user_id]
        return [row for row in rows if application_id is None or row.application_id == application_id]

    def revoke_application_of_user(self, application_id: int, user_id: int) -> int:
        """Kill every live token of this pair, as *Revoke* among authorized applications does; return how many."""
        with self.lock:
            rows = [row for row in self.tokens(user_id=user_id, application_id=application_id) if not row.is_revoked]
            for row in rows:
                self.revoke_token(row)
            return len(rows)
