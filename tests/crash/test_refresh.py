"""A process dies at each point of a refresh; the next demand at once finds the last pair or reports it as lost."""

from __future__ import annotations

import pytest

from portal.connections.models import ConnectionState
from portal.crash_points import POINTS
from portal.credentials.models import CredentialState
from portal.db import utc_now
from tests.support.children import DIED, run_child
from tests.support.linked import link, new_token
from tests.support.paired import Paired
from tests.support.people import Cast

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


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("point", "code"),
    [
        ("refresh:before_request", "rotation_unknown"),
        ("refresh:answer_received", "access_token_lost"),
        ("refresh:answer_spooled", ""),
    ],
)
def test_process_dies_in_a_rotation(paired: Paired, cast: Cast, point: str, code: str) -> None:
    """The token is rotated once at most, and whoever demands access next finds out how that ended."""
    link(paired, cast.owner, new_token(paired.sandbox))
    paired.change(is_rotated=True, refresh_at=utc_now())
    assert (
        run_child(paired.runtime, paired.sandbox, CHILD, {"connection_id": paired.connection_id}, f"{point}:1") == DIED
    )

    if code == "access_token_lost":
        assert paired.refusal().card.code == code
    else:
        assert paired.demand() == paired.sandbox.world.personal_access_tokens.all()[-1].token
    assert (paired.connection.attention or {"code": ""})["code"] == code
    assert paired.sandbox.requests.count("/api/v4/personal_access_tokens/self/rotate") <= 1


def test_demand_after_a_lost_answer_costs_no_second_request(paired: Paired) -> None:
    paired.make_due()
    run_child(
        paired.runtime, paired.sandbox, CHILD, {"connection_id": paired.connection_id}, "refresh:answer_received:1"
    )

    codes = {paired.refusal().card.code for _ in range(5)}

    assert codes == {"credential_lost"}
    assert (paired.token_requests, paired.sandbox.requests.count("/api/v4/user")) == (1, 1)
