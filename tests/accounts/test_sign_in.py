from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlmodel import select

from portal.accounts.models import Membership, User
from portal.audit.models import AuditEvent
from portal.runtime import Runtime
from tests.accounts.support import BOTH_DATABASES, cookie_of, give_password, is_signed_in, record_of, with_cookie
from tests.support.people import Cast
from tests.support.visitor import Visitor

CHANGING = re.compile(r'value="[^"]*"|X-CSRFToken": "[^"]+"|[0-9a-f]{16}')


def test_right_password_opens_a_session(runtime: Runtime, cast: Cast, visitor: Visitor) -> None:
    answer = give_password(visitor, cast.owner)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/connections/")
    assert record_of(runtime, visitor).user_id == cast.owner.user_id
    with runtime.database.reading() as session:
        assert session.get_one(User, cast.owner.user_id).last_signed_in_at is not None


@pytest.mark.parametrize("email", ["OLGA@example.COM", "  olga@example.com  "])
def test_spelling_of_the_address_does_not_matter(cast: Cast, visitor: Visitor, email: str) -> None:
    assert give_password(visitor, cast.owner, email=email).status_code == 303


def test_every_failure_looks_the_same(runtime: Runtime, app: Flask, cast: Cast) -> None:
    with runtime.database.transaction() as session:
        session.get_one(User, cast.auditor.user_id).is_disabled = True
        session.delete(session.get_one(Membership, cast.lead.membership_id))
        session.get_one(User, cast.administrator.user_id).password_hash = None
    cases = {
        "unknown": {"email": "nobody@example.com"},
        "wrong": {"password": "something else"},
        "disabled": {"email": cast.auditor.email},
        "no member": {"email": cast.lead.email},
        "no password": {"email": cast.administrator.email},
        "empty": {"password": ""},
        "too long": {"password": "x" * 5000},
        "no address": {"email": "x"},
    }

    answers = {case: give_password(Visitor(app), cast.owner, **changes) for case, changes in cases.items()}

    assert {answer.status_code for answer in answers.values()} == {422}
    assert len({CHANGING.sub("", answer.text) for answer in answers.values()}) == 1
    assert all("E-mail address or password is wrong." in answer.text for answer in answers.values())


@BOTH_DATABASES
@pytest.mark.parametrize(
    "value", ["\x01", "a\x01@example.com", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "%"]
)
def test_hostile_address_is_just_unknown(cast: Cast, visitor: Visitor, value: str) -> None:
    assert give_password(visitor, cast.owner, email=value).status_code == 422


def test_refusal_is_seen_by_the_organization_of_a_member_and_keeps_nothing_of_an_unknown_address(
    runtime: Runtime, app: Flask, cast: Cast
) -> None:
    give_password(Visitor(app), cast.owner, password="wrong one")
    give_password(Visitor(app), cast.owner, email="my secret password")

    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent).where(AuditEvent.action == "session.refused")).all()
    assert [(event.organization_id, event.object_name, event.actor.user_id) for event in events] == [
        (cast.owner.organization_id, cast.owner.email, None),
        (None, "", None),
    ]


def test_cookie_set_before_the_sign_in_is_never_accepted(runtime: Runtime, app: Flask, cast: Cast) -> None:
    planted = with_cookie(app, "AAAA")

    assert give_password(planted, cast.owner).status_code == 303

    assert cookie_of(planted) != "AAAA"
    assert is_signed_in(planted)
    assert not is_signed_in(with_cookie(app, "AAAA"))


def test_signing_in_again_ends_the_session_before(app: Flask, cast: Cast, visitor: Visitor) -> None:
    give_password(visitor, cast.owner)
    old = cookie_of(visitor)

    give_password(visitor, cast.lead)

    assert not is_signed_in(with_cookie(app, old))
    assert cast.lead.email in visitor.get("/profile").text


@pytest.mark.parametrize(
    ("following", "expected"),
    [("/jobs", "/jobs"), ("//evil.example.com", "/connections/"), ("https://evil.example.com/", "/connections/")],
)
def test_goes_on_to_where_one_wanted_to(cast: Cast, visitor: Visitor, following: str, expected: str) -> None:
    assert give_password(visitor, cast.owner, next=following).headers["Location"] == expected


def test_member_who_is_signed_in_does_not_see_the_form(owner: Visitor) -> None:
    assert owner.get("/sign-in").headers["Location"] == "/connections/"


def test_portal_has_no_account_of_its_own(app: Flask, runtime: Runtime) -> None:
    for email in ("admin@example.com", "root", "admin@local", "root@localhost"):
        for password in ("admin", "password", "5iveL!fe", ""):
            answer = Visitor(app).post("/sign-in", {"email": email, "password": password})
            assert answer.status_code in {422, 429}
