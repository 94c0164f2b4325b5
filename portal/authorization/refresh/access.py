"""What everybody who calls GitLab asks for: an access token that is good until told."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import select

from portal.authorization.models import Credential, CredentialState
from portal.authorization.refresh.cards import BUSY, RESTORED, VERDICTS
from portal.authorization.refresh.claims import AccessUnavailable, is_alive, is_free, rests_until
from portal.authorization.refresh.rows import lock_credential, note, open_token
from portal.authorization.refresh.spend import recover, refresh_once
from portal.authorization.refresh.times import TIMES, RefreshTimes
from portal.connections.models import Application, Connection, ConnectionState
from portal.db import utc_now
from portal.errors import Card
from portal.instance import is_restored
from portal.net import origin_of
from portal.runtime import Runtime
from portal.vault import Secret, SecretUnreadable

# One for an earlier answer from the spool, one for the question, one for the pair.
MAX_ROUNDS = 3
# A refused token younger than this was not refused for its age.
SETTLED_SECONDS = 600.0
# What changes whenever a credential does: few columns, as those who wait ask for them often.
WATCHED = ("generation", "state", "lease_owner", "lease_until", "refresh_at", "cooldown_until")


@dataclass(frozen=True)
class Access:
    """An access token to act with.

    Attributes:
        valid_until: when the next refresh may kill it, which is before GitLab's own expiry (S42); None: never.
        generation: which pair it belongs to.
    """

    token: Secret
    valid_until: datetime | None
    scopes: tuple[str, ...]
    generation: int


@dataclass(frozen=True)
class _View:
    """One look at a credential, with what decides over it."""

    credential: Credential
    connection: Connection
    application: Application | None

    @property
    def is_alive(self) -> bool:
        return self.connection.state != ConnectionState.DISCONNECTED and is_alive(self.credential, self.application)

    def good_until(self, now: datetime) -> datetime | None:
        """Return until when the stored token may be used; `now` when it may not."""
        found = self.credential
        if found.refresh_at is None or found.refresh_at > now:
            return found.refresh_at
        if found.refresh_token_sealed is None:
            return max(found.expires_at or now, now)
        # Nobody refreshes before the pause is over, so until then the token lives; unless it was spent already.
        rest = rests_until(found, now) if not found.intent_id else None
        return max(min(rest, found.expires_at or now), now) if rest else now


def demand_access(runtime: Runtime, connection_id: int, *, reason: str, times: RefreshTimes = TIMES) -> Access:
    """Return an access token of a connection, refreshed first when that is due.

    Of all processes that ask at once, one asks GitLab and the others wait for it.

    Args:
        runtime: of this process.
        connection_id: whose credential.
        reason: for the flight recorder, such as `catalogue read`.
        times: for tests and benchmarks.

    Raises:
        AccessUnavailable: the connection is not authorized, the credential is dead, or GitLab cannot be asked now.
    """
    end, rounds = time.monotonic() + times.patience, 0
    while True:
        view = _look(runtime, connection_id)
        if access := _usable(runtime, view):
            return access
        # A GitLab whose tokens end at once must not be asked for the next one for ever.
        if rounds < MAX_ROUNDS and _try_refresh(runtime, view, reason, times):
            rounds += 1
            continue
        seen = _look(runtime, connection_id)
        _raise_when_hopeless(seen, time.monotonic() > end or rounds >= MAX_ROUNDS)
        _await_change(runtime, seen.credential, times)


class AccessSource:
    """Tokens for one client of a connection's GitLab, renewed when somebody else's refresh kills one (S43)."""

    def __init__(self, runtime: Runtime, connection_id: int, reason: str) -> None:
        self._runtime = runtime
        self._connection_id = connection_id
        self._reason = reason
        self._access: Access | None = None

    def token(self) -> Secret:
        """Return a token that is good now."""
        access = self._access
        if access is None or (access.valid_until is not None and access.valid_until <= utc_now()):
            access = self._access = demand_access(self._runtime, self._connection_id, reason=self._reason)
        return access.token

    def renew(self, refused: Secret, *, is_certain: bool) -> Secret | None:
        """Return another token than the refused one; None when that is the stored one.

        A pair that GitLab gave just now is left alone unless GitLab itself says that its token is over: what refuses
        it may stand in front of GitLab, and every look would cost a pair (S42).
        """
        access = self._access = demand_access(self._runtime, self._connection_id, reason=f"{self._reason}, after a 401")
        if access.token != refused:
            return access.token
        _plan_refresh_now(self._runtime, self._connection_id, access.generation, is_certain)
        return None


def _look(runtime: Runtime, connection_id: int) -> _View:
    statement = (
        select(Credential, Connection, Application)
        .join(Connection, Connection.id == Credential.connection_id)  # type: ignore[arg-type]
        .outerjoin(Application, Application.connection_id == Credential.connection_id)  # type: ignore[arg-type]
        .where(Credential.connection_id == connection_id)
    )
    with runtime.database.reading() as session:
        found = session.exec(statement).first()
    if found is None:
        raise AccessUnavailable(VERDICTS[CredentialState.ERASED])
    return _View(*found)


def _await_change(runtime: Runtime, seen: Credential, times: RefreshTimes) -> None:
    """Wait until somebody did something about a credential, or for a while: another machine's lease may just end."""
    columns = [getattr(Credential, name) for name in WATCHED]
    statement = select(*columns).where(Credential.id == seen.id)
    before = tuple(getattr(seen, name) for name in WATCHED)
    end = time.monotonic() + times.wait
    while time.monotonic() < end:
        time.sleep(times.look * (0.5 + 0.5 * random.random()))  # noqa: S311 - spreads, does not protect
        with runtime.database.reading() as session:
            now = session.execute(statement).first()
        if now is None or tuple(now) != before:
            return


def _usable(runtime: Runtime, view: _View) -> Access | None:
    now = utc_now()
    until = view.good_until(now)
    if not view.is_alive or (until is not None and until <= now):
        return None
    found = view.credential
    try:
        token = open_token(runtime, found, "access_token_sealed", origin_of(view.connection.api_url))
    except SecretUnreadable:
        raise AccessUnavailable(VERDICTS[CredentialState.UNREADABLE]) from None
    if token is None:
        raise AccessUnavailable(VERDICTS[CredentialState.ERASED])
    return Access(token, until, tuple(found.scopes), found.generation)


def _try_refresh(runtime: Runtime, view: _View, reason: str, times: RefreshTimes) -> bool:
    connection_id, credential_id = view.credential.connection_id, view.credential.id
    assert credential_id is not None
    if not view.is_alive:
        return view.credential.state == CredentialState.LOST and recover(runtime, connection_id, credential_id, times)
    with runtime.database.reading() as session:
        if is_restored(session):
            raise AccessUnavailable(RESTORED, is_passing=True)
    if not is_free(view.credential, utc_now(), times):
        return False  # Somebody is at it, and may be about to store what its spool already has.
    if view.credential.origin != origin_of(view.connection.api_url):
        raise AccessUnavailable(VERDICTS[CredentialState.UNREADABLE])
    try:
        return refresh_once(runtime, connection_id, credential_id, reason, times)
    except SecretUnreadable:
        raise AccessUnavailable(VERDICTS[CredentialState.UNREADABLE]) from None


def _raise_when_hopeless(view: _View, impatient: bool) -> None:
    found = view.credential
    if not view.is_alive:
        state = CredentialState.ERASED if found.state == CredentialState.ALIVE else CredentialState(found.state)
        raise AccessUnavailable(_card_of(found) if found.failure else VERDICTS[state])
    now = utc_now()
    if found.refresh_token_sealed is None or (rests_until(found, now) and view.good_until(now) == now):
        raise AccessUnavailable(_card_of(found), is_passing=found.refresh_token_sealed is not None)
    if impatient:
        raise AccessUnavailable(BUSY, is_passing=True)


def _card_of(credential: Credential) -> Card:
    return Card.from_json(credential.failure) if credential.failure else VERDICTS[CredentialState.REVOKED]


def _plan_refresh_now(runtime: Runtime, connection_id: int, generation: int, is_certain: bool) -> None:
    """Have the stored pair refreshed soon, whose access token was refused: GitLab's answer is the verdict."""
    now = utc_now()
    with runtime.database.transaction() as session:
        credential = lock_credential(session, connection_id)
        if credential is None or credential.generation != generation or credential.refresh_token_sealed is None:
            return
        is_new = now - timedelta(seconds=SETTLED_SECONDS) < credential.obtained_at <= now
        if is_certain or not is_new:
            credential.refresh_at = now
            note(session, credential, "refused", "GitLab answered 401")
