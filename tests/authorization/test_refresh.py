"""One refresh, undisturbed and disturbed: the fault matrix of the credential (rows 1–25, 28, 33–34)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlmodel import select

from portal.authorization.models import CredentialState
from portal.authorization.refresh import AccessSource, due_credentials, refresh_credential
from portal.connections.models import Application, Connection, ConnectionState
from portal.connections.service.instance import open_line
from portal.db import utc_now
from portal.gitlab.client import GitLabClient
from portal.gitlab.errors import Unauthorized
from portal.runtime import Runtime
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


# What GitLab answers → (state of the credential, whether the intent stays because GitLab may have acted).
ANSWERS = {
    "invalid_grant": ({"status": 400, "body": {"error": "invalid_grant"}}, CredentialState.REVOKED, False),
    "invalid_client": ({"status": 401, "body": {"error": "invalid_client"}}, CredentialState.SECRET_CHANGED, False),
    "unauthorized_client": (
        {"status": 401, "body": {"error": "unauthorized_client"}},
        CredentialState.SECRET_CHANGED,
        False,
    ),
    "invalid_scope": ({"status": 400, "body": {"error": "invalid_scope"}}, CredentialState.ALIVE, False),
    "invalid_request": ({"status": 400, "body": {"error": "invalid_request"}}, CredentialState.ALIVE, False),
    "unknown_error": ({"status": 400, "body": {"error": "tired"}}, CredentialState.ALIVE, False),
    "error_in_html": ({"status": 400, "html": True}, CredentialState.ALIVE, True),
    "401_without_error": ({"status": 401, "body": {"message": "401 Unauthorized"}}, CredentialState.ALIVE, True),
    "403": ({"status": 403, "body": {"message": "403 Forbidden"}}, CredentialState.ALIVE, True),
    "404": ({"status": 404, "body": {"error": "404 Not Found"}}, CredentialState.ALIVE, True),
    "429": ({"status": 429, "body": "Retry later\n"}, CredentialState.ALIVE, False),
    "429_with_wait": (
        {"status": 429, "body": "Retry later\n", "headers": {"Retry-After": "120"}},
        CredentialState.ALIVE,
        False,
    ),
    "500": ({"status": 500, "body": {"message": "500"}}, CredentialState.ALIVE, True),
    "502": ({"status": 502, "html": True}, CredentialState.ALIVE, True),
    "503": ({"status": 503, "html": True}, CredentialState.ALIVE, True),
    "200_html": ({"status": 200, "html": True}, CredentialState.ALIVE, True),
    "200_empty": ({"status": 200, "body": ""}, CredentialState.ALIVE, True),
    "200_array": ({"status": 200, "body": []}, CredentialState.ALIVE, True),
    "200_no_token": ({"status": 200, "body": {"token_type": "Bearer"}}, CredentialState.ALIVE, True),
    "204": ({"status": 204, "body": ""}, CredentialState.ALIVE, True),
    "redirect": ({"redirect": "https://elsewhere.example.com/"}, CredentialState.ALIVE, False),
    "drop_before": ({"drop": "before"}, CredentialState.ALIVE, True),
    "truncated": ({"status": 200, "body": {"access_token": "a" * 64}, "truncate": 10}, CredentialState.ALIVE, True),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_only_an_oauth_error_is_a_verdict(paired: Paired, name: str) -> None:
    fault, state, intent_stays = ANSWERS[name]
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, times=1, **fault)
    before = paired.stored_pair()

    if state == CredentialState.ALIVE and not intent_stays:
        # GitLab surely did nothing and nobody asks again before the pause is over: the old token is good so long.
        assert paired.demand() == before[0]
    else:
        assert paired.refusal().is_passing == (state == CredentialState.ALIVE)

    found = paired.credential
    assert found.state == state
    assert bool(found.intent_id) == intent_stays
    assert paired.stored_pair() == before
    assert paired.token_requests == 1
    assert (paired.connection.state == ConnectionState.CONNECTED) == (state == CredentialState.ALIVE)


def test_wait_that_gitlab_asks_for_is_kept_by_every_process(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.throttle(TOKEN, retry_after_seconds=120)

    token = paired.demand()

    # Nobody refreshes before the pause is over, so the old token is good until then.
    assert token == paired.issued[0].access_token
    assert paired.credential.cooldown_until > utc_now() + timedelta(seconds=100)
    assert paired.token_requests == 1


def test_answer_lost_before_gitlab_acted_is_asked_for_again_once(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop="before", times=1)
    paired.refusal()
    paired.let_rest_pass()

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.sandbox.requests.count(USER) == 1
    assert (paired.token_requests, paired.spent_posts) == (2, 0)
    assert kinds(paired) == ["put_off", "asked_again", "refreshed"]


@pytest.mark.parametrize("fault", [{"drop": "after"}, {"status": 502, "html": True, "processed": True}])
def test_answer_lost_after_gitlab_acted_is_found_out_and_told(paired: Paired, fault: dict[str, object]) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, times=1, **fault)
    paired.refusal()
    paired.let_rest_pass()

    error = paired.refusal()

    assert error.card.code == "credential_lost"
    assert paired.credential.state == CredentialState.LOST
    assert paired.connection.state == ConnectionState.NEEDS_ATTENTION
    assert (paired.token_requests, paired.spent_posts) == (1, 0)


def test_while_gitlab_is_down_after_an_unknown_outcome_nothing_is_spent(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop="before", times=1)
    paired.refusal()
    paired.let_rest_pass()
    paired.sandbox.faults.add(USER, status=503, html=True, times=1)

    assert paired.refusal().is_passing
    assert (paired.credential.state, paired.token_requests) == (CredentialState.ALIVE, 1)
    paired.let_rest_pass()
    assert paired.demand() == paired.issued[-1].access_token


def test_unknown_outcome_of_an_expired_token_that_was_spent_is_called_lost(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop="after", times=1)
    paired.refusal()
    paired.let_rest_pass()
    paired.issued[0].expires_in_seconds = 0
    paired.issued[0].revoked_at = None
    paired.sandbox.faults.add(TOKEN, status=400, body={"error": "invalid_grant"}, times=1)

    assert paired.refusal().card.code == "credential_lost"


def test_gitlab_that_is_gone_keeps_the_credential(paired: Paired) -> None:
    paired.make_due()
    port = paired.sandbox.port
    paired.sandbox.stop()

    paired.demand()  # The old token lives until the pause is over.

    found = paired.credential
    assert (found.state, found.intent_id, found.failures) == (CredentialState.ALIVE, "", 1)
    assert found.failure["layer"] == "Connection"
    assert port


def test_revoked_in_gitlab_needs_a_person_and_asks_no_more(paired: Paired) -> None:
    paired.sandbox.world.oauth.revoke_token(paired.issued[0])
    paired.make_due()

    first, second = paired.refusal(), paired.refusal()

    assert first.card.code == second.card.code == "credential_revoked"
    assert paired.token_requests == 1
    assert paired.connection.attention["code"] == "credential_revoked"


def test_secret_renewed_in_gitlab_heals_when_it_is_entered(paired: Paired, runtime: Runtime) -> None:
    secret = paired.sandbox.world.oauth.renew_secret(paired.application_id)
    paired.make_due()
    assert paired.refusal().card.code == "client_secret_changed"
    assert paired.connection.attention["code"] == "client_secret_changed"

    enter_secret(paired, str(secret))

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.connection.attention is None
    assert paired.connection.state == ConnectionState.CONNECTED


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
    """Let the database refuse what a refresh stores, as a full one would, and nothing else."""
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
    paired.demand()  # Somebody else's refresh.

    with open_line(runtime, paired.connection) as line:
        user = GitLabClient(line, source).current_user()

    assert user.username == "gatehouse"
    assert [seen.status for seen in paired.sandbox.requests.all(USER)] == [401, 200]


def test_call_with_a_revoked_token_stops_after_one_look_and_gets_a_verdict(paired: Paired, runtime: Runtime) -> None:
    paired.sandbox.world.oauth.revoke_token(paired.issued[0])
    with open_line(runtime, paired.connection) as line, pytest.raises(Unauthorized):
        GitLabClient(line, AccessSource(runtime, paired.connection_id, "test")).current_user()

    assert paired.sandbox.requests.count(USER) == 1
    assert due_credentials(runtime) == [paired.connection_id]
    assert not refresh_credential(runtime, paired.connection_id, QUICK)
    assert paired.credential.state == CredentialState.REVOKED


def test_flight_recorder_and_spool_hold_no_token(paired: Paired) -> None:
    paired.make_due()
    paired.demand()

    told = str([(event.kind, event.reason, event.process, event.details) for event in paired.events])
    assert not any(token.access_token in told or token.refresh_token in told for token in paired.issued)
