"""The state machine by itself: exact counts, pauses and ends, which the sequences only see minute by minute."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from portal.credentials.machine import (
    FOREVER,
    Abandoned,
    AccessRefused,
    Asking,
    Event,
    NotProcessed,
    Probed,
    RefusedClient,
    RefusedGrant,
    SecretEntered,
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
ALIVE = State(planned_at=NOW, ends_at=NOW + timedelta(hours=1))
OVER = State(planned_at=NOW - timedelta(minutes=5), ends_at=NOW - timedelta(seconds=1))
IAM = replace(ALIVE, is_stateless=True)
NEVER = State(planned_at=None, ends_at=None)


@pytest.fixture
def backend() -> str:
    """The state machine knows no database."""
    return "sqlite"


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def rest(state: State, now: datetime = NOW) -> float | None:
    """Return for how many seconds GitLab is not asked."""
    return (state.rest_until - now).total_seconds() if state.rest_until else None


def repeat(state: State, event: Event, *moments: float) -> State:
    for seconds in moments:
        state, _ = advance(state, Asking(), after(seconds))
        state, _ = advance(state, event, after(seconds))
    return state


@pytest.mark.parametrize("start", [ALIVE, IAM, replace(ALIVE, ends_at=None)])
def test_refusals_while_the_access_token_lives_are_no_verdict_however_many(start: State) -> None:
    found = repeat(start, RefusedGrant(), *range(0, 3600, 100))

    assert (found.verdict, found.refusals) == (CredentialState.ALIVE, 36)


@pytest.mark.parametrize(
    ("moments", "verdict"),
    [
        ((0, 100, 200, 300, 400, 600), CredentialState.REVOKED),
        ((0, 100, 200, 300, 400, 599), CredentialState.ALIVE),
        ((0, 100, 200, 300, 600), CredentialState.ALIVE),
        ((0, 100, 200, 300, 400, 500, 600), CredentialState.REVOKED),
    ],
)
def test_verdict_takes_six_refusals_over_ten_minutes(moments: tuple[float, ...], verdict: CredentialState) -> None:
    assert repeat(OVER, RefusedGrant(), *moments).verdict == verdict
    # With a request whose outcome is unknown, the same is called lost.
    lost = CredentialState.LOST if verdict == CredentialState.REVOKED else verdict
    assert repeat(replace(OVER, may_be_spent=True), RefusedGrant(), *moments).verdict == lost


def test_refusals_from_before_the_end_do_not_count() -> None:
    early = replace(ALIVE, ends_at=after(500))
    found = repeat(early, RefusedGrant(), 0, 100, 200, 300, 400, 500)
    assert (found.verdict, found.refusals, found.refused_at) == (CredentialState.ALIVE, 1, after(500))
    # One at the very end counts already, and those after a look at which GitLab refused the access token.
    assert repeat(found, RefusedGrant(), 600, 700, 800, 900, 1100).verdict == CredentialState.REVOKED
    refused = replace(early, is_access_refused=True)
    assert repeat(refused, RefusedGrant(), 0, 100, 200, 300, 400, 600).verdict == CredentialState.REVOKED


def test_pauses_between_refusals_grow_and_end_with_the_access_token() -> None:
    for event in (RefusedGrant(), RefusedClient()):
        state, pauses = OVER, []
        for number in range(6):
            state = repeat(state, event, number)
            pauses.append(rest(state, after(number)))
        assert pauses == [20, 40, 120, 180, 240, 240]
        assert rest(advance(ALIVE, event, NOW, spread=1.5)[0]) == 30
        assert rest(repeat(replace(ALIVE, ends_at=after(5)), event, 0)) == 5
        assert rest(repeat(replace(ALIVE, ends_at=None), event, 0)) == 20


def test_refusal_is_followed_by_a_look_where_that_can_tell_something() -> None:
    states = (ALIVE, replace(ALIVE, ends_at=None), OVER, replace(ALIVE, ends_at=NOW), IAM)
    steps = [advance(state, RefusedGrant(), NOW)[1] for state in states]

    assert steps == [Step.PROBE, Step.PROBE, Step.NOTHING, Step.NOTHING, Step.NOTHING]
    assert advance(ALIVE, RefusedClient(), NOW)[1] == Step.NOTHING
    # It is an answer, so an outage is over.
    for event in (RefusedGrant(), RefusedClient()):
        assert advance(replace(ALIVE, failures=3), event, NOW)[0].failures == 0


def test_iam_pair_that_may_be_spent_has_one_try() -> None:
    found, step = advance(replace(IAM, may_be_spent=True), RefusedGrant(), NOW)

    assert (found.verdict, step) == (CredentialState.LOST, Step.NOTHING)


@pytest.mark.parametrize(
    ("moments", "verdict", "pause"),
    [
        ((0, 100, 200, 300, 400, 600), CredentialState.SECRET_CHANGED, 900),
        ((0, 100, 200, 300, 400, 599), CredentialState.ALIVE, 240),
        ((0, 100, 200, 300, 600), CredentialState.ALIVE, 240),
    ],
)
def test_client_that_is_refused_six_times_over_ten_minutes_has_another_secret(
    moments: tuple[float, ...], verdict: CredentialState, pause: float
) -> None:
    found = repeat(ALIVE, RefusedClient(), *moments)

    assert (found.verdict, rest(found, after(moments[-1]))) == (verdict, pause)
    assert served_until(found, after(moments[-1])) == after(moments[-1] + pause)
    entered, step = advance(found, SecretEntered(), after(700))
    assert (entered.verdict, entered.client_refusals, entered.rest_until) == (CredentialState.ALIVE, 0, None)
    assert (entered.client_refused_at, step) == (None, Step.REFRESH)


def test_secret_that_was_not_refused_ends_no_pause_and_no_verdict() -> None:
    found, _ = advance(replace(ALIVE, rest_until=after(50)), SecretEntered(), NOW)
    assert found.rest_until == after(50)
    lost = replace(ALIVE, verdict=CredentialState.LOST)
    assert advance(lost, SecretEntered(), NOW)[0].verdict == CredentialState.LOST


def test_verdict_that_only_counted_is_looked_at_once_an_hour_for_a_day() -> None:
    found = repeat(OVER, RefusedGrant(), 0, 100, 200, 300, 400, 600)
    assert rest(found, after(600)) == 3600
    assert (plan(found, after(4199)), plan(found, after(4200))) == (Step.NOTHING, Step.REFRESH)
    assert served_until(found, after(4200)) is None
    asked, _ = advance(found, Asking(), after(4200))
    for event in (RefusedGrant(), RefusedClient(), Unknown(), NotProcessed(is_outage=True), Probed(Seen.ALIVE)):
        again, step = advance(asked, event, after(4200))
        assert (again.verdict, rest(again, after(4200)), step) == (CredentialState.REVOKED, 3600, Step.NOTHING)
        assert (again.asked_at, again.may_be_spent) == (None, False)
    late, _ = advance(found, RefusedGrant(), after(24 * 3600))
    assert (late.rest_until, plan(late, after(48 * 3600))) == (None, Step.NOTHING)
    # One by GitLab's own word is none of these.
    refused = replace(ALIVE, refusals=1, refused_at=NOW, rest_until=after(20))
    told, _ = advance(refused, Probed(Seen.REVOKED), NOW)
    assert (told.verdict, told.rest_until) == (CredentialState.REVOKED, None)


@pytest.mark.parametrize(
    ("state", "until"),
    [
        (replace(ALIVE, planned_at=after(60)), after(60)),
        (replace(ALIVE, planned_at=after(9000)), after(3600)),
        (ALIVE, None),
        (replace(ALIVE, rest_until=after(30)), after(30)),
        (replace(ALIVE, ends_at=after(20), rest_until=after(30)), after(20)),
        (replace(ALIVE, rest_until=after(-1)), None),
        (replace(ALIVE, rest_until=NOW), None),
        # Longer than any pause, so it dates from before the clock was set back.
        (replace(ALIVE, rest_until=after(3601)), None),
        (replace(ALIVE, rest_until=after(3600)), after(3600)),
        (replace(ALIVE, planned_at=after(60), asked_at=NOW), None),
        (replace(ALIVE, planned_at=None), after(3600)),
        (replace(ALIVE, is_renewable=False), after(3600)),
        (replace(ALIVE, planned_at=after(60), is_access_refused=True), None),
        (replace(ALIVE, planned_at=after(60), ends_at=NOW), None),
        (replace(ALIVE, planned_at=after(60), may_be_spent=True), after(60)),
        (replace(ALIVE, planned_at=after(60), verdict=CredentialState.SECRET_CHANGED), after(60)),
        *((replace(ALIVE, planned_at=after(60), verdict=state), None) for state in ("revoked", "lost", "erased")),
        (NEVER, FOREVER),
        (replace(NEVER, planned_at=after(60)), after(60)),
    ],
)
def test_token_is_handed_out_until_its_pair_may_be_spent(state: State, until: datetime | None) -> None:
    assert served_until(state, NOW) == until


@pytest.mark.parametrize(
    ("state", "step", "step_after_an_answer"),
    [
        (ALIVE, Step.REFRESH, Step.REFRESH),
        (replace(ALIVE, planned_at=after(1)), Step.NOTHING, Step.NOTHING),
        (NEVER, Step.NOTHING, Step.NOTHING),
        (replace(ALIVE, is_renewable=False), Step.NOTHING, Step.NOTHING),
        (replace(ALIVE, rest_until=after(1)), Step.NOTHING, Step.NOTHING),
        (replace(ALIVE, rest_until=NOW), Step.REFRESH, Step.REFRESH),
        (replace(ALIVE, failures=1), Step.PROBE, Step.REFRESH),
        (replace(ALIVE, may_be_spent=True), Step.PROBE, Step.REFRESH),
        (replace(NEVER, asked_at=NOW), Step.PROBE, Step.REFRESH),
        (replace(IAM, may_be_spent=True), Step.REFRESH, Step.REFRESH),
        (replace(IAM, failures=1), Step.PROBE, Step.REFRESH),
        (replace(ALIVE, verdict=CredentialState.LOST), Step.NOTHING, Step.NOTHING),
        (replace(ALIVE, verdict=CredentialState.ERASED), Step.NOTHING, Step.NOTHING),
        (replace(ALIVE, verdict=CredentialState.UNREADABLE), Step.NOTHING, Step.NOTHING),
        (replace(ALIVE, verdict=CredentialState.REVOKED), Step.NOTHING, Step.NOTHING),
        (replace(ALIVE, verdict=CredentialState.SECRET_CHANGED), Step.REFRESH, Step.REFRESH),
    ],
)
def test_pair_is_risked_when_it_is_due_and_after_a_failure_only_at_a_gitlab_that_answers(
    state: State, step: Step, step_after_an_answer: Step
) -> None:
    assert (plan(state, NOW), plan(state, NOW, has_answered=True)) == (step, step_after_an_answer)


def test_unknown_outcome_is_looked_at_at_once_and_stays_in_doubt() -> None:
    asked, step = advance(replace(ALIVE, rest_until=after(-5), failures=2), Asking(), NOW)
    assert (asked.asked_at, step) == (NOW, Step.REFRESH)
    for event in (Unknown(), Abandoned()):
        found, step = advance(asked, event, after(1))
        assert (found.may_be_spent, found.failures, found.rest_until, step) == (True, 3, None, Step.PROBE)
        assert found.asked_at == NOW


@pytest.mark.parametrize(("asked_for", "seconds"), [(0.0, 2), (120.0, 120), (1e9, 3600)])
def test_wait_that_gitlab_asks_for_is_kept_within_limits(asked_for: float, seconds: float) -> None:
    asked, _ = advance(ALIVE, Asking(), NOW)
    assert advance(asked, Unknown(asked_for), NOW)[0].planned_at == after(seconds)
    silent, _ = advance(replace(asked, may_be_spent=True), Probed(Seen.SILENT, asked_for), NOW)
    assert (rest(silent), silent.failures) == (seconds, 1)
    # A later plan stays.
    assert advance(replace(asked, planned_at=after(5000)), Unknown(1.0), NOW)[0].planned_at == after(5000)


@pytest.mark.parametrize(
    ("ends_at", "again"),
    [
        # Shortly before the end: two minutes, or a quarter of what is left.
        (after(3600), after(3480)),
        (after(400), after(300)),
        # Not within a minute of the request.
        (after(70), after(60)),
        (None, after(900)),
    ],
)
def test_pair_that_gitlab_vouched_for_is_posted_again_as_late_as_can_be(
    ends_at: datetime | None, again: datetime
) -> None:
    doubtful = replace(ALIVE, ends_at=ends_at, asked_at=NOW, may_be_spent=True, failures=1, is_access_refused=True)

    found, step = advance(doubtful, Probed(Seen.ALIVE), NOW)

    assert (found.planned_at, found.asked_at, found.failures, step) == (again, None, 0, Step.NOTHING)
    assert (found.may_be_spent, found.is_access_refused) == (True, False)
    assert advance(replace(doubtful, planned_at=after(9999)), Probed(Seen.ALIVE), NOW)[0].planned_at == after(9999)


def test_iam_pair_of_unknown_outcome_is_tried_once_the_access_token_has_ended() -> None:
    for ends_at, again in ((after(3600), after(3600)), (after(10), after(60)), (None, after(60))):
        found, step = advance(replace(IAM, ends_at=ends_at, asked_at=NOW, failures=1), Abandoned(), after(5))
        assert (found.planned_at, found.asked_at, found.failures, step) == (again, None, 0, Step.NOTHING)


@pytest.mark.parametrize("seen", [Seen.EXPIRED, Seen.UNCLEAR])
def test_access_token_that_tells_nothing_lets_the_pair_be_tried_a_minute_after_the_unknown_request(seen: Seen) -> None:
    doubtful = replace(ALIVE, asked_at=NOW, may_be_spent=True, failures=1)

    early, step = advance(doubtful, Probed(seen), after(59))
    assert (early.is_access_refused, rest(early, after(59)), step) == (True, 2, Step.NOTHING)
    later, step = advance(doubtful, Probed(seen), after(60))
    assert (later.is_access_refused, later.rest_until, step) == (True, None, Step.REFRESH)


def test_access_token_that_was_revoked_is_a_verdict_with_a_doubt_or_a_refusal_only() -> None:
    revoked = Probed(Seen.REVOKED)
    spent = replace(ALIVE, asked_at=NOW, may_be_spent=True, refusals=1)
    assert advance(spent, revoked, NOW)[0].verdict == CredentialState.LOST
    assert advance(spent, revoked, NOW)[0].asked_at is None
    found, step = advance(replace(ALIVE, failures=1), revoked, NOW)
    assert (found.verdict, found.is_access_refused, step) == (CredentialState.ALIVE, True, Step.REFRESH)
    # It says nothing about an IAM pair.
    assert advance(replace(IAM, failures=1), revoked, NOW)[0].is_access_refused is False


def test_look_after_a_refusal_keeps_the_pause_and_counts_the_refusal_when_the_token_is_refused() -> None:
    refused, _ = advance(replace(ALIVE, refusals=2, refused_at=after(-500)), RefusedGrant(), NOW)
    for seen, refusals, first in ((Seen.ALIVE, 3, after(-500)), (Seen.UNCLEAR, 1, NOW), (Seen.SILENT, 3, after(-500))):
        found, step = advance(refused, Probed(seen), NOW)
        assert (found.refusals, found.refused_at, rest(found), step) == (refusals, first, 120, Step.NOTHING)
    # A refusal whose pause is over led to no probe.
    found, _ = advance(refused, Probed(Seen.UNCLEAR), after(120))
    assert (found.refusals, found.refused_at) == (0, None)
    # The second time it is already known.
    known = replace(refused, is_access_refused=True)
    assert advance(known, Probed(Seen.UNCLEAR), NOW)[0].refusals == 3


def test_pauses_of_an_outage_grow_while_a_token_is_there_and_stay_short_without_one() -> None:
    down = NotProcessed(is_outage=True)
    for start, pauses in ((ALIVE, [2, 4, 8, 16, 32, 60, 60]), (OVER, [2] * 7)):
        state, found = start, []
        for _ in pauses:
            state, _ = advance(state, Asking(), NOW)
            state, step = advance(state, down, NOW)
            assert (state.asked_at, state.may_be_spent, step) == (None, False, Step.NOTHING)
            found.append(rest(state))
        assert found == pauses
    assert rest(advance(replace(ALIVE, failures=2), down, NOW, spread=1.5)[0]) == 12
    assert rest(advance(replace(ALIVE, failures=5, ends_at=after(7)), down, NOW)[0]) == 7
    # A refusal for another reason is not an outage.
    assert rest(advance(replace(ALIVE, failures=30), NotProcessed(), NOW)[0]) == 900
    assert rest(advance(replace(OVER, failures=2), NotProcessed(), NOW)[0]) == 8
    silent, _ = advance(replace(ALIVE, failures=2, asked_at=NOW, may_be_spent=True), Probed(Seen.SILENT), NOW)
    assert (rest(silent), silent.failures) == (2, 3)


def test_gitlab_that_answers_ends_the_pause_of_an_outage() -> None:
    found, step = advance(replace(ALIVE, failures=3, rest_until=after(50)), Probed(Seen.ALIVE), NOW)
    assert (found.failures, found.rest_until, step) == (0, None, Step.REFRESH)


@pytest.mark.parametrize("is_certain", [True, False])
def test_call_that_is_refused_has_the_pair_refreshed_now(is_certain: bool) -> None:
    waiting = replace(ALIVE, planned_at=after(900), rest_until=after(50), failures=1, refusals=2, refused_at=NOW)

    found, step = advance(waiting, AccessRefused(is_certain), after(10))

    assert (found.planned_at, found.rest_until, found.is_access_refused) == (after(10), None, is_certain)
    assert (found.refusals, step) == (0 if is_certain else 2, Step.PROBE)
    assert advance(replace(waiting, failures=0), AccessRefused(is_certain), after(10))[0].rest_until == after(50)
    assert advance(NEVER, AccessRefused(is_certain), NOW)[0].planned_at == NOW
    assert advance(replace(ALIVE, planned_at=after(-9)), AccessRefused(is_certain), NOW)[0].planned_at == after(-9)
    assert advance(replace(ALIVE, is_renewable=False), AccessRefused(is_certain), NOW)[0].is_access_refused is False
