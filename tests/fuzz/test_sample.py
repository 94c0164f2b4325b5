"""A sample of `make fuzz`: no request, however hostile, fails or changes what does not belong to its sender."""

from __future__ import annotations

import math
import time

import pytest

from bench.portal_setup import authorized_connection
from portal import create_app
from portal.runtime import Runtime
from tests.fuzz.deliveries import DeliveryWorld
from tests.fuzz.raw import run_raw_block
from tests.fuzz.requests import make
from tests.fuzz.world import ACTORS, BLOCK, Found, FuzzWorld
from tests.web_server.served import Served

SEED = 1
# Of work; at least one block of everyone in any case.
SECONDS = 20
RAW = 100


@pytest.mark.timeout(600)
def test_requests_from_hell_are_answered_and_change_nothing_that_is_not_theirs(fuzz_world: FuzzWorld) -> None:
    found, number, end = Found(), 0, time.process_time() + SECONDS
    while number < len(ACTORS) or time.process_time() < end:
        found.add(fuzz_world.run_block(SEED, number))
        number += 1

    assert found.failures == []
    assert found.requests == number * BLOCK
    # It gets as far as the views: pages, changes, forms with errors and refusals are all among the answers.
    assert {200, 303, 400, 403, 404, 405, 422} <= set(found.statuses)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("who", ["visitor", "auditor"])
def test_bytes_from_hell_are_answered(fuzz_world: FuzzWorld, fuzz_server: Served, who: str) -> None:
    email = fuzz_world.cast.auditor.email if who == "auditor" else ""

    found = run_raw_block(fuzz_server, fuzz_world.app, fuzz_world.names, email, SEED, 0, RAW)

    assert found.failures == []
    # Some are good enough for an answer: which pages they ask for is chance.
    assert 400 in found.statuses
    assert {200, 303} & set(found.statuses)


def test_request_is_known_by_its_seed(fuzz_world: FuzzWorld) -> None:
    made = {make(fuzz_world.app, f"1:1:{number}", fuzz_world.names) for number in range(100)}

    assert len(made) == 100
    assert make(fuzz_world.app, "1:1:5", fuzz_world.names) in made


@pytest.mark.timeout(600)
def test_deliveries_from_hell_are_answered_and_none_stays_waiting(runtime: Runtime) -> None:
    connection_id = authorized_connection(runtime, "http://127.0.0.1:1", "a-token-of-this-test")

    found = DeliveryWorld(create_app(runtime=runtime), runtime, connection_id, math.inf).run_block(SEED, 0)

    assert found.failures == []
    assert set(found.statuses) == {200, 401, 404, 415}
