"""The foundation of the world: options, switches, time, people and their tokens."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from portal.sandbox.clock import Clock
from portal.sandbox.oauth.openid import SigningKey
from portal.sandbox.oauth.store import OAuthStore, Token
from portal.sandbox.options import SandboxOptions
from portal.sandbox.people import People, User, initial_people
from portal.sandbox.personal_tokens import (
    CHECKED_BODY_SINCE,
    GRANULAR,
    PREFIX_SINCE,
    GranularScope,
    PersonalToken,
    PersonalTokens,
)
from portal.sandbox.profiles import has
from portal.sandbox.settings import SandboxSettings

if TYPE_CHECKING:
    from portal.sandbox.world import World


class Foundation:
    """Everything that needs neither groups nor projects; `World` builds on it.

    `lock` may be held across steps that belong together. `revision` counts changes that make remembered lists stale.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options or SandboxOptions()
        self.settings = SandboxSettings.from_options(self.options)
        self.clock = Clock()
        self.lock = threading.RLock()
        self.revision = 0
        # Times in the data are relative to the day the sandbox was started, so that its lists always look in use.
        self.anchor = self.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        self.people = People(initial_people(self.anchor, with_service_user=self.options.with_service_user))
        self.personal_access_tokens = PersonalTokens()
        self.oauth = OAuthStore(self.now, lambda: self.release)
        self.signing_key = SigningKey()

    def _revision(self) -> int:
        return self.revision

    def _changed(self) -> None:
        with self.lock:
            self.revision += 1

    # Time, version and switches

    def now(self) -> datetime:
        """Return GitLab's time, aware UTC."""
        return self.clock.now()

    @property
    def release(self) -> tuple[int, int]:
        """The (major, minor) of the simulated version."""
        major, minor = self.settings.version.split(".")[:2]
        return int(major), int(minor)

    def change_settings(self, **changes: Any) -> None:
        """Set switches by name. Raises AttributeError for one that does not exist."""
        with self.lock:
            for name, value in changes.items():
                getattr(self.settings, name)
                setattr(self.settings, name, value)

    def use_up(self, switch: str) -> bool:
        """Count down a switch that says how often something happens; False if it is at 0."""
        with self.lock:
            left: int = getattr(self.settings, switch)
            setattr(self.settings, switch, max(left - 1, 0))
            return left > 0

    def is_too_fresh(self, token: Token) -> bool:
        """Return whether the database replica being asked does not know this token yet."""
        return self.now() < token.created_at + timedelta(seconds=self.settings.refuse_fresh_tokens_seconds)

    # People

    def all_users(self) -> list[User]:
        """Return everyone in order of id."""
        return self.people.all()

    def user(self, user_id: int) -> User | None:
        """Return by id."""
        return self.people.by_id(user_id)

    def user_by_username(self, username: str) -> User | None:
        """Return by username, ignoring case."""
        return self.people.by_username(username)

    def user_with_password(self, login: str, password: str) -> User | None:
        """Return whose username (or e-mail address) and password these are, whatever their state."""
        user = self.people.by_username(login) or self.people.by_email(login)
        return user if user is not None and password and user.password == password else None

    def sign_in(self, login: str, password: str) -> User | None:
        """Return the same, but only an active person: bots and service accounts cannot sign in."""
        user = self.user_with_password(login, password)
        return user if user is not None and user.state == "active" and user.kind == "human" else None

    def set_user_state(self, user_id: int, state: str) -> None:
        """Block, deactivate or activate an account."""
        self._user(user_id).state = state

    def _user(self, user_id: int) -> User:
        user = self.people.by_id(user_id)
        if user is None:
            raise LookupError(f"no user {user_id}")
        return user

    def open_visibilities(self, user_id: int) -> frozenset[str]:
        """Return the visibilities a person sees without being a member; external people see fewer."""
        user = self.people.by_id(user_id)
        external = user is None or user.external
        return frozenset({"public"} if external else {"public", "internal"})

    # Personal access tokens

    def create_personal_token(
        self,
        user: User,
        *,
        name: str = "token",
        scopes: Iterable[str] = ("api",),
        expires_at: date | None = None,
        description: str = "",
        impersonation: bool = False,
        granular_scopes: tuple[GranularScope, ...] = (),
        family: int | None = None,
    ) -> str:
        """Issue a token and return its text; without a date it never expires.

        With `granular_scopes` it is a fine-grained one, whose only scope is `granular`.
        """
        release = self.release
        checked = f".01.{secrets.token_hex(5)[:9]}" if release >= CHECKED_BODY_SINCE else ""
        token = self.personal_access_tokens.create(
            user.id,
            name,
            (GRANULAR,) if granular_scopes else scopes,
            self.now(),
            expires_at,
            description=description,
            impersonation=impersonation,
            granular_scopes=granular_scopes,
            family=family,
            prefix=self.prefixed(self.settings.token_prefix) if release >= PREFIX_SINCE else "",
            suffix=checked,
        )
        return token.token

    def prefixed(self, prefix: str) -> str:
        """Return the prefix of a kind of token, behind the instance's own one if there is such."""
        own = self.settings.instance_token_prefix if self._has("instance_token_prefix") else ""
        return f"{own}-{prefix}" if own else prefix

    def token_must_expire(self, user: User) -> bool:
        """Return whether this GitLab issues no token without an end to this account."""
        if not self._has("token_expiry_required"):
            return False
        if user.kind == "service_account":
            return self.settings.service_token_expiry_required
        return self.settings.token_expiry_required or not self._has("token_expiry_optional")

    def latest_expiry(self, user: User) -> date | None:
        """Return the last day a new token of this account may expire on, None if there is no limit."""
        if not self.token_must_expire(user):
            return None
        days = 400 if self.settings.longer_token_lifetimes and self._has("longer_token_lifetimes") else 365
        days = min(self.settings.max_token_lifetime_days or days, days)
        return self.now().date() + timedelta(days=days)

    def requires_fine_grained(self, user: User) -> bool:
        """Return whether this account can no longer create and rotate legacy tokens; bots always can."""
        since = self.settings.fine_grained_required_after
        return (
            since is not None
            and self._has("fine_grained_enforcement")
            and user.kind == "human"
            and str(self.now().date()) >= str(since)
        )

    def _has(self, feature: str) -> bool:
        return has(cast("World", self), feature)

    def personal_tokens_of(self, user: User) -> list[PersonalToken]:
        """Return a person's own tokens, oldest first, dead ones included."""
        return self.personal_access_tokens.of_user(user.id)

    def revoke_personal_token(self, user: User, token_id: int) -> bool:
        """Revoke one of a person's own tokens; False if it is not theirs."""
        for token in self.personal_tokens_of(user):
            if token.id == token_id:
                token.revoked_at = token.revoked_at or self.now()
                return True
        return False
