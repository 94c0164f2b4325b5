"""A model of one token pair at GitLab, and an oracle over what was asked and answered.

Neither knows the portal's state machine: the model holds what is true at GitLab, the oracle derives from the history of
questions and answers what may be reported, served and asked. Every sequence of letters is simulated, minute by minute,
with a portal that checks the pair every minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from portal.credentials.machine import (
    Abandoned,
    AccessRefused,
    Asking,
    Event,
    NotProcessed,
    Probed,
    RefusedClient,
    RefusedGrant,
    Seen,
    State,
    Step,
    Unknown,
    advance,
    plan,
    served_until,
)
from portal.credentials.models import CredentialState

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
TICK = timedelta(minutes=1)
QUEUE = timedelta(seconds=45)
# Probe, refresh, and a probe after its failure; then there has to be a pause.
MAX_STEPS = 5
# A letter says how GitLab, or something in front of it, behaves for a number of ticks.
LETTERS = {
    "fine": 1,
    # Answers `invalid_grant` for a good refresh token, as one with a lagging replica does.
    "refuses": 4,
    "client": 4,
    "down": 3,
    # A refresh is processed and its answer lost; or it is lost before.
    "cut": 1,
    "drop": 1,
    # It is held in a queue and processed after the portal has disconnected.
    "queue": 1,
    # The process dies with the intent written: after GitLab acted.
    "kill": 1,
    # Something in front of GitLab answers 401 to calls and 403 to refreshes.
    "gateway": 2,
    # Someone revokes the authorization in GitLab.
    "revoke": 1,
}
# A refresh gets GitLab's own answer.
ANSWERED = frozenset({"fine", "refuses", "client", "revoke"})
FINAL = frozenset({CredentialState.LOST, CredentialState.REVOKED})
ANSWERING = frozenset({"fine", "refuses", "client", "cut", "drop", "queue", "kill", "revoke"})


class Truth(NamedTuple):
    """The state at GitLab. `spent`: it acted on a refresh of this pair and the portal never had the answer."""

    ends_at: datetime
    is_stateless: bool = False
    spent: bool = False
    revoked: bool = False
    queued_until: datetime | None = None

    def at(self, now: datetime) -> Truth:
        """Let a queue pass its request on."""
        if self.queued_until is not None and self.queued_until <= now:
            return self._replace(queued_until=None, spent=self.spent or not self.revoked)
        return self

    def access_lives(self, now: datetime) -> bool:
        is_dead = self.revoked or (self.spent and not self.is_stateless)
        return now < self.ends_at and not is_dead

    def probe(self, letter: str, now: datetime) -> Seen:
        if letter == "down":
            return Seen.SILENT
        if letter == "gateway":
            return Seen.UNCLEAR
        if self.is_stateless:
            return Seen.ALIVE if self.access_lives(now) else Seen.UNCLEAR
        if now >= self.ends_at:
            return Seen.EXPIRED
        return Seen.REVOKED if self.revoked or self.spent else Seen.ALIVE

    def refresh(self, letter: str, now: datetime) -> tuple[Truth, Event | None]:
        """Return the state afterwards, and the portal's answer; None for a new pair."""
        is_dead = self.spent or self.revoked
        if letter == "down":
            return self, NotProcessed(is_outage=True)
        if letter in {"gateway", "drop"}:
            return self, Unknown()
        if letter == "queue":
            return self if is_dead else self._replace(queued_until=now + QUEUE), Unknown()
        if letter in {"cut", "kill"}:
            return self._replace(spent=not self.revoked), Unknown() if letter == "cut" else Abandoned()
        if is_dead or letter == "refuses":
            return self, RefusedGrant()
        return self, RefusedClient() if letter == "client" else None


class Oracle(NamedTuple):
    """What was asked and answered, and what follows from it by the rules of `docs/credentials.md`."""

    ends_at: datetime
    is_stateless: bool
    refused: tuple[datetime, ...] = ()
    client_refused: tuple[datetime, ...] = ()
    # Whether there was a request with an unknown outcome, and whether GitLab has confirmed the access token since.
    is_unknown: bool = False
    has_vouched: bool = False
    # Since when it refuses the access token, or was asked and could not tell.
    denied_at: datetime | None = None
    told: CredentialState = CredentialState.ALIVE
    # The last moment that was promised to a holder of the token.
    promised_until: datetime | None = None
    spent_posts: int = 0

    def heard(self, event: Event, now: datetime) -> Oracle:
        """Add an answer, and judge."""
        after = self
        if isinstance(event, RefusedGrant):
            after = after._replace(refused=(*after.refused, now))
        elif isinstance(event, RefusedClient):
            after = after._replace(client_refused=(*after.client_refused, now))
        elif isinstance(event, Unknown | Abandoned):
            after = after._replace(is_unknown=True, has_vouched=False)
        elif isinstance(event, Probed) and not self.is_stateless:
            if event.seen == Seen.ALIVE:
                after = after._replace(has_vouched=True, denied_at=None)
            elif event.seen != Seen.SILENT and after.denied_at is None:
                after = after._replace(denied_at=now)
        return after._replace(told=after._judge(event, now))

    def _judge(self, event: Event, now: datetime) -> CredentialState:
        if self.told in FINAL:
            return self.told
        dead = CredentialState.LOST if self.is_unknown else CredentialState.REVOKED
        if isinstance(event, Probed) and event.seen == Seen.REVOKED and not self.is_stateless:
            return dead if self.is_unknown or self.refused else self.told
        over_since = min(moment for moment in (self.ends_at, self.denied_at) if moment)
        if isinstance(event, RefusedGrant) and over_since <= now:
            if self.is_stateless and self.is_unknown:
                return dead
            # The refusal that led to the probe of the access token is the first that counts.
            counted = [moment for moment in self.refused if moment >= over_since]
            if len(counted) >= 6 and now - counted[0] >= timedelta(minutes=10):
                return dead
        several = len(self.client_refused) >= 6
        if isinstance(event, RefusedClient) and several and now - self.client_refused[0] >= timedelta(minutes=10):
            return CredentialState.SECRET_CHANGED
        return self.told

    def is_trusted(self, now: datetime) -> bool:
        """Return whether nothing speaks against giving out the access token."""
        if self.told in FINAL or now >= self.ends_at or self.denied_at:
            return False
        if self.is_stateless or not self.is_unknown:
            return True
        return self.has_vouched


@dataclass
class Findings:
    """What was seen across all sequences."""

    sequences: int = 0
    looks: int = 0
    differences: list[str] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)


class Life(NamedTuple):
    """A moment: what the machine holds, what is true, and what was answered."""

    state: State
    truth: Truth
    oracle: Oracle
    now: datetime
    # Since when the token endpoint has answered nothing but `invalid_grant`.
    refusing_since: datetime | None = None


def begin(*, is_stateless: bool, minutes_left: float) -> Life:
    """Return a pair whose refresh is due, this long before its access token ends."""
    ends_at = NOW + timedelta(minutes=minutes_left)
    state = State(planned_at=NOW, ends_at=ends_at, is_stateless=is_stateless)
    return Life(state, Truth(ends_at, is_stateless), Oracle(ends_at, is_stateless), NOW)


def live(life: Life, letter: str, findings: Findings, path: str) -> Life | None:
    """Simulate one letter; None if a new pair was stored."""
    if letter == "revoke":
        life = life._replace(truth=life.truth._replace(revoked=True))
    for _ in range(LETTERS[letter]):
        found = _look(life, letter, findings, path)
        if found is None:
            return None
        life = found
    return life


def _look(life: Life, letter: str, findings: Findings, path: str) -> Life | None:
    """Do what the portal does for someone who wants access, then compare."""
    findings.looks += 1
    state, truth, oracle, now, refusing_since = life
    truth = truth.at(now)
    # Whoever holds the token uses it.
    is_misled = letter in ANSWERING and now < truth.ends_at and not truth.access_lives(now)
    if is_misled and served_until(state, now):
        state, _ = advance(state, AccessRefused(is_certain=True), now)
        oracle = oracle._replace(denied_at=oracle.denied_at or now, promised_until=None)
    if state.asked_at is not None and (state.is_stateless or not state.may_be_spent):
        state, step = advance(state, Abandoned(), now)
    else:
        step = plan(state, now)
    steps = 0
    while step != Step.NOTHING:
        event: Event | None
        steps += 1
        if steps > MAX_STEPS:
            findings.differences.append(f"{path} at {now - NOW}: no end of questions")
            return None
        if step == Step.PROBE:
            event = Probed(truth.probe(letter, now))
        else:
            _check_post(state, truth, oracle, now, findings, path)
            if truth.spent and letter in ANSWERED:
                oracle = oracle._replace(spent_posts=oracle.spent_posts + 1)
            state, _ = advance(state, Asking(), now)
            truth, event = truth.refresh(letter, now)
        if event is None:
            return None
        oracle = oracle.heard(event, now)
        if isinstance(event, Abandoned):
            break  # No one is left to do anything; the next check finds the intent.
        state, step = advance(state, event, now)
    is_dead = truth.spent or truth.revoked
    # Refusals are all that is heard while the pair is dead, or GitLab insists.
    is_refusing = letter == "refuses" or (is_dead and letter in ANSWERING)
    refusing_since = (refusing_since or now) if is_refusing else None
    until = served_until(state, now)
    for sentence in _compare(Life(state, truth, oracle, now, refusing_since), until, letter):
        findings.differences.append(f"{path} at {now - NOW}: {sentence}")
    if until is not None and until != oracle.promised_until:
        oracle = oracle._replace(promised_until=until)
    return Life(state, truth, oracle, now + TICK, refusing_since)


def _check_post(state: State, truth: Truth, oracle: Oracle, now: datetime, findings: Findings, path: str) -> None:
    if oracle.promised_until and now < oracle.promised_until:
        findings.differences.append(f"{path}: spent before the moment that was promised")
    if not truth.spent:
        return
    can_be_known = not truth.is_stateless and now < truth.ends_at and not oracle.denied_at
    if can_be_known or (truth.is_stateless and oracle.spent_posts):
        findings.differences.append(f"{path}: a spent token was posted at {now - NOW}")


def _compare(life: Life, until: datetime | None, letter: str) -> Iterator[str]:
    """Yield what is wrong at a moment."""
    state, truth, oracle, now, refusing_since = life
    if state.verdict != oracle.told:
        yield f"told {state.verdict}, by the rules {oracle.told}"
    if until is not None and not oracle.is_trusted(now):
        yield "served although something speaks against it"
    if until is None and letter in ANSWERING - {"kill"} and truth.access_lives(now):
        yield "no access although the token lives and GitLab answers"
    is_told = state.verdict in FINAL
    is_dead = truth.spent or truth.revoked
    if is_told and not is_dead and not (truth.is_stateless and oracle.is_unknown):
        after = [moment for moment in oracle.refused if moment >= min(oracle.ends_at, oracle.denied_at or now)]
        if len(after) < 6 or after[-1] - after[0] < timedelta(minutes=10):
            yield "asks a person although the pair is good"
    if state.verdict == CredentialState.REVOKED and truth.spent:
        yield "says revoked of a pair that was lost"
    if refusing_since and not is_told and now - max(refusing_since, truth.ends_at) >= timedelta(minutes=15):
        yield "no one was told within 15 minutes"


def explore(length: int, *, is_stateless: bool, minutes_left: float) -> Findings:
    """Simulate every sequence of letters up to a length; prefixes are shared and simulated once."""
    findings = Findings()
    layer: dict[Life, tuple[str, int]] = {begin(is_stateless=is_stateless, minutes_left=minutes_left): ("", 1)}
    for _ in range(length):
        following: dict[Life, tuple[str, int]] = {}
        for life, (path, ways) in layer.items():
            for letter in LETTERS:
                name = f"{path} {letter}"
                findings.sequences += ways
                found = live(life, letter, findings, name)
                if found is None:
                    findings.verdicts["renewed"] += ways
                elif found.state.verdict in FINAL:
                    findings.verdicts[found.state.verdict] += ways
                else:
                    known = following.get(found)
                    following[found] = (known[0] if known else name, ways + (known[1] if known else 0))
        layer = following
    findings.verdicts["open"] += sum(ways for _, ways in layer.values())
    return findings
