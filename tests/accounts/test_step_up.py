from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from flask import Flask, Response
from sqlmodel import select

from portal.accounts.models import Invitation, Membership, SessionRecord
from portal.audit.models import AuditEvent
from portal.runtime import Runtime
from portal.tokens import hash_of
from portal.web.access import signed_in
from portal.web.proof import require_proof
from tests.accounts.at_once import crowd
from tests.accounts.support import (
    BOTH_DATABASES,
    cookie_of,
    form_on,
    is_signed_in,
    let_time_pass,
    record_of,
    with_cookie,
)
from tests.security.tables import digests
from tests.support.people import PASSWORD, Cast
from tests.support.visitor import Visitor

INVITATION = {"email": "new@example.com", "role": "auditor"}


def delicate(cast: Cast) -> list[tuple[str, dict[str, str]]]:
    member = f"/members/{cast.lead.membership_id}"
    return [(f"{member}/role", {"role": "auditor"}), (f"{member}/removal", {}), ("/members/invitations", INVITATION)]


def role_of(runtime: Runtime, membership_id: int) -> str:
    with runtime.database.reading() as session:
        return session.get_one(Membership, membership_id).role


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("htmx", [False, True])
def test_old_proof_is_401_with_the_question_and_changes_nothing(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor, number: int, htmx: bool
) -> None:
    path, form = delicate(cast)[number]
    token = owner.csrf_token()
    let_time_pass(app, minutes=6)
    before = digests(runtime.database)

    answer = owner.post(path, form, token=token, htmx=htmx)

    assert answer.status_code == 401
    assert ("<html" in answer.text) is not htmx
    assert 'type="password"' in answer.text
    assert answer.headers.get("HX-Retarget") == ("#question" if htmx else None)
    assert digests(runtime.database) == before


@pytest.mark.parametrize("minutes", [0, 4.9])
def test_recent_sign_in_is_proof_enough(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor, minutes: float
) -> None:
    let_time_pass(app, minutes=minutes)
    (path, form), *_ = delicate(cast)

    assert owner.post(path, form).status_code == 303
    assert role_of(runtime, cast.lead.membership_id) == "auditor"


def test_question_sends_the_form_again_with_the_password(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor
) -> None:
    let_time_pass(app, minutes=6)
    asked = owner.post("/members/invitations", INVITATION)
    action, hidden = form_on(asked)

    done = owner.post(action, {**hidden, "proof_password": PASSWORD})

    assert done.status_code == 200
    assert "/invitations/" in done.text
    with runtime.database.reading() as session:
        assert session.exec(select(Invitation)).one().email == INVITATION["email"]
    assert owner.post(action, {**INVITATION, "email": "second@example.com"}).status_code == 200


def test_form_without_fields_is_sent_again_too(app: Flask, runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    let_time_pass(app, minutes=6)
    action, hidden = form_on(owner.post(f"/members/{cast.lead.membership_id}/removal"))

    assert owner.post(action, {**hidden, "proof_password": PASSWORD}).status_code == 303
    with runtime.database.reading() as session:
        assert session.get(Membership, cast.lead.membership_id) is None


def test_wrong_password_asks_again_and_keeps_what_was_typed(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor
) -> None:
    let_time_pass(app, minutes=6)
    typed = {"email": 'a"<b>@example.com', "role": "auditor"}
    action, hidden = form_on(owner.post("/members/invitations", typed))

    answer = owner.post(action, {**hidden, "proof_password": "not it at all"})

    assert answer.status_code == 401
    assert "That is not your password." in answer.text
    assert form_on(answer)[1].items() >= typed.items()
    assert "not it at all" not in answer.text


def test_proof_gives_the_session_another_id_and_the_old_one_dies(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor
) -> None:
    old, row = cookie_of(owner), record_of(runtime, owner)
    let_time_pass(app, minutes=6)

    assert owner.post("/prove", {"password": PASSWORD}).status_code == 303

    renewed = record_of(runtime, owner)
    assert cookie_of(owner) != old
    assert is_signed_in(owner)
    assert not is_signed_in(with_cookie(app, old))
    assert (renewed.id, renewed.created_at) == (row.id, row.created_at)
    assert renewed.proved_at > row.proved_at


@BOTH_DATABASES
def test_of_two_proofs_at_once_one_browser_has_the_new_session(app: Flask, runtime: Runtime, cast: Cast) -> None:
    owner = Visitor(app).sign_in(cast.owner)
    copy = with_cookie(app, cookie_of(owner))
    token = owner.csrf_token()
    browsers = (owner, copy)

    statuses = crowd(
        runtime.database,
        "session",
        *(lambda b=browser: b.post("/prove", {"password": PASSWORD}, token=token).status_code for browser in browsers),
    )

    assert max(statuses) < 500
    assert sum(is_signed_in(browser) for browser in browsers) == 1


def test_page_that_was_open_before_the_proof_still_works(app: Flask, cast: Cast, owner: Visitor) -> None:
    token = owner.csrf_token()
    let_time_pass(app, minutes=6)
    owner.post("/prove", {"password": PASSWORD}, token=token)
    owner.get("/members")
    let_time_pass(app, minutes=6)
    owner.post("/prove", {"password": PASSWORD}, token=token)

    assert owner.post("/profile/name", {"name": "Another"}, token=token).status_code == 303


def test_fragment_asks_in_place_and_says_what_to_do_next(app: Flask, cast: Cast, owner: Visitor) -> None:
    token = owner.csrf_token()
    let_time_pass(app, minutes=6)
    asked = owner.post("/members/invitations", INVITATION, token=token, htmx=True)
    action, hidden = form_on(asked)

    wrong = owner.post(action, {**hidden, "password": "wrong"}, token=token, htmx=True)
    right = owner.post(action, {**hidden, "password": PASSWORD}, token=token, htmx=True)

    assert action == "/prove"
    assert (wrong.status_code, right.status_code) == (422, 200)
    assert "That is not your password." in wrong.text
    assert "<html" not in wrong.text + right.text
    assert "press the button again" in right.text
    assert owner.post("/members/invitations", INVITATION, token=token, htmx=True).status_code == 200


@pytest.mark.parametrize(
    ("back", "following", "expected"),
    [
        ("/jobs", "", "/jobs"),
        ("", "/audit", "/audit"),
        ("", "", "/connections/"),
        ("//evil.example", "", "/connections/"),
    ],
)
def test_form_with_a_secret_is_not_echoed_and_leads_back(
    app: Flask, cast: Cast, owner: Visitor, back: str, following: str, expected: str
) -> None:
    add_view(app, back)
    let_time_pass(app, minutes=6)

    asked = owner.post("/delicate", {"name": "x", "client_secret": "s3cr3t-value", "next": following})
    action, hidden = form_on(asked)

    assert asked.status_code == 401
    assert "s3cr3t-value" not in asked.text
    assert (action, hidden["next"]) == ("/prove", expected)
    assert urlsplit(owner.post(action, {**hidden, "password": PASSWORD}).headers["Location"]).path == expected


def test_address_that_is_opened_comes_back_to_itself(app: Flask, cast: Cast, owner: Visitor) -> None:
    add_view(app, "", methods=("GET",))
    let_time_pass(app, minutes=6)

    asked = owner.get("/delicate?format=csv")
    action, hidden = form_on(asked)

    assert (asked.status_code, action, hidden["next"]) == (401, "/prove", "/delicate?format=csv")
    assert owner.post(action, {**hidden, "password": PASSWORD}).headers["Location"] == "/delicate?format=csv"
    assert owner.get("/delicate?format=csv").text == "done"


def test_tries_are_throttled_and_recorded(app: Flask, runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    let_time_pass(app, minutes=6)
    found = [owner.post("/prove", {"password": f"wrong {number}"}).status_code for number in range(11)]
    right = owner.post("/prove", {"password": PASSWORD})

    assert found == [422] * 10 + [429]
    assert right.status_code == 429
    assert int(right.headers["Retry-After"]) > 0
    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent.result).where(AuditEvent.action == "session.proved")).all()
    assert list(events) == ["refused"] * 10


def test_session_that_was_ended_meanwhile_is_not_brought_back(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_time_pass(app, minutes=6)

    def end_it_and_agree(*_: object) -> bool:
        with runtime.database.transaction() as session:
            session.delete(session.exec(select(SessionRecord)).one())
        return True

    monkeypatch.setattr("portal.accounts.people.verify_password", end_it_and_agree)
    answer = owner.post("/prove", {"password": PASSWORD})

    assert answer.status_code == 401
    assert "You are signed out." in answer.text
    with runtime.database.reading() as session:
        assert session.exec(select(SessionRecord)).all() == []


def test_proof_is_stored_as_a_hash_only(app: Flask, runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    let_time_pass(app, minutes=6)
    owner.post("/prove", {"password": PASSWORD})

    assert record_of(runtime, owner).token_hash == hash_of(cookie_of(owner))


def add_view(app: Flask, back: str, methods: tuple[str, ...] = ("POST",)) -> None:
    def view() -> Response:
        require_proof(purpose="that", keep=("name",), back=back)
        return Response("done")

    app.add_url_rule("/delicate", "delicate", signed_in(view), methods=methods)
