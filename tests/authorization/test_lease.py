"""Who holds a credential's lease: what a dead holder, a clock jump and another machine change."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta

import pytest
import time_machine

from portal.credentials import store
from portal.credentials.refresh import take_claim
from portal.credentials.store import TIMES
from portal.db import utc_now
from tests.support.paired import QUICK, Paired

TOKEN = "/oauth/token"
HOUR = timedelta(hours=1)


@pytest.fixture
def held(paired: Paired) -> Paired:
    """A credential that this process has leased."""
    paired.make_due()
    assert take_claim(paired.runtime, paired.connection_id, "test", TIMES) is not None
    return paired


def is_free(paired: Paired, *, after: timedelta = timedelta(0)) -> bool:
    return store.is_free(paired.credential, utc_now() + after, TIMES)


def test_lease_of_a_living_process_of_this_machine_outlives_any_jump_of_the_clock(held: Paired) -> None:
    assert not any(is_free(held, after=jump) for jump in (-HOUR, timedelta(0), HOUR, 24 * HOUR))


def test_lease_ends_by_the_clock_that_counts_from_the_boot(held: Paired) -> None:
    held.change(lease_holder={**held.credential.lease_holder, "until": store._since_boot() - 1})

    assert is_free(held)


def test_lease_of_a_process_that_ended_is_over(held: Paired) -> None:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    held.change(lease_holder={**held.credential.lease_holder, "pid": int(child.stdout), "started": "1"})

    assert is_free(held)


def test_number_of_a_process_that_ended_may_be_another_ones_by_now(held: Paired) -> None:
    held.change(lease_holder={**held.credential.lease_holder, "started": "1"})

    assert is_free(held)


def test_lease_of_a_thread_that_ended_is_over(held: Paired) -> None:
    store.forget_lease(held.credential.lease_owner)

    assert is_free(held)


def test_process_of_another_container_is_not_taken_for_dead(held: Paired) -> None:
    held.change(lease_holder={**held.credential.lease_holder, "processes": "pid:[1]", "pid": 1, "started": "1"})

    assert not is_free(held)
    assert not is_free(held, after=HOUR)


@pytest.mark.parametrize("missing", [{"boot": "of another machine"}, {"clock": "time:[1]"}, {"boot": ""}])
def test_between_machines_the_clock_of_the_database_decides(held: Paired, missing: dict[str, str]) -> None:
    held.change(lease_holder={**held.credential.lease_holder, **missing})

    assert not is_free(held)
    assert is_free(held, after=HOUR)


def test_clock_that_jumps_while_a_request_is_under_way_lets_nobody_ask_a_second_time(paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, delay_seconds=0.5, times=1)
    with time_machine.travel(utc_now(), tick=True) as clock:
        asking = threading.Thread(target=paired.demand)
        asking.start()
        paired.sandbox.requests.wait_for(TOKEN)
        clock.shift(HOUR)
        paired.sandbox.world.clock.advance(-3600)  # GitLab's own does not jump.

        assert paired.demand() == paired.issued[-1].access_token
        asking.join()

    assert (paired.token_requests, paired.spent_posts) == (1, 0)
    assert QUICK.lease < HOUR.total_seconds()
