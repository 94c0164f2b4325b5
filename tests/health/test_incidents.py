from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.connections.models import ConnectionState
from portal.credentials.models import Credential, CredentialState
from portal.errors import Card
from portal.health.alarms import enqueue_due_mails
from portal.health.checks import check_connection
from portal.health.models import IncidentPhase
from portal.jobs.models import Job, JobState
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.conftest import Watched
from tests.health.mailbox import Mailbox


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_connection_that_works_has_checks_and_no_incident(watched: Watched) -> None:
    watched.look(3)

    assert watched.incidents == []
    assert watched.connection.state == ConnectionState.CONNECTED
    found = watched.states()
    assert {key for key, state in found.items() if state == "pass"} >= {"name", "gitlab", "credential", "token", "user"}
    assert "fail" not in found.values()
    assert [len(watched.history(key)) for key in found] == [1] * len(found)


def test_gitlab_down_for_ten_checks_is_one_incident_with_one_mail_and_one_for_its_end(
    watched: Watched, sandbox: RunningSandbox, mailing: Mailbox, runtime: Runtime
) -> None:
    watched.look(2)
    answered = watched.watch.answered_at
    sandbox.faults.add("*", drop="before")
    watched.look(10)
    run_pending(runtime)

    assert watched.alarms == ["unreachable"]
    assert watched.incidents[0].count == 10
    assert watched.watch.answered_at == answered
    assert sorted(mailing.recipients) == ["ada@example.com", "olga@example.com"]
    assert mailing.subjects[0].startswith("Broken: Gitlab: ")
    assert (
        "The credentials are kept. GitLab last answered at 1 Mar 2026, 12:02 UTC." in mailing.messages[0].get_content()
    )

    sandbox.faults.clear()
    watched.look(2)
    assert [incident.phase for incident in watched.incidents] == [IncidentPhase.CLOSED]
    watched.look(8, minutes=5)
    enqueue_due_mails(runtime, watched.now)
    run_pending(runtime)
    enqueue_due_mails(runtime, watched.now)
    run_pending(runtime)

    assert len(mailing.raw) == 4
    assert mailing.subjects[2:] == ["Over: Gitlab"] * 2
    assert watched.alarms == ["unreachable"]


def test_closed_port_is_the_same_incident_as_an_answer_that_breaks_off(
    watched: Watched, sandbox: RunningSandbox
) -> None:
    sandbox.faults.add("*", drop="before", times=1)
    watched.look()
    sandbox.stop()
    watched.look(3)

    assert watched.alarms == ["unreachable"]
    assert watched.incidents[0].card["code"] == "connect_failed"
    assert watched.states()["credential"] == "pass"
    assert watched.states()["token"] == "skipped"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "html": True},
        {"html": True},
        {"status": 500},
        {"redirect": "https://status.example.com/"},
        {"status": 429, "body": "Retry later\n"},
    ],
    ids=["maintenance", "page", "500", "redirect", "429"],
)
def test_outage_is_told_once_whatever_its_shape_and_says_nothing_of_the_credential(
    watched: Watched, sandbox: RunningSandbox, fault: dict
) -> None:
    sandbox.faults.add("/api/v4/*", **fault)
    watched.look(4)

    assert watched.alarms == ["unreachable"]
    assert watched.states()["credential"] == "pass"
    with watched.runtime.database.reading() as session:
        assert session.exec(select(Credential)).one().state == CredentialState.ALIVE
    assert watched.connection.state == ConnectionState.CONNECTED


def test_flapping_is_told_at_most_once(watched: Watched, sandbox: RunningSandbox) -> None:
    for _ in range(3):
        sandbox.faults.add("*", drop="before")
        watched.look()
        sandbox.faults.clear()
        watched.look()
    assert watched.alarms == []

    for _ in range(3):
        sandbox.faults.add("*", drop="before")
        watched.look(2)
        sandbox.faults.clear()
        watched.look(2)
    assert watched.alarms == ["unreachable"]
    assert len(watched.incidents) == 1


def test_token_revoked_in_gitlab_is_told_at_once_and_never_as_an_outage(
    watched: Watched, sandbox: RunningSandbox
) -> None:
    watched.look()
    _revoke_all(sandbox)
    watched.look()

    assert watched.alarms == ["unauthorized"]
    assert watched.connection.state == ConnectionState.NEEDS_ATTENTION

    sandbox.faults.add("*", drop="before")
    watched.look(3)
    assert watched.alarms == ["unauthorized", "unreachable"]
    assert watched.incidents[0].phase == IncidentPhase.OPEN


def test_end_of_an_outage_leaves_the_revoked_credential_open(watched: Watched, sandbox: RunningSandbox) -> None:
    with watched.runtime.database.transaction() as session:
        session.exec(select(Credential)).one().state = CredentialState.REVOKED
    sandbox.faults.add("*", drop="before")
    watched.look(2)
    sandbox.faults.clear()
    watched.look(2)

    phases = {incident.cause: incident.phase for incident in watched.incidents}
    assert phases == {"unreachable": IncidentPhase.CLOSED, "credential_revoked": IncidentPhase.OPEN}


def test_new_authorization_ends_it_and_takes_the_failure_off_the_connection(watched: Watched) -> None:
    with watched.runtime.database.transaction() as session:
        session.exec(select(Credential)).one().state = CredentialState.REVOKED
    watched.look()
    assert (watched.connection.attention or {})["code"] == "credential_revoked"

    with watched.runtime.database.transaction() as session:
        session.exec(select(Credential)).one().state = CredentialState.ALIVE
    watched.look()

    assert [incident.phase for incident in watched.incidents] == [IncidentPhase.CLOSED]
    assert (watched.connection.state, watched.connection.attention) == (ConnectionState.CONNECTED, None)


def test_token_of_another_user_is_told_at_once(watched: Watched) -> None:
    watched.change(lambda connection: setattr(connection, "service_username", "somebody-else"))
    watched.look()

    assert watched.alarms == ["wrong_user"]


def test_scopes_that_were_not_granted_are_named(watched: Watched) -> None:
    watched.change(lambda connection: setattr(connection, "hooks_wanted", True))
    watched.look()

    assert watched.alarms == ["missing_scopes"]
    assert watched.incidents[0].card["params"] == {"scopes": "api"}


def test_failure_that_a_job_reported_is_an_incident_until_the_job_succeeds(watched: Watched) -> None:
    card = Card("insufficient_scope", {"scopes": "read_api"})
    watched.change(lambda connection: setattr(connection, "attention", card.to_json()))
    watched.look(2)
    assert watched.alarms == ["insufficient_scope"]

    watched.change(lambda connection: setattr(connection, "attention", None))
    watched.look()
    assert [incident.phase for incident in watched.incidents] == [IncidentPhase.CLOSED]


def test_mail_that_is_not_taken_is_sent_later_and_to_nobody_twice(
    watched: Watched, runtime: Runtime, mailing: Mailbox
) -> None:
    with runtime.database.transaction() as session:
        session.exec(select(Credential)).one().state = CredentialState.REVOKED
    mailing.refuses = True
    watched.look()
    run_pending(runtime)
    with runtime.database.reading() as session:
        job = session.exec(select(Job).where(Job.name == "health.mail_alarm")).one()
    assert job.state == JobState.FAILED
    assert job.failure["code"] == "mail_failed"

    mailing.refuses = False
    for _ in range(2):
        enqueue_due_mails(runtime, watched.now + timedelta(minutes=1))
        run_pending(runtime)

    assert sorted(mailing.recipients) == ["ada@example.com", "olga@example.com"]


def test_one_address_that_is_refused_keeps_the_end_from_nobody_else(
    watched: Watched, sandbox: RunningSandbox, runtime: Runtime, mailing: Mailbox
) -> None:
    mailing.unknown.add("ada@example.com")
    sandbox.faults.add("*", drop="before")
    watched.look(3)
    run_pending(runtime)
    sandbox.faults.clear()
    watched.look(2)
    watched.look(8, minutes=5)
    for _ in range(3):
        enqueue_due_mails(runtime, watched.now)
        run_pending(runtime)

    assert [subject.partition(":")[0] for subject in mailing.subjects] == ["Broken", "Over"]
    assert mailing.recipients == ["olga@example.com"] * 2


def test_mail_that_is_never_taken_is_tried_ever_more_rarely(
    watched: Watched, runtime: Runtime, mailing: Mailbox
) -> None:
    with runtime.database.transaction() as session:
        session.exec(select(Credential)).one().state = CredentialState.REVOKED
    mailing.refuses = True
    watched.look()
    for minute in range(60):
        run_pending(runtime)
        enqueue_due_mails(runtime, watched.now + timedelta(minutes=minute))

    with runtime.database.reading() as session:
        jobs = session.exec(select(Job).where(Job.name == "health.mail_alarm")).all()
    assert len(jobs) == 6


def test_opening_and_closing_are_in_the_audit_log(watched: Watched, sandbox: RunningSandbox) -> None:
    sandbox.faults.add("*", drop="before")
    watched.look(2)
    sandbox.faults.clear()
    watched.look(2)

    with watched.runtime.database.reading() as session:
        rows = session.exec(select(AuditEvent).where(col(AuditEvent.action).startswith("incident."))).all()
    assert [row.action for row in rows] == ["incident.opened", "incident.closed"]
    assert rows[0].details["cause"] == "unreachable"


def test_failing_connection_is_looked_at_again_within_a_minute_or_so(watched: Watched, sandbox: RunningSandbox) -> None:
    watched.look()
    assert timedelta(seconds=300) <= watched.watch.due_at - watched.now <= timedelta(seconds=360)

    sandbox.faults.add("*", drop="before")
    watched.look()
    assert timedelta(seconds=60) <= watched.watch.due_at - watched.now <= timedelta(seconds=72)


def test_checks_of_one_connection_at_the_same_moment_open_one_incident(watched: Watched, runtime: Runtime) -> None:
    watched.change(lambda connection: setattr(connection, "service_username", "somebody-else"))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: check_connection(runtime, watched.connection_id), range(6)))

    assert watched.alarms == ["wrong_user"]
    assert watched.incidents[0].count == 6
    assert len(watched.checks()) == 14


def _revoke_all(sandbox: RunningSandbox) -> None:
    for token in sandbox.world.oauth.tokens():
        token.revoked_at = sandbox.world.clock.now()
