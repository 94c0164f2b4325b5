"""A token that GitLab, or something in front of it, refuses; and verdicts that come too late."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.connections.store import open_host_session
from portal.credentials import AccessSource, AccessUnavailable
from portal.credentials.access import due_credentials
from portal.credentials.machine import RefusedGrant
from portal.credentials.methods import VERDICTS
from portal.credentials.models import CredentialState
from portal.credentials.refresh import release, settle, take_claim
from portal.db import utc_now
from portal.errors import UpstreamFailed
from portal.gitlab.answers import GitLabError
from portal.gitlab.client import GitLabClient
from tests.support.paired import QUICK, Paired

USER = "/api/v4/user"


def look(paired: Paired) -> str:
    """Ask whose token it is, as every check of a connection does; return the code of what prevented it."""
    source = AccessSource(paired.runtime, paired.connection_id, "test")
    with open_host_session(paired.runtime, paired.connection) as http:
        try:
            GitLabClient(http, source, tries=1).current_user()
        except (GitLabError, UpstreamFailed) as error:
            return error.card().code if isinstance(error, GitLabError) else error.card.code
    return ""


def test_gateway_that_refuses_everything_costs_one_pair_at_most(paired: Paired) -> None:
    paired.change(obtained_at=utc_now() - timedelta(hours=1))
    paired.sandbox.faults.add(USER, status=401, body={"message": "Unauthorized"})

    assert [look(paired) for _ in range(2)] == ["token_not_accepted"] * 2
    assert paired.token_requests == 1
    assert paired.credential.state == CredentialState.ALIVE


@pytest.mark.parametrize("age", [1, 300, 3600])
def test_refusal_that_may_pass_asks_nobody_to_authorize_again(paired: Paired, age: float) -> None:
    paired.change(obtained_at=utc_now() - timedelta(seconds=age))
    paired.sandbox.faults.add(USER, status=401, body={"message": "401 Unauthorized"})
    paired.sandbox.faults.add("/oauth/token", status=503, html=True)
    source = AccessSource(paired.runtime, paired.connection_id, "test")
    with (
        open_host_session(paired.runtime, paired.connection) as http,
        pytest.raises(AccessUnavailable) as caught,
    ):
        GitLabClient(http, source, tries=1).current_user()

    assert caught.value.is_passing
    assert "uthorize" not in caught.value.card.sentence + caught.value.card.remedy.replace("Authorization", "")


def test_look_after_a_refusal_leaves_its_words(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.world.settings.refuse_good_refreshes = 1
    paired.sandbox.faults.add(USER, status=401, body={"message": "401 Unauthorized"})

    assert paired.refusal().card.code == "refresh_refused"


def test_token_that_was_revoked_in_gitlab_is_known_by_the_first_look(paired: Paired) -> None:
    paired.sandbox.world.oauth.revoke_token(paired.issued[-1])

    assert [look(paired), look(paired)] == ["credential_revoked"] * 2
    assert paired.credential.state == CredentialState.REVOKED
    with paired.runtime.database.reading() as session:
        row = session.exec(select(AuditEvent).where(AuditEvent.action == "credential.revoked")).one()
    assert row.details == {"generation": 1, "code": "credential_revoked"}


def test_pause_from_before_the_clock_was_set_back_holds_nobody_up(paired: Paired) -> None:
    paired.make_due()
    paired.change(cooldown_until=utc_now() + timedelta(days=300))

    assert due_credentials(paired.runtime) == [paired.connection_id]
    assert paired.demand() == paired.issued[-1].access_token
    assert paired.token_requests == 1


def test_process_that_gives_up_gives_the_lease_back_and_leaves_the_question_open(paired: Paired) -> None:
    paired.make_due()
    claim = take_claim(paired.runtime, paired.connection_id, "gives up", QUICK)
    assert claim is not None

    release(paired.runtime, claim)

    found = paired.credential
    assert (found.lease_owner, found.lease_until, found.lease_holder) == ("", None, None)
    assert found.intent_id == claim.intent_id


def test_verdict_of_a_process_that_lost_its_lease_is_none(paired: Paired) -> None:
    paired.make_due()
    late = take_claim(paired.runtime, paired.connection_id, "late", QUICK)
    paired.let_rest_pass()
    assert late is not None
    assert take_claim(paired.runtime, paired.connection_id, "next", QUICK)

    assert settle(paired.runtime, late, RefusedGrant(), VERDICTS[CredentialState.REVOKED]) is None
    assert (paired.credential.state, paired.credential.refusals) == (CredentialState.ALIVE, 0)
