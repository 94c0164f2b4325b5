"""A process is stopped in the middle of a refresh for longer than its lease, as a machine that sleeps does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from portal.credentials.models import CredentialState
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.children import CHILD_SECONDS, Forked, start_child
from tests.support.paired import Paired

CHILD = "tests.crash.demand"
REQUEST_SECONDS = 1.0


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + CHILD_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def stopped(paired: Paired, runtime: Runtime, sandbox: RunningSandbox) -> Iterator[Forked]:
    """A child that was stopped while GitLab answered its token request."""
    paired.make_due()
    fault = sandbox.faults.add("/oauth/token", delay_seconds=REQUEST_SECONDS / 2, times=1)
    child = start_child(
        runtime, sandbox, CHILD, {"connection_id": paired.connection_id, "request_seconds": REQUEST_SECONDS}
    )
    wait_for(lambda: fault.used)
    child.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: len(paired.issued) == 2)
        yield child
    finally:
        child.kill()  # One that is stopped cannot end in any other way.


def resume(child: Forked) -> str:
    child.send_signal(signal.SIGCONT)
    output, errors = child.communicate()
    assert child.returncode == 0, errors
    return output


def test_answer_that_waits_at_a_stopped_process_is_stored_when_it_goes_on(stopped: Forked, paired: Paired) -> None:
    time.sleep(REQUEST_SECONDS)  # Its deadline passes; that is what is tested, and nothing signals it.

    assert resume(stopped) == ""
    assert paired.holds_the_last_pair()
    assert paired.credential.state == CredentialState.ALIVE
    assert (paired.token_requests, paired.spent_posts) == (1, 0)


def test_credential_called_lost_meanwhile_comes_back_with_the_answer(stopped: Forked, paired: Paired) -> None:
    paired.let_rest_pass()  # Its lease ends.
    assert paired.refusal().card.code == "credential_lost"
    time.sleep(REQUEST_SECONDS)

    resume(stopped)

    assert paired.holds_the_last_pair()
    assert paired.demand() == paired.issued[-1].access_token
