from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlmodel import select

from portal.accounts.limits import (
    DEVICE_DAYS,
    MANY,
    MAX_DEVICES,
    MAX_PER_PAIR,
    MAX_PER_PAIR_OF_MANY,
    MAX_PER_PAIR_OF_VERY_MANY,
    VERY_MANY,
    WINDOW_MINUTES,
    _hash,
    counted_try,
    known_device,
    remember_device,
)
from portal.accounts.models import SignInAttempt
from portal.db import utc_now
from portal.errors import RateLimited
from portal.runtime import Runtime
from tests.accounts.at_once import at_once
from tests.accounts.support import BOTH_DATABASES, give_password, let_time_pass
from tests.support.people import Cast
from tests.support.visitor import Visitor

HERE, THERE = "192.0.2.1", "192.0.2.2"


def knock(runtime: Runtime, email: str, source: str, times: int = 1, device: str = "") -> int:
    let_in = 0
    for _ in range(times):
        try:
            with counted_try(runtime, email, source, device=device):
                let_in += 1
        except RateLimited:
            continue
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
    assert {answer.status_code for answer in answers[MAX_PER_PAIR:]} == {429}
    assert int(answers[-1].headers["Retry-After"]) == WINDOW_MINUTES * 60
    assert sign_in(Visitor(app), email, cast.owner.password, HERE).status_code == 429
    assert sign_in(Visitor(app), email, cast.owner.password, THERE).status_code == 303


def test_unknown_address_is_throttled_alike(runtime: Runtime, cast: Cast) -> None:
    known, unknown = (knock(runtime, email, HERE, 12) for email in (cast.owner.email, "nobody@example.com"))

    assert known == unknown == MAX_PER_PAIR


@pytest.mark.parametrize(("failures", "left"), [(MANY, MAX_PER_PAIR), (MANY + 1, MAX_PER_PAIR_OF_MANY)])
def test_source_that_fails_on_many_accounts_has_fewer_tries_on_each_but_some(
    runtime: Runtime, failures: int, left: int
) -> None:
    for number in range(failures - left):
        assert knock(runtime, f"person{number}@example.com", HERE) == 1

    assert knock(runtime, "another@example.com", HERE, 20) == left
    assert knock(runtime, "another@example.com", THERE, 20) == MAX_PER_PAIR


def test_source_that_fails_on_very_many_accounts_has_one_try_on_each(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        source = _hash(runtime, HERE)
        session.add_all(
            SignInAttempt(account_hash=f"{number:064}", source_hash=source, at=utc_now()) for number in range(VERY_MANY)
        )

    assert knock(runtime, "another@example.com", HERE, 5) == MAX_PER_PAIR_OF_VERY_MANY
    assert knock(runtime, "somebody@example.com", HERE, 5) == MAX_PER_PAIR_OF_VERY_MANY


def test_account_tried_from_everywhere_leaves_each_source_a_few_tries(runtime: Runtime, cast: Cast) -> None:
    for number in range(MANY):
        knock(runtime, cast.owner.email, f"198.51.100.{number}")

    assert knock(runtime, cast.owner.email, HERE, 10) == MAX_PER_PAIR_OF_MANY
    assert knock(runtime, cast.lead.email, HERE) == 1


def test_wrong_passwords_of_strangers_keep_nobody_from_signing_in_or_giving_proof(app: Flask, cast: Cast) -> None:
    """Behind a reverse proxy that no one configured, all of them have one address."""
    owner = Visitor(app)
    give_password(owner, cast.owner)
    let_time_pass(app, minutes=6)
    stranger = Visitor(app)
    token = stranger.csrf_token()
    for number in range(MANY + 10):
        form = {"email": f"nobody{number}@example.com", "password": "x" * 2000}
        assert stranger.post("/sign-in", form, token=token).status_code == 422

    role = f"/members/{cast.auditor.membership_id}/role"

    assert give_password(Visitor(app), cast.lead).status_code == 303
    assert owner.post(role, {"role": "team_lead", "proof_password": cast.owner.password}).status_code == 303


def test_browser_that_signed_in_before_and_a_session_have_tries_of_their_own(app: Flask, cast: Cast) -> None:
    known, session = Visitor(app), Visitor(app)
    for visitor in (known, session):
        give_password(visitor, cast.owner)
    known.post("/sign-out")
    let_time_pass(app, minutes=6)
    stranger = Visitor(app)
    for _ in range(MAX_PER_PAIR):
        give_password(stranger, cast.owner, password="x" * 2000)

    assert give_password(stranger, cast.owner).status_code == 429
    assert give_password(Visitor(app), cast.owner).status_code == 429
    assert give_password(known, cast.owner).status_code == 303
    assert session.post("/prove", {"password": cast.owner.password}).status_code == 303


def test_tries_of_a_known_browser_end_too(runtime: Runtime, cast: Cast) -> None:
    cookie = remember_device(runtime, cast.owner.email, "")
    device = known_device(runtime, cast.owner.email, cookie)

    # Its own, then those that any other has from there.
    assert knock(runtime, cast.owner.email, HERE, 50, device) == 2 * MAX_PER_PAIR


def test_device_cookie_is_good_for_its_account_for_half_a_year(runtime: Runtime, cast: Cast) -> None:
    email = cast.owner.email
    cookie = remember_device(runtime, email, "")
    nonce, issued, seal = cookie.split(".")

    assert known_device(runtime, f" {email.upper()}", cookie) == nonce
    assert known_device(runtime, cast.lead.email, cookie) == ""
    for forged in (
        f"{nonce}.{int(issued) + 1}.{seal}",
        f"{nonce[:-1]}_.{issued}.{seal}",
        f"{nonce}.{issued}.",
        f"{nonce}.{issued}.{'é' * 64}",
        f"{nonce}.x.{seal}",
        "..",
        "~",
        "x" * 100_000,
    ):
        assert known_device(runtime, email, forged) == ""
    with time_machine.travel(utc_now() + timedelta(days=DEVICE_DAYS, seconds=1)):
        assert known_device(runtime, email, cookie) == ""


def test_browser_is_known_for_its_newest_accounts(runtime: Runtime) -> None:
    emails = [f"person{number}@example.com" for number in range(MAX_DEVICES + 1)]
    cookie = "<script>~" + "x" * 5_000
    for email in (*emails, emails[-1]):
        cookie = remember_device(runtime, email, cookie)

    assert [bool(known_device(runtime, email, cookie)) for email in emails] == [False, True, True, True]
    assert len(cookie) < 400


def test_device_cookie_that_comes_twice_is_none(app: Flask, cast: Cast) -> None:
    known = Visitor(app)
    give_password(known, cast.owner)
    cookie = known.http.get_cookie("gatehouse-device", domain="127.0.0.1")
    for _ in range(MAX_PER_PAIR):
        give_password(Visitor(app), cast.owner, password="x" * 2000)

    stranger = Visitor(app)
    stranger.http.set_cookie("gatehouse-device", cookie.value, domain="127.0.0.1")
    stranger.http.set_cookie("gatehouse-device", "evil", domain="127.0.0.1", path="/sign-in")

    assert give_password(stranger, cast.owner).status_code == 429


def test_crowd_of_one_source_has_one_password_looked_at_at_a_time(runtime: Runtime, cast: Cast) -> None:
    for number in range(MANY):
        knock(runtime, f"person{number}@example.com", HERE)

    with counted_try(runtime, "first@example.com", HERE):
        with (
            pytest.raises(RateLimited, match="in a few seconds") as refused,
            counted_try(runtime, "b@example.com", HERE),
        ):
            pass
        assert refused.value.retry_after_seconds < 10
        assert knock(runtime, cast.owner.email, THERE) == 1
        assert knock(runtime, cast.owner.email, HERE, device="known") == 1
    # The one that was refused is not counted as a failure.
    assert knock(runtime, "b@example.com", HERE, 10) == MAX_PER_PAIR_OF_MANY


def test_addresses_of_one_ipv6_network_are_one_source(runtime: Runtime, cast: Cast) -> None:
    let_in = sum(knock(runtime, cast.owner.email, f"2001:db8::{number:x}") for number in range(1, 20))

    assert let_in == MAX_PER_PAIR
    assert knock(runtime, cast.owner.email, "2001:db8:0:1::1") == 1


def test_knocking_at_a_closed_door_does_not_keep_it_closed(runtime: Runtime, cast: Cast) -> None:
    knock(runtime, cast.owner.email, HERE, MAX_PER_PAIR)
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
        for _ in range(MAX_PER_PAIR - 1):
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

    assert sum(let_in) <= MAX_PER_PAIR


@pytest.mark.parametrize("spelling", ["OLGA@example.com", " olga@example.com"])
def test_spelling_does_not_get_around_it(app: Flask, cast: Cast, spelling: str) -> None:
    for _ in range(MAX_PER_PAIR):
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
        for number in range(MAX_PER_PAIR + 1)
    ]

    assert statuses[-1] == 429


def test_stored_tries_name_nobody(runtime: Runtime, cast: Cast) -> None:
    knock(runtime, cast.owner.email, HERE)

    with runtime.database.reading() as session:
        attempt = session.exec(select(SignInAttempt)).one()
    assert len(attempt.account_hash) == len(attempt.source_hash) == 64
    assert cast.owner.email not in attempt.account_hash
