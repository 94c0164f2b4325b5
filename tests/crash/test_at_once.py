"""Several processes find the same credential due: one of them asks GitLab, the others wait for its answer."""

from __future__ import annotations

import subprocess
import sys

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.children import CHILD_SECONDS, environment_of
from tests.support.paired import Paired

COMMAND = [sys.executable, "-m", "tests.crash.demand_together"]
PROCESSES = 3


def start(runtime: Runtime, sandbox: RunningSandbox) -> subprocess.Popen[str]:
    return subprocess.Popen(
        COMMAND,
        env=environment_of(runtime, sandbox),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_demand_at_once_ask_gitlab_once(
    paired: Paired, runtime: Runtime, sandbox: RunningSandbox
) -> None:
    paired.make_due()
    sandbox.faults.add("/oauth/token", delay_seconds=0.3, times=1)
    children = [start(runtime, sandbox) for _ in range(PROCESSES)]
    assert [child.stdout.readline() for child in children if child.stdout] == ["here\n"] * PROCESSES

    for child in children:
        assert child.stdin
        child.stdin.write(f"{paired.connection_id}\n")
        child.stdin.flush()
    ended = [(*child.communicate(timeout=CHILD_SECONDS), child.returncode) for child in children]

    assert [code for _, _, code in ended] == [0] * PROCESSES, ended
    assert (paired.token_requests, paired.spent_posts) == (1, 0)
    assert paired.holds_the_last_pair()
