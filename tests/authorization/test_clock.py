"""Whose clock counts, what a clock jump does, and how long a token that was given out is valid."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
import time_machine

from portal.credentials import Access, demand_access, due_credentials, refresh_credential
from portal.credentials.models import CredentialState
from portal.db import utc_now
from tests.support.paired import QUICK, Paired
from tests.support.simulated import MINUTE, simulated_clock

TOKEN = "/oauth/token"
LIFE = timedelta(seconds=7200)
HOURS, BACKENDS = 10, 5


def refresh_in_the_background(paired: Paired) -> threading.Thread:
    """Return once GitLab was asked; its answer takes a while."""
    paired.make_due()
    paired.sandbox.faults.add(TOKEN, delay_seconds=0.5, times=1)
    asking = threading.Thread(target=paired.demand)
    asking.start()
    paired.sandbox.requests.wait_for(TOKEN)
    return asking


def is_alive_at_gitlab(paired: Paired, token: str) -> bool:
    found = paired.sandbox.world.oauth.find_access_token(token)
    return found is not None and not found.is_revoked


def is_good(access: Access) -> bool:
    return access.valid_until is not None and access.valid_until > utc_now()


def test_life_of_a_token_counts_from_the_moment_it_was_asked_for(paired: Paired) -> None:
    asking = refresh_in_the_background(paired)
    arrived: datetime = utc_now()
    asking.join()

    assert paired.credential.expires_at is not None
    assert paired.credential.expires_at - LIFE <= arrived


@pytest.mark.parametrize("hours", [-1, 1])
def test_clock_that_jumps_during_a_refresh_starts_no_storm_and_ends_no_credential(paired: Paired, hours: int) -> None:
    with time_machine.travel(utc_now(), tick=True) as clock:
        asking = refresh_in_the_background(paired)
        clock.shift(timedelta(hours=hours))
        paired.sandbox.world.clock.advance(-hours * 3600)  # GitLab's own does not jump.
        asking.join()
        tokens = [paired.demand() for _ in range(5)]

        assert all(is_alive_at_gitlab(paired, token) for token in tokens)
        assert (paired.token_requests, paired.spent_posts) == (1, 0)
        assert paired.credential.state == CredentialState.ALIVE
        assert paired.holds_the_last_pair()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_token_lives_until_the_moment_that_was_told_with_it(paired: Paired) -> None:
    held: list[Access | None] = [None] * BACKENDS
    with simulated_clock() as clock:
        paired.make_due()
        for minute in range(HOURS * 60):
            clock.shift(MINUTE)
            for number, access in enumerate(held):
                # Each asks again at its own time, and otherwise uses its token for as long as it was told.
                if (
                    access is None
                    or access.valid_until is None
                    or access.valid_until <= utc_now()
                    or minute % 97 == number
                ):
                    held[number] = demand_access(paired.runtime, paired.connection_id, reason="test", times=QUICK)
            for connection_id in due_credentials(paired.runtime):
                refresh_credential(paired.runtime, connection_id, QUICK)
            tokens = {access.token.reveal() for access in held if access and is_good(access)}
            assert tokens
            assert all(is_alive_at_gitlab(paired, token) for token in tokens)

        assert len(paired.issued) > HOURS / 2
