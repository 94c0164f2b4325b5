"""Several processes find the same credential due: one of them asks GitLab, the others wait for its answer."""

from __future__ import annotations

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.crash.demand_together import demand
from tests.support.children import CHILD_SECONDS, FORKING, Forked, environment_of
from tests.support.paired import Paired

PROCESSES = 3


def test_processes_that_demand_at_once_ask_gitlab_once(
    paired: Paired, runtime: Runtime, sandbox: RunningSandbox
) -> None:
    paired.make_due()
    sandbox.faults.add("/oauth/token", delay_seconds=0.3, times=1)
    everyone = FORKING.Barrier(PROCESSES, timeout=CHILD_SECONDS)
    environment = environment_of(runtime, sandbox)
    children = [Forked(demand, environment, everyone, paired.connection_id) for _ in range(PROCESSES)]

    ended = [(child.communicate(), child.returncode) for child in children]

    assert [code for _, code in ended] == [0] * PROCESSES, ended
    assert (paired.token_requests, paired.spent_posts) == (1, 0)
    assert paired.holds_the_last_pair()
