from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlmodel import select

from portal.accounts.models import SignInAttempt
from portal.accounts.throttle import (
    MAX_PER_ACCOUNT,
    MAX_PER_SOURCE,
    MAX_PER_SOURCE_AND_ACCOUNT,
    MAX_PER_SOURCE_AND_BESIEGED_ACCOUNT,
    WINDOW_MINUTES,
    count_try,
)
from portal.errors import RateLimited
from portal.runtime import Runtime
from tests.accounts.at_once import at_once
from tests.accounts.support import BOTH_DATABASES, give_password
from tests.support.people import Cast
from tests.support.visitor import Visitor

HERE, THERE = "192.0.2.1", "192.0.2.2"


def knock(runtime: Runtime, email: str, source: str, times: int = 1) -> int:
    let_in = 0
    for _ in range(times):
        try:
            count_try(runtime, email, source)
        except RateLimited:
            continue
        let_in += 1
    return let_in


def from_address(address: str) -> dict:
    return {"environ_overrides": {"REMOTE_ADDR": address}}


def sign_in(visitor: Visitor, email: str, password: str, address: str):
    return visitor.post("/sign-in", {"email": email, "password": password}, **from_address(address))


def test_fifty_wrong_tries_are_429_and_the_right_password_from_elsewhere_still_works(app: Flask, cast: Cast) -> None:
    visitor, email = Visitor(app), cast.owner.email
    token = visitor.csrf_token()
    answers = [
        visitor.post("/sign-in", {"email": email, "password": "x" * 2000}, token=token, **from_address(HERE))
        for _ in range(50)
    ]

    assert answers[0].status_code == 422
    assert {answer.status_code for answer in answers[MAX_PER_SOURCE_AND_ACCOUNT:]} == {429}
    assert int(answers[-1].headers["Retry-After"]) == WINDOW_MINUTES * 60
    assert sign_in(Visitor(app), email, cast.owner.password, HERE).status_code == 429
    assert sign_in(Visitor(app), email, cast.owner.password, THERE).status_code == 303


def test_unknown_address_is_throttled_alike(runtime: Runtime, cast: Cast) -> None:
    known, unknown = (knock(runtime, email, HERE, 12) for email in (cast.owner.email, "nobody@example.com"))

    assert known == unknown == MAX_PER_SOURCE_AND_ACCOUNT


def test_source_that_tries_many_accounts_waits_for_all(runtime: Runtime) -> None:
    assert sum(knock(runtime, f"person{number}@example.com", HERE) for number in range(60)) == MAX_PER_SOURCE
    assert knock(runtime, "another@example.com", HERE) == 0
    assert knock(runtime, "another@example.com", THERE) == 1


def test_account_tried_from_everywhere_leaves_each_source_a_few_tries(runtime: Runtime, cast: Cast) -> None:
    for number in range(MAX_PER_ACCOUNT):
        knock(runtime, cast.owner.email, f"198.51.100.{number}")

    assert knock(runtime, cast.owner.email, HERE, 10) == MAX_PER_SOURCE_AND_BESIEGED_ACCOUNT
    assert knock(runtime, cast.lead.email, HERE) == 1


def test_knocking_at_a_closed_door_does_not_keep_it_closed(runtime: Runtime, cast: Cast) -> None:
    knock(runtime, cast.owner.email, HERE, MAX_PER_SOURCE_AND_ACCOUNT)
    let_attempts_age(runtime, minutes=WINDOW_MINUTES - 1)
    assert knock(runtime, cast.owner.email, HERE, 5) == 0
    let_attempts_age(runtime, minutes=2)

    assert knock(runtime, cast.owner.email, HERE) == 1


def let_attempts_age(runtime: Runtime, **details: float) -> None:
    with runtime.database.transaction() as session:
        for attempt in session.exec(select(SignInAttempt)):
            attempt.at -= timedelta(**details)


def test_success_forgives_the_failures_before_it_on_that_account_only(app: Flask, cast: Cast) -> None:
    for _ in range(3):
        for _ in range(MAX_PER_SOURCE_AND_ACCOUNT - 1):
            give_password(Visitor(app), cast.owner, password="x" * 2000)
        assert give_password(Visitor(app), cast.owner).status_code == 303
    give_password(Visitor(app), cast.lead, password="x" * 2000)

    assert failed(app) == 1


def failed(app: Flask) -> int:
    with app.extensions["gatehouse_runtime"].database.reading() as session:
        return len(session.exec(select(SignInAttempt).where(SignInAttempt.succeeded == False)).all())  # noqa: E712


@BOTH_DATABASES
def test_tries_at_once_count_each_other(runtime: Runtime, cast: Cast) -> None:
    let_in = at_once(*(lambda: knock(runtime, cast.owner.email, HERE) for _ in range(20)))

    assert sum(let_in) <= MAX_PER_SOURCE_AND_ACCOUNT


@pytest.mark.parametrize("spelling", ["OLGA@example.com", " olga@example.com"])
def test_spelling_does_not_get_around_it(app: Flask, cast: Cast, spelling: str) -> None:
    for _ in range(MAX_PER_SOURCE_AND_ACCOUNT):
        give_password(Visitor(app), cast.owner, password="x" * 2000)

    assert give_password(Visitor(app), cast.owner, email=spelling).status_code == 429


def test_forged_forwarding_header_does_not_get_around_it(app: Flask, cast: Cast) -> None:
    statuses = [
        Visitor(app)
        .post(
            "/sign-in",
            {"email": cast.owner.email, "password": "x" * 2000},
            headers={"X-Forwarded-For": f"203.0.113.{number}"},
        )
        .status_code
        for number in range(MAX_PER_SOURCE_AND_ACCOUNT + 1)
    ]

    assert statuses[-1] == 429


def test_stored_tries_name_nobody(runtime: Runtime, cast: Cast) -> None:
    knock(runtime, cast.owner.email, HERE)

    with runtime.database.reading() as session:
        attempt = session.exec(select(SignInAttempt)).one()
    assert len(attempt.account_hash) == len(attempt.source_hash) == 64
    assert cast.owner.email not in attempt.account_hash
