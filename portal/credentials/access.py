"""What every caller of GitLab asks for: an access token and until when it is valid."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from portal.connections.models import Application, Connection, ConnectionState, Method
from portal.connections.store import open_host_session
from portal.credentials.machine import FOREVER, LONGEST_ASKED_SECONDS, State, Step, plan, served_until
from portal.credentials.methods import NOT_AUTHORIZED, method_of
from portal.credentials.models import Credential, CredentialState
from portal.credentials.refresh import (
    BUSY,
    NO_ROOM,
    RESTORED,
    STOPPING,
    UNVOUCHED,
    AccessUnavailable,
    note_refused_access,
    present_state,
    refresh_once,
)
from portal.credentials.store import TIMES, RefreshTimes, is_free, open_token, recover
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab.answers import GitLabError
from portal.gitlab.oauth import PROBE_SECONDS, TokenVerdict
from portal.installation import is_restored, look_for_copy
from portal.logs import get_logger
from portal.net import OutboundError, origin_of
from portal.runtime import Runtime
from portal.storage import card_of, trouble_of
from portal.vault import Secret, SecretUnreadable

log = get_logger(__name__)

# One for an earlier answer from the spool, one for the probe, one for the pair.
MAX_ROUNDS = 3
# A refused token younger than this was not refused for its age.
SETTLED_SECONDS = 600.0
# GitLab may not know a token yet that it issued a moment ago (docs/gitlab.md): it is checked again after these pauses.
FRESH_SECONDS = 30.0
FRESH_PAUSES = (0.5, 1.0, 1.5)
# What changes whenever a credential does: few columns, because waiting callers read them often.
WATCHED = ("generation", "state", "lease_owner", "lease_until", "refresh_at", "cooldown_until", "intent_id")


@dataclass(frozen=True)
class Access:
    """An access token to act with.

    Attributes:
        valid_until: when the next refresh may kill it, which is before GitLab's own expiry (S42); None: never.
        generation: which pair it belongs to.
        is_access_token: a person made it in GitLab; otherwise it was issued over OAuth.
    """

    token: Secret
    valid_until: datetime | None
    scopes: tuple[str, ...]
    generation: int
    is_access_token: bool


@dataclass(frozen=True)
class _Look:
    """One reading of a credential, with everything needed to decide about it."""

    credential: Credential
    connection: Connection
    state: State

    @property
    def is_in_use(self) -> bool:
        return self.connection.state != ConnectionState.DISCONNECTED

    def is_free(self, times: RefreshTimes) -> bool:
        # By our own clock: whoever is sure takes the lease by the database's.
        return is_free(self.credential, utc_now(), times)

    def refusal(self, verdict: str) -> AccessUnavailable:
        return AccessUnavailable(method_of(self.credential).remedy(self.credential, verdict))


def demand_access(runtime: Runtime, connection_id: int, *, reason: str, times: RefreshTimes = TIMES) -> Access:
    """Return an access token of a connection, refreshed first if that is due.

    Of all processes that ask at once, one asks GitLab and the others wait for it.

    Args:
        runtime: of this process.
        connection_id: whose credential.
        reason: for the flight recorder, such as `catalogue read`.
        times: for tests and benchmarks.

    Raises:
        AccessUnavailable: the connection is not authorized, the credential is dead, or GitLab cannot be asked now,
            also because nothing could be stored.
    """
    end, rounds = time.monotonic() + times.patience, 0
    with _told_when_nothing_is_stored(runtime):
        while True:
            look = _look(runtime, connection_id)
            if access := _usable(runtime, look):
                return access
            # A GitLab whose tokens expire at once must not be asked for new ones forever.
            if rounds < MAX_ROUNDS and _try_refresh(runtime, look, reason, times):
                rounds += 1
                continue
            seen = _look(runtime, connection_id)
            _raise_when_hopeless(runtime, seen, times, is_impatient=time.monotonic() > end or rounds >= MAX_ROUNDS)
            _await_change(runtime, seen.credential, times)


class AccessSource:
    """Tokens for one client of a connection's GitLab, renewed when another process's refresh ends one (S43)."""

    def __init__(self, runtime: Runtime, connection_id: int, reason: str, times: RefreshTimes = TIMES) -> None:
        self._runtime = runtime
        self._connection_id = connection_id
        self._reason = reason
        self._times = times
        self._access: Access | None = None

    @property
    def is_access_token(self) -> bool:
        """Whether a person made the token that was returned last."""
        return self._access is not None and self._access.is_access_token

    def token(self) -> Secret:
        """Return a currently valid token."""
        access = self._access
        if access is None or (access.valid_until is not None and access.valid_until <= utc_now()):
            access = self._access = self._demand(self._reason)
        return access.token

    def renew(self, refused: Secret, *, is_certain: bool) -> Secret | None:
        """Return the token for one more try, after GitLab or something in front of it refused one.

        A pair that GitLab issued just now is left alone unless GitLab itself says that its token is over: what refuses
        it may stand in front of GitLab, and every look would cost a pair (S42).

        Returns:
            Another token, or the same one if GitLab confirms it after all; None if nothing renews it, so that the
            refusal stands.

        Raises:
            AccessUnavailable: there is no other now. That passes unless the card is a verdict, so no one has to
                authorize again because of this refusal.
        """
        reason = f"{self._reason}, after a 401"
        access = self._access = self._demand(reason)
        if access.token != refused:
            return access.token
        look = _look(self._runtime, self._connection_id)
        if not look.state.is_renewable and not look.state.is_once:
            return None
        age = (utc_now() - look.credential.obtained_at).total_seconds()
        if not is_certain:
            seen = self._probe(look, access.token, FRESH_PAUSES if 0 <= age < FRESH_SECONDS else (0.0,))
            if seen == TokenVerdict.ALIVE:
                return refused
            if seen is None or (seen == TokenVerdict.UNCLEAR and 0 <= age < SETTLED_SECONDS):
                raise AccessUnavailable(UNVOUCHED, is_passing=True)
            # GitLab's IAM service names no reason.
            is_certain = seen != TokenVerdict.UNCLEAR or look.state.is_stateless
        with _told_when_nothing_is_stored(self._runtime):
            note_refused_access(self._runtime, self._connection_id, access.generation, is_certain=is_certain)
        access = self._access = self._demand(reason)
        if access.token != refused:
            return access.token
        # It is used again because GitLab did not say that it has ended, and it cannot be renewed now.
        failure = _look(self._runtime, self._connection_id).credential.failure
        raise AccessUnavailable(Card.from_json(failure) if failure else UNVOUCHED, is_passing=True)

    def _demand(self, reason: str) -> Access:
        return demand_access(self._runtime, self._connection_id, reason=reason, times=self._times)

    def _probe(self, look: _Look, token: Secret, pauses: tuple[float, ...]) -> TokenVerdict | None:
        """Return what GitLab says about a token, checked after each pause until GitLab confirms it; None: no answer."""
        seen = None
        with open_host_session(self._runtime, look.connection) as http:
            for pause in pauses:
                time.sleep(pause)
                try:
                    user_id = look.credential.gitlab_user_id
                    seen = method_of(look.credential).probe(http, token, user_id, PROBE_SECONDS)
                except (GitLabError, OutboundError):
                    continue
                if seen == TokenVerdict.ALIVE:
                    break
        return seen


@contextmanager
def _told_when_nothing_is_stored(runtime: Runtime) -> Iterator[None]:
    """Report what is wrong with the database or the disk to whoever wants a token, not the driver's message."""
    try:
        yield
    except SQLAlchemyError as error:
        trouble = trouble_of(error)
        if trouble is None:
            raise
        log.error("refresh_not_stored", trouble=trouble, exc_info=error)
        raise AccessUnavailable(card_of(trouble, runtime.database.place), is_passing=True) from error


def _look(runtime: Runtime, connection_id: int) -> _Look:
    statement = (
        select(Credential, Connection, Application)
        .join(Connection, Connection.id == Credential.connection_id)  # type: ignore[arg-type]
        .outerjoin(Application, Application.connection_id == Credential.connection_id)  # type: ignore[arg-type]
        .where(Credential.connection_id == connection_id)
    )
    with runtime.database.reading() as session:
        found = session.exec(statement).first()
    if found is None:
        raise AccessUnavailable(NOT_AUTHORIZED)
    credential, connection, application = found
    return _Look(credential, connection, present_state(credential, application))


def _await_change(runtime: Runtime, seen: Credential, times: RefreshTimes) -> None:
    """Wait until someone has changed a credential, or for a while: another machine's lease may simply end."""
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


def _usable(runtime: Runtime, look: _Look) -> Access | None:
    until = served_until(look.state, utc_now()) if look.is_in_use else None
    if until is None:
        return None
    found = look.credential
    try:
        token = open_token(runtime, found, "access_token_sealed", origin_of(look.connection.api_url))
    except SecretUnreadable:
        raise look.refusal(CredentialState.UNREADABLE) from None
    if token is None:
        raise look.refusal(CredentialState.ERASED)
    is_access_token = found.method == Method.ACCESS_TOKEN
    return Access(token, None if until == FOREVER else until, tuple(found.scopes), found.generation, is_access_token)


def _try_refresh(runtime: Runtime, look: _Look, reason: str, times: RefreshTimes) -> bool:
    """Do for a pair what may be done now; return whether this process did anything."""
    connection_id = look.credential.connection_id
    if not look.is_in_use:
        return False
    if look.state.verdict == CredentialState.LOST:
        return recover(runtime, connection_id, times)
    if plan(look.state, utc_now()) == Step.NOTHING or not look.is_free(times):
        return False
    try:
        if look_for_copy(runtime.database):
            raise AccessUnavailable(RESTORED, is_passing=True)
    except OSError:  # The witness cannot be written.
        raise AccessUnavailable(NO_ROOM, is_passing=True) from None
    try:
        return refresh_once(runtime, connection_id, reason, times)
    except SecretUnreadable:
        raise look.refusal(CredentialState.UNREADABLE) from None


def _raise_when_hopeless(runtime: Runtime, look: _Look, times: RefreshTimes, *, is_impatient: bool) -> None:
    found, now = look.credential, utc_now()
    verdict = look.state.verdict if look.is_in_use else CredentialState.ERASED
    failure = Card.from_json(found.failure) if found.failure else None
    if verdict not in {CredentialState.ALIVE, CredentialState.SECRET_CHANGED}:
        raise AccessUnavailable(failure) if failure and look.is_in_use else look.refusal(verdict)
    if served_until(look.state, now) is not None:
        return
    if runtime.shutdown.has_begun:
        raise AccessUnavailable(STOPPING, is_passing=True)
    if plan(look.state, now) == Step.NOTHING and look.is_free(times):
        with runtime.database.reading() as session:
            if is_restored(session):
                raise AccessUnavailable(RESTORED, is_passing=True)
        rest = look.state.rest_until
        after = (rest - now).total_seconds() if rest and rest > now else None
        if failure is None or (look.state.is_once and not look.state.is_renewable):
            is_renewable = found.state == CredentialState.ALIVE and look.state.is_renewable
            failure = UNVOUCHED if is_renewable else look.refusal(CredentialState.REVOKED).card
        raise AccessUnavailable(failure, is_passing=look.state.is_renewable, after_seconds=after)
    if is_impatient:
        raise AccessUnavailable(BUSY, is_passing=True)


def due_credentials(runtime: Runtime) -> list[int]:
    """Return the ids of the connections whose credential is due for a refresh, the most urgent first."""
    now = utc_now()
    statement = (
        select(Credential.connection_id)
        .join(Connection, Connection.id == Credential.connection_id)  # type: ignore[arg-type]
        .where(
            or_(
                col(Credential.state).in_([CredentialState.ALIVE, CredentialState.SECRET_CHANGED]),
                # A verdict that only counted refusals is checked again as long as it has a pause.
                (col(Credential.state) == CredentialState.REVOKED) & col(Credential.cooldown_until).is_not(None),
            ),
            or_(col(Credential.refresh_at) <= now, col(Credential.intent_id) != ""),
            or_(
                col(Credential.cooldown_until).is_(None),
                col(Credential.cooldown_until) <= now,
                # From before the clock was set back.
                col(Credential.cooldown_until) > now + timedelta(seconds=LONGEST_ASKED_SECONDS),
            ),
            col(Connection.state) != ConnectionState.DISCONNECTED,
        )
        .order_by(col(Credential.expires_at))
    )
    with runtime.database.reading() as session:
        return list(session.exec(statement))


def refresh_credential(runtime: Runtime, connection_id: int, times: RefreshTimes = TIMES) -> bool:
    """Refresh one credential that is due; return whether it gives access now. Its row says what prevents it."""
    try:
        demand_access(runtime, connection_id, reason="planned", times=times)
    except AccessUnavailable:
        return False
    return True
