"""Hours of a GitLab that is down, limited, upgraded and restarted; `python -m bench week` simulates seven days."""

from __future__ import annotations

import pytest

from portal.accounts.models import Organization
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.paired import pair
from tests.support.simulated import expect_a_living_credential, live_through, simulated_clock


@pytest.mark.parametrize("seed", [1])
def test_credential_outlives_bad_hours_with_one_alarm_for_each_outage(
    runtime: Runtime, sandbox: RunningSandbox, seed: int
) -> None:
    with simulated_clock() as clock:
        with runtime.database.transaction() as session:
            organization = Organization(name="Example", plan="enterprise")
            session.add(organization)
            session.flush()
        paired = pair(runtime, sandbox, organization.id)

        outcome = live_through(paired, clock, hours=14, seed=seed)

    expect_a_living_credential(outcome)
    assert outcome.refreshes >= 6
    assert outcome.outages
