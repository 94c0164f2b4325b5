"""What GitLab does to a pair that can be refreshed, and what the checks conclude."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from portal.connections.models import Application
from portal.credentials.models import CredentialState
from portal.db import utc_now
from portal.health.models import IncidentPhase
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.conftest import Watched
from tests.support.paired import SCOPES, Paired, seal
from tests.support.visitor import Visitor
from tests.support.walkthrough import authorize


@pytest.fixture
def watched(runtime: Runtime, paired: Paired) -> Watched:
    watched = Watched(runtime, paired.connection_id)
    watched.look()
    assert watched.incidents == []
    return watched


def test_revoked_pair_is_found_by_the_first_check(watched: Watched, paired: Paired, sandbox: RunningSandbox) -> None:
    sandbox.world.oauth.revoke_token(paired.issued[-1])
    watched.look()

    assert watched.alarms == ["credential_revoked"]
    assert watched.states()["credential"] == "fail"
    assert watched.incidents[0].card["words"]
    assert paired.credential.state == CredentialState.REVOKED

    asked = paired.token_requests
    watched.look(3)
    assert paired.token_requests == asked
    assert len(watched.incidents) == 1


def test_renewed_secret_is_a_cause_of_its_own_and_ends_without_a_new_authorization(
    watched: Watched, paired: Paired, sandbox: RunningSandbox
) -> None:
    sandbox.world.oauth.renew_secret(paired.application_id)
    paired.make_due()
    watched.look()
    assert watched.alarms == []
    assert watched.states()["credential"] == "warn"
    paired.change(client_refusals=5, client_refused_at=utc_now() - timedelta(minutes=10))
    paired.let_rest_pass()
    watched.look()
    assert watched.alarms == ["client_secret_changed"]
    assert watched.states()["token"] == "pass"  # It still works.

    paired.change(state=CredentialState.ALIVE, refresh_at=utc_now() + timedelta(hours=1), failure=None)
    watched.look()
    assert watched.incidents[0].phase == IncidentPhase.CLOSED


def test_return_of_gitlab_opens_no_incident_for_what_was_asked_while_it_was_gone(
    watched: Watched, paired: Paired, sandbox: RunningSandbox
) -> None:
    paired.make_due()
    sandbox.faults.add("*", drop="before")
    assert paired.refusal().is_passing
    assert paired.credential.intent_id  # The outcome of that request is still unknown.
    sandbox.faults.clear()

    watched.look()
    paired.let_rest_pass()
    watched.look(3)

    assert watched.alarms == []
    assert {incident.phase for incident in watched.incidents} <= {IncidentPhase.CLOSED}
    assert watched.states()["token"] == "pass"
    assert (paired.token_requests, paired.spent_posts) == (1, 0)


def test_deleted_application_is_one_incident_that_says_a_new_one_is_needed(
    watched: Watched, paired: Paired, sandbox: RunningSandbox, owner: Visitor
) -> None:
    paired.change(obtained_at=utc_now() - timedelta(hours=1))
    sandbox.world.oauth.delete_application(paired.application_id)
    watched.look(3)
    # That may pass: no one is alarmed, and the dead token is not given out.
    assert (watched.alarms, paired.refusal().card.code) == ([], "refresh_refused")
    paired.change(refusals=5, refused_at=utc_now() - timedelta(minutes=10))
    paired.let_rest_pass()
    watched.look(3)

    assert [incident.cause for incident in watched.incidents] == ["application_gone"]
    assert paired.connection.attention["code"] == "application_gone"
    overview = owner.get("/connections/gitlab").text
    assert 'href="/connections/gitlab/setup/application"' in overview
    assert "a new application is needed" in overview

    application, secret = sandbox.world.oauth.create_application(
        "Gatehouse", f"{paired.runtime.settings.base_url}/oauth/callback/gitlab", SCOPES
    )
    with paired.runtime.database.transaction() as session:
        found = session.exec(select(Application)).one()
        found.client_id, found.updated_at = application.uid, utc_now()
        seal(paired.runtime, found, "application", "client_secret_sealed", str(secret))
    authorize(owner, sandbox, "gitlab")
    watched.look(2)
    assert watched.incidents[0].phase == IncidentPhase.CLOSED
    assert len(watched.incidents) == 1


def test_authorizing_again_with_an_application_that_is_gone_says_so_before_gitlab_is_opened(
    watched: Watched, paired: Paired, sandbox: RunningSandbox, owner: Visitor
) -> None:
    sandbox.world.oauth.revoke_token(paired.issued[-1])
    watched.look()
    sandbox.world.oauth.delete_application(paired.application_id)

    answer = owner.post("/connections/gitlab/authorization", {"in_popup": "1"})

    assert answer.status_code == 502
    assert "a new application is needed" in answer.text
    page = owner.get("/connections/gitlab").text
    assert "/connections/gitlab/setup/application" in page
    watched.look(3)
    assert [incident.cause for incident in watched.incidents] == ["credential_revoked"]


@pytest.mark.parametrize("fault", [{"status": 503, "html": True}, {"drop": "before"}, {"status": 429}])
def test_refresh_that_is_due_while_gitlab_is_down_is_an_outage_and_no_verdict(
    watched: Watched, paired: Paired, sandbox: RunningSandbox, fault: dict
) -> None:
    sandbox.faults.add("*", **fault)
    paired.make_due()
    watched.look(3)

    assert watched.alarms == ["unreachable"]
    assert paired.credential.state == CredentialState.ALIVE
    assert watched.states()["credential"] == "pass"

    sandbox.faults.clear()
    paired.let_rest_pass()
    watched.look(2)
    assert watched.incidents[0].phase == IncidentPhase.CLOSED
    assert paired.holds_the_last_pair()


def test_token_endpoint_that_fails_alone_leaves_the_verdict_open(
    watched: Watched, paired: Paired, sandbox: RunningSandbox
) -> None:
    sandbox.faults.add("/oauth/token", status=500)
    paired.make_due()
    watched.look(3)

    assert set(watched.alarms) <= {"unreachable"}
    assert paired.credential.state == CredentialState.ALIVE


def test_due_check_renews_the_pair_and_says_until_when(watched: Watched, paired: Paired) -> None:
    paired.make_due()
    watched.look()

    assert watched.incidents == []
    assert watched.checks()["credential"].note == "renewed"
    assert paired.token_requests == 1
