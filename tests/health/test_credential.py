"""What GitLab does to a pair that can be refreshed, and what the checks make of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from portal.authorization.models import CredentialState
from portal.db import utc_now
from portal.health.models import Phase
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.conftest import Watched
from tests.support.paired import Paired


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
    assert watched.states()["token"] == "pass"  # It still lives.

    paired.change(state=CredentialState.ALIVE, refresh_at=utc_now() + timedelta(hours=1), failure=None)
    watched.look()
    assert watched.incidents[0].phase == Phase.CLOSED


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
    assert watched.incidents[0].phase == Phase.CLOSED
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
    assert watched.checks()["credential"].detail.startswith("Renewed ")
    assert paired.token_requests == 1
