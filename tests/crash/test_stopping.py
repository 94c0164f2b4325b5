"""A process is told to stop while GitLab answers a token request: it waits for the answer, and asks nothing more."""

from __future__ import annotations

import signal
import threading

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.crash.test_pause import wait_for
from tests.support.children import CHILD_SECONDS, start_child
from tests.support.paired import Paired

TOKEN = "/oauth/token"


def test_worker_finishes_the_refresh_that_is_under_way(
    paired: Paired, runtime: Runtime, sandbox: RunningSandbox
) -> None:
    paired.make_due()
    # Longer than the grace period of running jobs.
    fault = sandbox.faults.add(TOKEN, delay_seconds=4.0, times=1)
    child = start_child(runtime, sandbox, "tests.crash.worker", {})
    wait_for(lambda: fault.used)

    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate()

    assert child.returncode == 0, errors
    assert paired.holds_the_last_pair()
    assert (paired.token_requests, paired.credential.intent_id) == (1, "")


def test_process_that_ends_begins_no_refresh_and_hands_out_what_lives(paired: Paired) -> None:
    runtime = paired.runtime
    living = paired.demand()
    runtime.shutdown.begin()

    assert paired.demand() == living
    paired.make_due()
    refused = paired.refusal()

    assert (refused.card.code, refused.is_passing) == ("portal_stopping", True)
    assert paired.token_requests == 0


def test_end_waits_for_what_is_under_way_and_for_nothing_else(runtime: Runtime) -> None:
    shutdown, entered, leave = runtime.shutdown, threading.Event(), threading.Event()

    def work() -> None:
        with shutdown.finishing():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    shutdown.begin()
    assert not shutdown.wait(0.01)
    leave.set()
    assert shutdown.wait(CHILD_SECONDS)
    thread.join()
