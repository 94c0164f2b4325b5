"""A process dies at each point of a refresh; the next demand at once finds the last pair or reports it as lost."""

from __future__ import annotations

import pytest

from portal.connections.models import ConnectionState
from portal.crash_points import POINTS
from portal.credentials.models import CredentialState
from tests.support.children import DIED, run_child
from tests.support.paired import Paired

CHILD = "tests.crash.demand"
# Between GitLab's answer and our first write of it lies the one moment that no client can close.
IN_FLIGHT = {"refresh:answer_received"}
REFRESH_POINTS = [point for point in POINTS if point.startswith("refresh:")]


@pytest.mark.parametrize("point", REFRESH_POINTS)
def test_process_dies_in_a_refresh(paired: Paired, point: str) -> None:
    paired.make_due()
    if point == "refresh:verdict_received":
        paired.sandbox.faults.add("/oauth/token", status=503, html=True, times=1)
    assert (
        run_child(paired.runtime, paired.sandbox, CHILD, {"connection_id": paired.connection_id}, f"{point}:1") == DIED
    )

    if point in IN_FLIGHT:
        assert paired.refusal().card.code == "credential_lost"
        assert paired.credential.state == CredentialState.LOST
        assert paired.connection.state == ConnectionState.NEEDS_ATTENTION
    else:
        assert paired.demand() == paired.issued[-1].access_token
        assert paired.holds_the_last_pair()
    assert paired.spent_posts == 0
    assert paired.token_requests <= 2
    assert paired.credential.intent_id == ""


def test_demand_after_a_lost_answer_costs_no_second_request(paired: Paired) -> None:
    paired.make_due()
    run_child(
        paired.runtime, paired.sandbox, CHILD, {"connection_id": paired.connection_id}, "refresh:answer_received:1"
    )

    codes = {paired.refusal().card.code for _ in range(5)}

    assert codes == {"credential_lost"}
    assert (paired.token_requests, paired.sandbox.requests.count("/api/v4/user")) == (1, 1)
