"""Rotations of access tokens while processes are killed and answers are lost: what GitLab is asked, and who is told.

A token must never be rotated a second time, because GitLab then ends every token that came from it. So each rotation
ends in one of two ways: its successor is stored and no one is told, or people are told once and replace the token.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass

from sqlmodel import func, select

from bench.figures import console
from bench.refresh import ANSWER_SECONDS, Crew, make_table, on_both_databases, prepared
from bench.refresh_worker import TIMES
from portal.audit.models import AuditEvent
from portal.credentials.models import CredentialState
from portal.db import utc_now
from tests.support.linked import link, new_token
from tests.support.paired import Paired

ROTATE = "/api/v4/personal_access_tokens/self/rotate"
ALARMS = ("credential.lost", "credential.revoked", "credential.rotation_given_up")
PROCESSES = 3
SLOW_SECONDS = 0.03
# How GitLab's answer fares; half of the rotations are left to the kills alone.
WEATHER: tuple[dict[str, object], ...] = (
    {"drop": "after"},
    {"drop": "before"},
    {"status": 502, "html": True, "processed": True},
    {"status": 503, "html": True},
    {"drop_members": ("token",)},
    {"truncate": 20},
)


@dataclass
class Figures:
    """What one measurement counted."""

    rotated: int = 0
    told: int = 0
    lost: int = 0
    told_twice: int = 0
    untold: int = 0
    kills: int = 0
    second_rotations: int = 0
    seconds: float = 0.0


def run(rotations: int) -> None:
    """Measure on both databases and print."""
    headings = (
        *("rotations asked for", "successor stored", "told once: unknown outcome", "of those spent", "told twice"),
        *("neither stored nor told", "kills and pauses", "second rotations of a spent token", "seconds"),
    )
    table = make_table(f"{rotations:,} rotations of access tokens, with lost answers, kills and pauses", headings)

    def add(name: str, url: str) -> None:
        found = measure(url, rotations)
        counts = (found.rotated, found.told, found.lost, found.told_twice, found.untold, found.kills)
        table.add_row(name, str(rotations), *map(str, counts), str(found.second_rotations), f"{found.seconds:.0f}")

    on_both_databases(add)
    console.print(table)


def measure(url: str, rotations: int) -> Figures:
    """Rotate so many times; after each alarm a person replaces the token."""
    found, started = Figures(), time.monotonic()
    with prepared(url, PROCESSES) as (paired, crew):
        link(paired, None, new_token(paired.sandbox))
        for _ in range(rotations):
            before, generation, asked = _alarms(paired), paired.credential.generation, _rotations(paired)
            _rotate(paired, crew, found)
            told = _alarms(paired) - before
            is_stored = paired.credential.generation > generation
            found.rotated += is_stored
            found.told += told == 1
            found.told_twice += told > 1 or (told and is_stored)
            found.untold += not told and not is_stored
            found.second_rotations += max(0, _rotations(paired) - asked - 1)
            if told:
                found.lost += paired.credential.state != CredentialState.ALIVE
                paired.sandbox.faults.clear()
                link(paired, None, new_token(paired.sandbox))
        # GitLab refuses whoever uses a token after it was rotated.
        found.second_rotations += sum(seen.status == 401 for seen in paired.sandbox.requests.all(ROTATE))
    found.seconds = time.monotonic() - started
    return found


def _rotate(paired: Paired, crew: Crew, found: Figures) -> None:
    """Let several processes find the rotation due at once, under a random fault, and disturb one of them."""
    faults = paired.sandbox.faults
    faults.clear()
    if random.random() < 0.5:
        faults.add(ROTATE, **random.choice(WEATHER))
    elif random.random() < 0.5:
        faults.add(ROTATE, delay_seconds=random.random() * 2 * SLOW_SECONDS)
    paired.change(is_rotated=True, refresh_at=utc_now(), cooldown_until=None)
    crew.ask(1)
    if random.random() < 0.5:
        time.sleep(random.random() * 2 * SLOW_SECONDS)
        crew.disturb(crew.number_of(paired.credential.lease_owner))
        found.kills += 1
    crew.answers()
    # GitLab has first handled all requests, including those of dead processes.
    paired.sandbox.requests.wait_until_answered(ROTATE, _rotations(paired))
    end = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < end:
        with suppress(Exception):
            paired.demand(TIMES)
        now = paired.credential
        if now.state != CredentialState.ALIVE or (not now.intent_id and (now.refresh_at or utc_now()) > utc_now()):
            return
        if not now.intent_id and now.refresh_at is None:
            return
        time.sleep(0.05)
    raise AssertionError("the token does not settle")


def _rotations(paired: Paired) -> int:
    return paired.sandbox.requests.count(ROTATE)


def _alarms(paired: Paired) -> int:
    with paired.runtime.database.reading() as session:
        return session.exec(select(func.count()).where(AuditEvent.action.in_(ALARMS))).one()  # type: ignore[attr-defined]
