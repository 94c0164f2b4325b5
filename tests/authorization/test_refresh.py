"""One refresh, undisturbed and disturbed: the fault matrix of the credential (rows 1–25, 28, 33–34)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlmodel import select

from portal.connections.models import Application, Connection, ConnectionState
from portal.connections.store import open_host_session
from portal.credentials import AccessSource, AccessUnavailable, due_credentials, refresh_credential
from portal.credentials.models import CredentialState
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab.client import GitLabClient
from portal.runtime import Runtime
from tests.jobs.waiting import until
from tests.support.paired import QUICK, Paired, seal

TOKEN = "/oauth/token"
USER = "/api/v4/user"


def kinds(paired: Paired) -> list[str]:
    return [event.kind for event in paired.events]


def test_token_that_is_not_due_is_handed_out_without_asking_gitlab(paired: Paired) -> None:
    assert paired.demand() == paired.issued[0].access_token
    assert paired.sandbox.requests.count() == 0


def test_due_token_is_renewed_once_and_stored_before_it_is_used(paired: Paired) -> None:
    paired.make_due()

    first, second = paired.demand(), paired.demand()

    assert first == second == paired.issued[-1].access_token
    assert paired.token_requests == 1
    assert paired.holds_the_last_pair()
    found = paired.credential
    assert (found.generation, found.lease_owner, found.intent_id, found.failures) == (2, "", "", 0)
    assert found.refresh_at < found.expires_at
    assert kinds(paired) == ["refreshed"]


def test_many_demands_at_once_ask_gitlab_once(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, delay_seconds=0.2, times=1)

    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: paired.demand(), range(8)))

    assert tokens == {paired.issued[-1].access_token}
    assert paired.token_requests == 1


def test_planned_refresh_takes_every_due_credential(paired: Paired) -> None:
    assert due_credentials(paired.runtime) == []
    paired.make_due()

    assert due_credentials(paired.runtime) == [paired.connection_id]
    assert refresh_credential(paired.runtime, paired.connection_id, QUICK)
    assert due_credentials(paired.runtime) == []


# What is answered instead of GitLab → how it is interpreted. Nothing is a verdict by itself.
UNKNOWN, NOTHING_DONE, REFUSED, CLIENT = "unknown", "nothing done", "grant refused", "client refused"
ANSWERS = {
    "invalid_grant": ({"status": 400, "body": {"error": "invalid_grant"}}, REFUSED),
    "invalid_client": ({"status": 401, "body": {"error": "invalid_client"}}, CLIENT),
    "unauthorized_client": ({"status": 401, "body": {"error": "unauthorized_client"}}, CLIENT),
    "invalid_scope": ({"status": 400, "body": {"error": "invalid_scope"}}, NOTHING_DONE),
    "invalid_request": ({"status": 400, "body": {"error": "invalid_request"}}, NOTHING_DONE),
    "unknown_error": ({"status": 400, "body": {"error": "tired"}}, UNKNOWN),
    "403_oauth": ({"status": 403, "body": {"error": "invalid_grant"}}, UNKNOWN),
    "error_in_html": ({"status": 400, "html": True}, UNKNOWN),
    "401_without_error": ({"status": 401, "body": {"message": "401 Unauthorized"}}, UNKNOWN),
    "403": ({"status": 403, "body": {"message": "403 Forbidden"}}, UNKNOWN),
    "404": ({"status": 404, "body": {"error": "404 Not Found"}}, UNKNOWN),
    "429": ({"status": 429, "body": "Retry later\n"}, UNKNOWN),
    "500": ({"status": 500, "body": {"message": "500"}}, UNKNOWN),
    "502": ({"status": 502, "html": True}, UNKNOWN),
    "503": ({"status": 503, "html": True}, UNKNOWN),
    "200_html": ({"status": 200, "html": True}, UNKNOWN),
    "200_empty": ({"status": 200, "body": ""}, UNKNOWN),
    "200_array": ({"status": 200, "body": []}, UNKNOWN),
    "200_no_token": ({"status": 200, "body": {"token_type": "Bearer"}}, UNKNOWN),
    "204": ({"status": 204, "body": ""}, UNKNOWN),
    "redirect": ({"redirect": "https://elsewhere.example.com/"}, UNKNOWN),
    "drop_before": ({"drop": "before"}, UNKNOWN),
    "truncated": ({"status": 200, "body": {"access_token": "a" * 64}, "truncate": 10}, UNKNOWN),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_no_single_answer_takes_a_living_token_away(paired: Paired, name: str) -> None:
    fault, meaning = ANSWERS[name]
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, times=1, **fault)
    before = paired.stored_pair()

    assert paired.demand() == before[0]

    found = paired.credential
    assert (found.state, found.intent_id, found.may_be_spent) == (CredentialState.ALIVE, "", meaning == UNKNOWN)
    assert (found.refusals, found.client_refusals) == (int(meaning == REFUSED), int(meaning == CLIENT))
    assert paired.stored_pair() == before
    assert paired.token_requests == 1
    assert paired.connection.state == ConnectionState.CONNECTED


def test_wait_that_gitlab_asks_for_is_kept_by_every_process(paired: Paired) -> None:
    paired.make_due()
    paired.change(expires_at=utc_now() + timedelta(seconds=10))
    paired.sandbox.faults.throttle(TOKEN, retry_after_seconds=120)

    token = paired.demand()

    # No one refreshes before the pause is over; GitLab confirmed the old token, so it is valid until its end.
    assert token == paired.issued[0].access_token
    assert paired.credential.refresh_at > utc_now() + timedelta(seconds=100)
    assert paired.token_requests == 1


def test_answer_lost_before_gitlab_acted_is_asked_for_again_shortly_before_the_end(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop="before", times=1)

    assert paired.demand() == paired.issued[0].access_token
    found = paired.credential
    assert found.expires_at - timedelta(seconds=121) < found.refresh_at < found.expires_at
    paired.make_due()  # That moment comes.

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.sandbox.requests.count(USER) == 2
    assert (paired.token_requests, paired.spent_posts) == (2, 0)
    assert not paired.credential.may_be_spent
    assert kinds(paired) == ["deferred", "settled", "refreshed"]
    assert [event.details.get("event") for event in paired.events] == ["Unknown", "Probed", None]


LOST_ANSWERS = {
    "cut": {"drop": "after"},
    "502": {"status": 502, "html": True, "processed": True},
    "redirect": {"redirect": "https://status.example.com/", "processed": True},
    "403": {"status": 403, "body": {"error": "forbidden"}, "processed": True},
    "429": {"status": 429, "body": "Retry later\n", "processed": True},
}


@pytest.mark.parametrize("name", LOST_ANSWERS)
def test_answer_lost_after_gitlab_acted_is_found_out_at_once_and_told(paired: Paired, name: str) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, times=1, **LOST_ANSWERS[name])

    error = paired.refusal()

    assert error.card.code == "credential_lost"
    assert paired.credential.state == CredentialState.LOST
    assert paired.connection.state == ConnectionState.NEEDS_ATTENTION
    assert (paired.token_requests, paired.spent_posts) == (1, 0)


def test_while_gitlab_is_down_after_an_unknown_outcome_nothing_is_spent(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop="before", times=1)
    paired.sandbox.faults.add(USER, status=503, html=True, times=1)

    assert paired.refusal().is_passing
    found = paired.credential
    assert (found.state, paired.token_requests, bool(found.intent_id)) == (CredentialState.ALIVE, 1, True)
    # Whoever wants access may have GitLab asked again in seconds, not after the pause of a failed refresh.
    assert found.cooldown_until <= utc_now() + timedelta(seconds=2)
    paired.let_rest_pass()
    assert paired.demand() == paired.issued[-1].access_token
    assert paired.token_requests == 1


@pytest.mark.parametrize("answer", [{"status": 403, "body": {"message": "403 Forbidden"}}, {"html": True}])
def test_gateway_that_answers_a_probe_vouches_for_nothing(paired: Paired, answer: dict[str, object]) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop="after", times=1)
    paired.sandbox.faults.add(USER, times=1, **answer)
    paired.sandbox.faults.add("/oauth/token/info", times=1, **answer)

    assert paired.refusal().is_passing
    paired.let_rest_pass()

    assert paired.refusal().card.code == "credential_lost"
    assert paired.spent_posts == 0


def test_second_try_that_is_limited_takes_no_doubt_away(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop="after", times=1)
    paired.sandbox.faults.add(USER, status=401, body={"message": "401 Unauthorized"})
    paired.refusal()
    paired.let_rest_pass()
    paired.change(intent_at=utc_now() - timedelta(minutes=2))
    paired.sandbox.faults.throttle(TOKEN)

    assert paired.refusal().is_passing  # The dead token is not given out.
    paired.sandbox.faults.clear()
    paired.let_rest_pass()

    assert paired.refusal().card.code == "credential_lost"


def test_request_that_waits_in_a_queue_is_not_made_a_second_time(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, delay_seconds=1.0, times=1)
    times = QUICK.__class__(**{**vars(QUICK), "request": 0.3})

    assert paired.demand(times) == paired.issued[0].access_token  # GitLab confirms it: nothing has happened yet.
    paired.sandbox.requests.wait_for(TOKEN)
    until(lambda: len(paired.issued) == 2)
    paired.make_due()

    assert paired.refusal().card.code == "credential_lost"
    assert (paired.token_requests, paired.spent_posts) == (1, 0)


def test_token_of_somebody_else_vouches_for_nothing(paired: Paired) -> None:
    paired.make_due()
    paired.change(gitlab_user_id=1)
    paired.sandbox.faults.add(TOKEN, drop="before", times=1)

    assert paired.refusal().is_passing


def test_gitlab_that_is_gone_keeps_the_credential(paired: Paired) -> None:
    paired.make_due()
    port = paired.sandbox.port
    paired.sandbox.stop()

    assert paired.demand()  # The old token works.

    found = paired.credential
    assert (found.state, found.intent_id, found.failures) == (CredentialState.ALIVE, "", 1)
    assert (Card.from_json(found.failure).layer, found.may_be_spent) == ("Connection", False)
    assert port


def test_revoked_in_gitlab_needs_a_person_and_asks_no_more(paired: Paired) -> None:
    paired.sandbox.world.oauth.revoke_token(paired.issued[0])
    paired.make_due()

    first, second = paired.refusal(), paired.refusal()

    assert first.card.code == second.card.code == "credential_revoked"
    assert paired.token_requests == 1
    assert due_credentials(paired.runtime) == []
    assert paired.connection.attention["code"] == "credential_revoked"


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("fault", ["refuse_good_refreshes", "refuse_good_clients"])
def test_gitlab_that_refuses_a_few_times_and_then_accepts_asks_nobody(paired: Paired, fault: str, times: int) -> None:
    paired.change(expires_at=utc_now() - timedelta(minutes=11))
    setattr(paired.sandbox.world.settings, fault, times)
    paired.make_due()

    for _ in range(times):
        assert paired.refusal().is_passing
        paired.let_rest_pass()

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.connection.attention is None
    assert (paired.credential.refusals, paired.credential.client_refusals) == (0, 0)


def test_refusals_that_do_not_end_are_a_verdict_after_ten_minutes(paired: Paired) -> None:
    paired.change(expires_at=utc_now() - timedelta(minutes=11))
    paired.sandbox.world.settings.refuse_good_refreshes = 7
    paired.make_due()
    for _ in range(6):
        assert paired.refusal().is_passing
        paired.let_rest_pass()
    paired.change(refused_at=utc_now() - timedelta(minutes=10))

    assert paired.refusal().card.code == "credential_revoked"
    # An hour later GitLab is asked once more, and accepts it.
    paired.let_rest_pass()
    paired.change(cooldown_until=utc_now() - timedelta(seconds=1))
    assert due_credentials(paired.runtime) == [paired.connection_id]
    assert refresh_credential(paired.runtime, paired.connection_id, QUICK)
    assert paired.connection.attention is None
    assert paired.connection.state == ConnectionState.CONNECTED


def test_refused_pair_that_may_be_spent_is_called_lost(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop="after", times=1)
    paired.sandbox.faults.add(USER, status=503, html=True, times=1)
    paired.refusal()
    paired.issued[0].created_at -= timedelta(hours=2)
    ended = utc_now() - timedelta(minutes=11)
    paired.change(expires_at=ended, intent_at=ended, refusals=5, refused_at=ended)
    paired.let_rest_pass()

    assert paired.refusal().card.code == "credential_lost"


def test_secret_renewed_in_gitlab_is_told_after_ten_minutes_and_heals_when_it_is_entered(
    paired: Paired, runtime: Runtime
) -> None:
    secret = paired.sandbox.world.oauth.renew_secret(paired.application_id)
    paired.make_due()
    assert paired.demand() == paired.issued[0].access_token
    paired.change(client_refusals=5, client_refused_at=utc_now() - timedelta(minutes=10))
    paired.let_rest_pass()

    assert paired.demand() == paired.issued[0].access_token  # It works, and is still given out.
    assert paired.credential.state == CredentialState.SECRET_CHANGED
    assert paired.connection.attention["code"] == "client_secret_changed"

    enter_secret(paired, str(secret))

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.connection.attention is None
    assert paired.connection.state == ConnectionState.CONNECTED


def test_secret_that_gitlab_accepts_again_needs_nobody(paired: Paired) -> None:
    paired.sandbox.world.settings.refuse_good_clients = 1
    paired.change(client_refusals=5, client_refused_at=utc_now() - timedelta(minutes=10))
    paired.make_due()
    paired.demand()
    assert paired.credential.state == CredentialState.SECRET_CHANGED
    paired.let_rest_pass()

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.connection.attention is None


def enter_secret(paired: Paired, secret: str) -> None:
    with paired.runtime.database.transaction() as session:
        application = session.exec(select(Application)).one()
        seal(paired.runtime, application, "application", "client_secret_sealed", secret)
        application.updated_at = utc_now()


def test_winner_of_a_race_is_never_overwritten(paired: Paired) -> None:
    """A process that was paused past its lease answers late: its verdict and its pair change nothing (S37, S38)."""
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, delay_seconds=1.0, times=1, status=400, body={"error": "invalid_grant"})
    slow = threading.Thread(target=paired.demand)
    slow.start()
    paired.sandbox.requests.wait_for(TOKEN)
    paired.change(lease_owner="", lease_until=None, intent_id="")

    winner = paired.demand()
    slow.join()

    assert winner == paired.issued[-1].access_token
    assert paired.credential.state == CredentialState.ALIVE
    assert paired.holds_the_last_pair()


def test_late_answer_of_the_true_pair_wins_over_a_verdict(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, delay_seconds=1.0, times=1)
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(paired.demand()))
    slow.start()
    paired.sandbox.requests.wait_for(TOKEN)
    paired.change(state=CredentialState.LOST)
    slow.join()

    assert answers == [paired.issued[-1].access_token]
    assert paired.holds_the_last_pair()


def test_full_disk_starts_no_token_request(paired: Paired, runtime: Runtime) -> None:
    runtime.settings.data_dir.mkdir(parents=True, exist_ok=True)
    (runtime.settings.data_dir / "spool").write_text("a file where the folder should be")
    paired.make_due()

    error = paired.refusal()

    assert error.card.code == "spool_unwritable"
    assert (paired.token_requests, paired.credential.intent_id) == (0, "")
    (runtime.settings.data_dir / "spool").unlink()
    paired.let_rest_pass()
    assert paired.demand() == paired.issued[-1].access_token


def test_answer_outlives_a_database_that_fails_before_it_is_stored(paired: Paired, runtime: Runtime) -> None:
    paired.make_due()
    refuse_new_pairs(runtime)
    with pytest.raises(Exception, match="no new pair"):
        paired.demand(QUICK.__class__(**{**vars(QUICK), "patience": 0.1}))
    accept_new_pairs(runtime)

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.holds_the_last_pair()
    assert paired.token_requests == 1
    assert list((runtime.settings.data_dir / "spool").iterdir()) == []


def refuse_new_pairs(runtime: Runtime) -> None:
    """Make the database refuse only what a refresh stores, like a full one."""
    with runtime.database.transaction() as session:
        if runtime.database.is_sqlite:
            session.execute(
                text(
                    "CREATE TRIGGER full_disk BEFORE UPDATE OF generation ON credential WHEN NEW.generation > "
                    "OLD.generation BEGIN SELECT RAISE(ABORT, 'no new pair'); END"
                )
            )
            return
        session.execute(
            text(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN RAISE EXCEPTION 'no new pair'; END$$"
            )
        )
        session.execute(
            text(
                "CREATE TRIGGER full_disk BEFORE UPDATE OF generation ON credential FOR EACH ROW WHEN "
                "(NEW.generation > OLD.generation) EXECUTE FUNCTION full_disk()"
            )
        )


def accept_new_pairs(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        session.execute(text(f"DROP TRIGGER full_disk{'' if runtime.database.is_sqlite else ' ON credential'}"))


@pytest.mark.parametrize("hours", [-1, 1])
def test_lease_from_before_the_clock_was_set_does_not_hold_for_ever(paired: Paired, hours: int) -> None:
    paired.make_due()
    paired.change(lease_owner="gone", lease_until=utc_now() + timedelta(hours=hours))

    assert paired.demand() == paired.issued[-1].access_token


def test_token_given_for_another_address_is_not_sent_there(paired: Paired, runtime: Runtime) -> None:
    paired.make_due()
    with runtime.database.transaction() as session:
        session.get_one(Connection, paired.connection_id).api_url = "https://elsewhere.example.com"

    assert paired.refusal().card.code == "secret_unreadable"
    assert paired.token_requests == 0


def test_disconnected_connection_gives_nothing(paired: Paired, runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        session.get_one(Connection, paired.connection_id).state = ConnectionState.DISCONNECTED

    assert paired.refusal().card.code == "not_authorized"
    assert due_credentials(runtime) == []


def test_call_whose_token_died_under_it_is_repeated_once_with_the_new_one(paired: Paired, runtime: Runtime) -> None:
    source = AccessSource(runtime, paired.connection_id, "test")
    source.token()
    paired.make_due()
    paired.demand()  # Someone else's refresh.

    with open_host_session(runtime, paired.connection) as http:
        user = GitLabClient(http, source).current_user()

    assert user.username == "gatehouse"
    assert [seen.status for seen in paired.sandbox.requests.all(USER)] == [401, 200]


def test_call_with_a_revoked_token_gets_a_verdict_at_once(paired: Paired, runtime: Runtime) -> None:
    paired.sandbox.world.oauth.revoke_token(paired.issued[0])
    with open_host_session(runtime, paired.connection) as http, pytest.raises(AccessUnavailable) as caught:
        GitLabClient(http, AccessSource(runtime, paired.connection_id, "test")).current_user()

    assert caught.value.card.code == "credential_revoked"
    assert not caught.value.is_passing
    # The call, and the probe after the refresh was refused.
    assert paired.sandbox.requests.count(USER) == 2
    assert paired.credential.state == CredentialState.REVOKED


def test_token_that_ended_early_is_renewed_under_the_call(paired: Paired, runtime: Runtime) -> None:
    paired.issued[0].created_at -= timedelta(hours=2)
    source = AccessSource(runtime, paired.connection_id, "test")
    with open_host_session(runtime, paired.connection) as http:
        user = GitLabClient(http, source).current_user()

    assert user.username == "gatehouse"
    assert (paired.token_requests, paired.spent_posts) == (1, 0)


def test_token_that_ended_early_while_it_cannot_be_renewed_is_tried_later(paired: Paired, runtime: Runtime) -> None:
    paired.issued[0].created_at -= timedelta(hours=2)
    paired.sandbox.faults.add(TOKEN, drop="before")
    with open_host_session(runtime, paired.connection) as http, pytest.raises(AccessUnavailable) as caught:
        GitLabClient(http, AccessSource(runtime, paired.connection_id, "test")).current_user()

    assert caught.value.is_passing
    assert paired.credential.state == CredentialState.ALIVE


def test_token_that_gitlab_does_not_know_yet_is_looked_at_again(paired: Paired, runtime: Runtime) -> None:
    paired.change(obtained_at=utc_now())
    paired.sandbox.faults.add(USER, status=401, body={"message": "401 Unauthorized"}, times=2)
    with open_host_session(runtime, paired.connection) as http:
        user = GitLabClient(http, AccessSource(runtime, paired.connection_id, "test")).current_user()

    assert user.username == "gatehouse"
    assert paired.token_requests == 0


def test_flight_recorder_and_spool_hold_no_token(paired: Paired) -> None:
    paired.make_due()
    paired.demand()

    told = str([(event.kind, event.reason, event.process, event.details) for event in paired.events])
    assert not any(token.access_token in told or token.refresh_token in told for token in paired.issued)
