"""The protocol with GitLab's IAM service, whose access tokens outlive their refresh and prove nothing."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import pytest

from portal.connections.store import open_client_credentials, open_host_session
from portal.credentials import AccessSource
from portal.credentials.models import CredentialState
from portal.db import utc_now
from portal.gitlab.client import GitLabClient
from portal.runtime import Runtime
from portal.sandbox.oauth import iam
from portal.sandbox.testing import RunningSandbox
from tests.support.paired import Paired, seal

TOKEN = "/oauth/token"
USER = "/api/v4/user"


@pytest.fixture
def paired(paired: Paired, sandbox: RunningSandbox) -> Paired:
    """The same connection with a pair of the service."""
    sandbox.world.oauth.use_iam(paired.application_id)
    token = paired.issued[-1]
    token.family = 1
    runtime = paired.runtime
    secret = open_client_credentials(runtime, paired.connection).client_secret.reveal()
    form = {
        "grant_type": "refresh_token",
        "refresh_token": token.refresh_token,
        "client_id": paired.application.client_id,
        "client_secret": secret,
    }
    answer = httpx2.post(sandbox.url + TOKEN, data=form, trust_env=False).json()
    credential = paired.credential
    for column, name in (("access_token_sealed", "access_token"), ("refresh_token_sealed", "refresh_token")):
        seal(runtime, credential, "credential", column, answer[name])
        paired.change(**{column: getattr(credential, column)})
    paired.change(is_stateless=True)
    sandbox.requests.clear()
    return paired


def test_pair_of_the_service_is_recognised_by_its_shape_and_renewed(paired: Paired) -> None:
    paired.change(is_stateless=False)
    paired.sandbox.world.settings.iam_token_prefix = "gliamat-"
    paired.make_due()

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.credential.is_stateless
    assert iam.is_access_token(paired.sandbox.world, paired.stored_pair()[0])


@pytest.mark.parametrize("drop", ["before", "after"])
def test_after_an_unknown_outcome_the_token_is_used_to_its_end_and_the_pair_tried_once(
    paired: Paired, drop: str
) -> None:
    old = paired.stored_pair()[0]
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, drop=drop, times=1)

    assert [paired.demand() for _ in range(3)] == [old] * 3
    found = paired.credential
    assert (found.may_be_spent, found.intent_id, found.refresh_at) == (True, "", found.expires_at)
    assert paired.sandbox.requests.count(USER) == 0  # It would prove nothing.

    paired.change(expires_at=utc_now() - timedelta(seconds=1))
    paired.make_due()
    if drop == "before":
        assert paired.demand() == paired.issued[-1].access_token
        assert paired.spent_posts == 0
        return
    assert [paired.refusal().card.code for _ in range(3)] == ["credential_lost"] * 3
    assert (paired.token_requests, paired.spent_posts) == (2, 1)


def test_refusals_of_the_service_are_doubt_while_its_token_lives(paired: Paired) -> None:
    paired.sandbox.world.settings.refuse_good_refreshes = 2
    paired.make_due()

    for _ in range(2):
        assert paired.demand() == paired.stored_pair()[0]
        paired.let_rest_pass()

    assert paired.demand() == paired.issued[-1].access_token
    assert paired.connection.attention is None


def test_family_that_ended_is_a_verdict_only_after_the_token(paired: Paired) -> None:
    paired.sandbox.world.oauth.end_family(1)
    paired.make_due()
    assert paired.demand() == paired.stored_pair()[0]
    ended = utc_now() - timedelta(minutes=11)
    paired.change(expires_at=ended, refusals=5, refused_at=ended)
    paired.let_rest_pass()

    assert paired.refusal().card.code == "credential_revoked"
    assert paired.credential.state == CredentialState.REVOKED


def test_token_that_ended_is_renewed_under_the_call_although_no_reason_is_given(
    paired: Paired, runtime: Runtime
) -> None:
    paired.change(obtained_at=utc_now() - timedelta(hours=1))
    paired.sandbox.faults.add(USER, status=401, body={"message": "401 Unauthorized"}, times=2)
    with open_host_session(runtime, paired.connection) as http:
        user = GitLabClient(http, AccessSource(runtime, paired.connection_id, "test")).current_user()

    assert user.username == "gatehouse"
    assert paired.token_requests == 1
