"""The credential's state machine: what each answer of GitLab means for a token pair, and what may be done next.

Pure: it knows neither the database nor the clock nor the network. The transactions in `claims.py` apply it, and nothing
else decides. Drawn, with its reasons, in `docs/credentials.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from portal.credentials.models import CredentialState

# A verdict needs this many refusals over this time, all after the access token ended: GitLab refuses a good refresh
# token while a replica of its database lags behind.
VERDICT_REFUSALS = 6
VERDICT_AFTER = timedelta(minutes=10)
# Between refusals; the first six span exactly the time above.
REFUSAL_PAUSES = (20.0, 40.0, 120.0, 180.0, 240.0)
# After people were told that the Secret is refused, and after a verdict that only counted refusals.
SLOW_SECONDS = 900.0
RECONSIDER_SECONDS = 3600.0
RECONSIDER_FOR = timedelta(hours=24)
# While no token can be given out: how soon GitLab may be asked again on behalf of whoever wants access.
QUICK_SECONDS = 2.0
LONGEST_OUTAGE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 900.0
# GitLab may ask for any wait; no one waits longer than this because of it. No pause is longer either: one that seems
# longer dates from before the clock was set back.
LONGEST_ASKED_SECONDS = 3600.0
# A request whose outcome is unknown may still wait in a queue in front of GitLab.
DISTANCE = timedelta(seconds=60)
LATE = timedelta(seconds=120)
UNENDING_DISTANCE = timedelta(minutes=15)

FOREVER = datetime.max.replace(tzinfo=UTC)
_OVER = frozenset({CredentialState.LOST, CredentialState.UNREADABLE, CredentialState.ERASED})


class Step(StrEnum):
    """What to do next for a pair."""

    NOTHING = "nothing"
    # A harmless GET with the access token.
    PROBE = "probe"
    # The POST that spends the refresh token.
    REFRESH = "refresh"


class Seen(StrEnum):
    """What GitLab said about an access token."""

    # 200 with the user it was issued to: nothing else counts as alive.
    ALIVE = "alive"
    # 401 with the reason that it was revoked.
    REVOKED = "revoked"
    # 401 with the reason that it has expired; a revoked token is called that too once its time is over.
    EXPIRED = "expired"
    # 401 without a reason: unknown to GitLab, or refused by something in front of it.
    UNCLEAR = "unclear"
    # No answer from GitLab's API.
    SILENT = "silent"


@dataclass(frozen=True)
class State:
    """A pair, reduced to what decisions need.

    Attributes:
        verdict: `alive` until people are told otherwise.
        planned_at: when it will be refreshed; None: never.
        ends_at: when the access token ends by our clock; None: never.
        is_renewable: whether there is a refresh token.
        is_once: an access token that rotates itself: after a rotation with an unknown outcome there is no
            second one, because a spent token that is rotated again ends its successor, too.
        is_stateless: GitLab's IAM service gave it: its access token outlives its refresh, and says nothing about the
            pair.
        asked_at: when a refresh with an unknown outcome was sent; it may still be running.
        may_be_spent: such a request was made for this pair; stays until another pair is stored.
        is_access_refused: GitLab refused the access token, or did not confirm it when it had to.
        refusals: `invalid_grant` in a row, `refused_at` the first; counting restarts when the access token ends.
        client_refusals: `invalid_client` in a row, `client_refused_at` the first.
        failures: requests in a row without an answer that counts.
        rest_until: GitLab is not asked before.
    """

    verdict: CredentialState = CredentialState.ALIVE
    planned_at: datetime | None = None
    ends_at: datetime | None = None
    is_renewable: bool = True
    is_once: bool = False
    is_stateless: bool = False
    asked_at: datetime | None = None
    may_be_spent: bool = False
    is_access_refused: bool = False
    refusals: int = 0
    refused_at: datetime | None = None
    client_refusals: int = 0
    client_refused_at: datetime | None = None
    failures: int = 0
    rest_until: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Return whether the access token has ended or is refused."""
        return self.is_access_refused or (self.ends_at is not None and self.ends_at <= now)

    def rests(self, now: datetime) -> bool:
        """Return whether GitLab is not asked for now."""
        longest = now + timedelta(seconds=LONGEST_ASKED_SECONDS)
        return self.rest_until is not None and now < self.rest_until <= longest


@dataclass(frozen=True)
class Asking:
    """The intent to refresh is written; the request follows."""


@dataclass(frozen=True)
class Abandoned:
    """The process that wrote the intent ended without an outcome."""


@dataclass(frozen=True)
class RefusedGrant:
    """`invalid_grant`: GitLab does not accept the refresh token."""


@dataclass(frozen=True)
class RefusedClient:
    """`invalid_client`: GitLab does not accept Application ID and Secret."""


@dataclass(frozen=True)
class RefusedRotation:
    """GitLab does not rotate this access token: a scope, a permission or a setting forbids it."""


@dataclass(frozen=True)
class NotProcessed:
    """The refresh certainly changed nothing: it was never sent, or GitLab refused it for another reason."""

    is_outage: bool = False


@dataclass(frozen=True)
class Unknown:
    """No answer, or one that something in front of GitLab may have given after GitLab acted."""

    wait_seconds: float | None = None


@dataclass(frozen=True)
class Probed:
    """An access token was tried."""

    seen: Seen
    wait_seconds: float | None = None


@dataclass(frozen=True)
class AccessRefused:
    """One of our calls was answered with 401; `is_certain` if GitLab named a reason."""

    is_certain: bool


@dataclass(frozen=True)
class SecretEntered:
    """Another Secret is stored than the one GitLab refused."""


Event = (
    Asking
    | Abandoned
    | RefusedGrant
    | RefusedClient
    | RefusedRotation
    | NotProcessed
    | Unknown
    | Probed
    | AccessRefused
    | SecretEntered
)


def advance(state: State, event: Event, now: datetime, spread: float = 1.0) -> tuple[State, Step]:
    """Return the state of a pair after an event, and what to do next while the lease is held.

    Args:
        state: of the pair that the event is about.
        event: what happened.
        now: when.
        spread: at least 1; pauses are longer by it, so that many credentials do not ask at once.
    """
    if isinstance(event, Asking):
        return replace(state, asked_at=now), Step.REFRESH
    if state.verdict == CredentialState.REVOKED:
        return _reconsider(state, now), Step.NOTHING
    match event:
        case Abandoned():
            after = _after_unknown(state, now)
        case RefusedGrant():
            return _after_refused_grant(state, now, spread)
        case RefusedClient():
            first, count = state.client_refused_at or now, state.client_refusals + 1
            after = replace(state, asked_at=None, failures=0, client_refusals=count, client_refused_at=first)
            pause = REFUSAL_PAUSES[min(count, len(REFUSAL_PAUSES)) - 1]
            if count >= VERDICT_REFUSALS and now - first >= VERDICT_AFTER:
                after, pause = replace(after, verdict=CredentialState.SECRET_CHANGED), SLOW_SECONDS
            after = _rest(after, now, pause * spread, is_over=state.is_over(now))
        case RefusedRotation():
            return replace(state, asked_at=None, failures=0, planned_at=None), Step.NOTHING
        case NotProcessed():
            longest = LONGEST_OUTAGE_SECONDS if event.is_outage else LONGEST_PAUSE_SECONDS
            after = _rest_after_failure(replace(state, asked_at=None), now, longest, spread)
        case Unknown():
            after = _after_unknown(state, now)
            if event.wait_seconds is not None:
                planned_at = max(after.planned_at or now, now + _asked(event.wait_seconds))
                after = replace(after, planned_at=planned_at)
        case Probed():
            return _after_probe(state, event, now, spread)
        case AccessRefused():
            after = state
            if state.is_once and event.is_certain:
                verdict = CredentialState.LOST if state.may_be_spent else CredentialState.REVOKED
                after = _with_verdict(state, verdict)
            elif state.is_renewable:
                after = _without_access(state, now, counted=0) if event.is_certain else state
                planned_at = min(state.planned_at, now) if state.planned_at else now
                rest_until = None if state.failures else state.rest_until
                after = replace(after, planned_at=planned_at, rest_until=rest_until)
        case SecretEntered():
            after = replace(state, client_refusals=0, client_refused_at=None)
            if state.client_refusals:
                after = replace(after, rest_until=None)
            if state.verdict == CredentialState.SECRET_CHANGED:
                after = replace(after, verdict=CredentialState.ALIVE)
    return after, plan(after, now)


def plan(state: State, now: datetime, *, has_answered: bool = False) -> Step:
    """Return what may be done for a pair now; `has_answered`: GitLab answered a probe a moment ago."""
    if state.verdict in _OVER or not state.is_renewable or state.rests(now):
        return Step.NOTHING
    if state.verdict == CredentialState.REVOKED and state.rest_until is None:
        return Step.NOTHING
    if state.asked_at is None and (state.planned_at is None or state.planned_at > now):
        return Step.NOTHING
    if state.is_once and state.may_be_spent and (has_answered or state.asked_at is None):
        return Step.NOTHING
    # After a failure a pair is only risked at a GitLab that answers something harmless first; so is an access token
    # always, because someone may have rotated it elsewhere.
    is_doubtful = state.is_once or (not state.is_stateless and (state.asked_at is not None or state.may_be_spent))
    return Step.PROBE if (is_doubtful or state.failures) and not has_answered else Step.REFRESH


def served_until(state: State, now: datetime) -> datetime | None:
    """Return until when the access token may be given out: before any process may spend its pair. None: not at all."""
    if state.verdict not in {CredentialState.ALIVE, CredentialState.SECRET_CHANGED} or state.is_over(now):
        return None
    ends_at = state.ends_at or FOREVER
    if not state.is_renewable or state.planned_at is None:
        return ends_at
    if state.asked_at is not None:
        return None
    if state.planned_at > now:
        return min(state.planned_at, ends_at)
    return min(state.rest_until, ends_at) if state.rest_until and state.rests(now) else None


def _after_refused_grant(state: State, now: datetime, spread: float) -> tuple[State, Step]:
    is_over = state.is_over(now)
    first, count = state.refused_at or now, state.refusals
    if state.ends_at is not None and first < state.ends_at <= now and not state.is_access_refused:
        first, count = now, 0
    after = replace(state, asked_at=None, failures=0, refusals=count + 1, refused_at=first)
    if state.is_stateless and state.may_be_spent:
        # Its only attempt: a spent token that is posted twice ends what GitLab issued for it.
        return _with_verdict(after, CredentialState.LOST), Step.NOTHING
    if is_over and after.refusals >= VERDICT_REFUSALS and now - first >= VERDICT_AFTER:
        if after.may_be_spent:
            return _with_verdict(after, CredentialState.LOST), Step.NOTHING
        return _reconsider(_with_verdict(after, CredentialState.REVOKED), now), Step.NOTHING
    pause = REFUSAL_PAUSES[min(after.refusals, len(REFUSAL_PAUSES)) - 1] * spread
    after = _rest(after, now, pause, is_over=is_over)
    # Both halves of a pair are one row at GitLab: whether the access token works shows what the refusal is worth.
    can_tell = not state.is_stateless and (state.ends_at is None or state.ends_at > now)
    return after, Step.PROBE if can_tell else Step.NOTHING


def _after_unknown(state: State, now: datetime) -> State:
    after = replace(state, may_be_spent=True, failures=state.failures + 1, rest_until=None)
    if not state.is_stateless:
        return after
    # No probe can tell: the access token is served to its end, then the pair is tried once.
    again = (state.asked_at or now) + DISTANCE
    return replace(after, asked_at=None, failures=0, planned_at=max(state.ends_at or again, again))


def _after_probe(state: State, event: Probed, now: datetime, spread: float) -> tuple[State, Step]:
    if event.seen == Seen.SILENT:
        # After a refusal the pause is already set.
        if state.rests(now):
            return state, Step.NOTHING
        if event.wait_seconds is not None:
            after = replace(state, failures=state.failures + 1, rest_until=now + _asked(event.wait_seconds))
        else:
            after = _rest_after_failure(state, now, LONGEST_OUTAGE_SECONDS, spread)
        return after, Step.NOTHING
    if state.is_once:
        return _after_probe_of_access_token(state, event.seen, now, spread)
    # GitLab is back, so a pause that waited for it is over; one that follows a refusal is not.
    after = replace(state, failures=0, rest_until=None if state.failures else state.rest_until)
    if not state.is_stateless:
        if event.seen == Seen.ALIVE:
            after = replace(after, is_access_refused=False)
            if state.asked_at is not None:
                # As far from the unknown request as the access token lives.
                late = now + UNENDING_DISTANCE
                if state.ends_at is not None:
                    late = state.ends_at - min(LATE, (state.ends_at - now) / 4)
                again = max(state.asked_at + DISTANCE, late, state.planned_at or now)
                after = replace(after, asked_at=None, planned_at=again)
        elif event.seen == Seen.REVOKED and state.may_be_spent:
            return _with_verdict(after, CredentialState.LOST), Step.NOTHING
        elif event.seen == Seen.REVOKED and state.refusals:
            return _with_verdict(after, CredentialState.REVOKED), Step.NOTHING
        else:
            # The refusal that led to this look is the first that counts.
            after = _without_access(after, now, counted=1 if state.refusals and state.rests(now) else 0)
            if state.asked_at is not None and now < state.asked_at + DISTANCE:
                return replace(after, rest_until=now + timedelta(seconds=QUICK_SECONDS)), Step.NOTHING
    return after, plan(after, now, has_answered=True)


def _after_probe_of_access_token(state: State, seen: Seen, now: datetime, spread: float) -> tuple[State, Step]:
    """The token itself says whether it was spent: GitLab revokes it at the moment that it issues the successor."""
    if seen == Seen.ALIVE:
        after = replace(state, failures=0, rest_until=None)
        if state.may_be_spent:
            return replace(after, asked_at=None, planned_at=None), Step.NOTHING
        return after, plan(after, now, has_answered=True)
    if seen == Seen.UNCLEAR and not (state.asked_at and now >= state.asked_at + DISTANCE):
        return _rest_after_failure(state, now, LONGEST_OUTAGE_SECONDS, spread), Step.NOTHING
    return _with_verdict(state, CredentialState.LOST if state.may_be_spent else CredentialState.REVOKED), Step.NOTHING


def _without_access(state: State, now: datetime, counted: int) -> State:
    """The access token is refused from now on: refusals of the refresh token count from here."""
    if state.is_over(now):
        return state
    return replace(state, is_access_refused=True, refusals=counted, refused_at=now if counted else None)


def _with_verdict(state: State, verdict: CredentialState) -> State:
    return replace(state, verdict=verdict, asked_at=None, rest_until=None)


def _reconsider(state: State, now: datetime) -> State:
    """GitLab may still accept a pair whose refusals were only counted; checking once an hour costs nothing."""
    is_worth_it = state.refused_at is not None and now - state.refused_at < RECONSIDER_FOR
    again = now + timedelta(seconds=RECONSIDER_SECONDS) if is_worth_it else None
    return replace(state, asked_at=None, rest_until=again)


def _rest(state: State, now: datetime, seconds: float, *, is_over: bool) -> State:
    until = now + timedelta(seconds=seconds)
    # The next attempt is at the end of the access token at the latest: from then on no one has access.
    return replace(state, rest_until=until if is_over or state.ends_at is None else min(until, state.ends_at))


def _rest_after_failure(state: State, now: datetime, longest: float, spread: float) -> State:
    failures = state.failures + 1
    is_without = state.is_over(now) or state.asked_at is not None
    if is_without and longest == LONGEST_OUTAGE_SECONDS:
        pause = QUICK_SECONDS
    else:
        pause = min(QUICK_SECONDS * 2.0 ** min(failures - 1, 20), longest) * spread
    return _rest(replace(state, failures=failures), now, pause, is_over=is_without)


def _asked(seconds: float) -> timedelta:
    return timedelta(seconds=min(max(seconds, QUICK_SECONDS), LONGEST_ASKED_SECONDS))
