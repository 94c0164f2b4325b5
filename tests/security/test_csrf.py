from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask

from portal.db import utc_now
from portal.runtime import Runtime
from tests.conftest import BASE_URL
from tests.security.conftest import World
from tests.security.rights_matrix import PAGES, ROWS, Row
from tests.security.tables import digests
from tests.support.people import Cast
from tests.support.visitor import Visitor

POSTS = [row for row in PAGES if row.method == "POST"]
SAME = {"Sec-Fetch-Site": "same-origin"}
EVIL = "https://evil.example.com"


def endpoint_of(row: Row) -> str:
    return row.endpoint


def send(world: World, row: Row, visitor: Visitor, names: dict[str, str], headers: dict[str, str], token: str = ""):
    form = world.form(row, names) | ({"csrf_token": token} if token else {})
    return visitor.http.post(row.path.format(**names), data=form, base_url=BASE_URL, headers=headers)


@pytest.mark.parametrize("row", POSTS, ids=endpoint_of)
def test_no_change_without_the_token_of_this_session_from_this_site(world: World, row: Row) -> None:
    owner, other = world.signed_in(), world.signed_in(world.cast.administrator)
    names = world.untouched
    token, foreign_token = owner.csrf_token(), other.csrf_token()
    before = digests(world.runtime.database)

    refused = {
        "no token": send(world, row, owner, names, SAME),
        "empty token": send(world, row, owner, names, {**SAME, "X-CSRFToken": ""}),
        "wrong token": send(world, row, owner, names, SAME, "wrong"),
        "another session's token": send(world, row, owner, names, SAME, foreign_token),
        "another session's token in the header": send(world, row, owner, names, {**SAME, "X-CSRFToken": foreign_token}),
        "cross-site": send(world, row, owner, names, {"Sec-Fetch-Site": "cross-site"}, token),
        "same-site": send(world, row, owner, names, {"Sec-Fetch-Site": "same-site"}, token),
        "foreign origin": send(world, row, owner, names, {"Origin": EVIL}, token),
        "origin with another port": send(world, row, owner, names, {"Origin": "http://127.0.0.1:8001"}, token),
        "origin that begins like ours": send(world, row, owner, names, {"Origin": f"{BASE_URL}.evil.example"}, token),
        "origin that ours begins like": send(world, row, owner, names, {"Origin": BASE_URL[:-1]}, token),
        "null origin": send(world, row, owner, names, {"Origin": "null"}, token),
    }

    assert {case: answer.status_code for case, answer in refused.items()} == dict.fromkeys(refused, 403)
    assert digests(world.runtime.database) == before


@pytest.mark.parametrize("headers", [SAME, {"Sec-Fetch-Site": "none"}, {"Origin": BASE_URL}, {}])
def test_own_pages_are_let_through(world: World, headers: dict[str, str]) -> None:
    owner = world.signed_in()
    row = next(row for row in POSTS if row.endpoint == "accounts.rename")

    assert send(world, row, owner, {}, headers, owner.csrf_token()).status_code == 303


def test_sign_in_form_wants_the_token_of_the_visitor_before_it_looks_at_the_password(world: World) -> None:
    visitor, other = Visitor(world.app), Visitor(world.app)
    form = {"email": world.cast.owner.email, "password": world.cast.owner.password}

    without = visitor.http.post("/sign-in", data=form, base_url=BASE_URL, headers=SAME)
    foreign = visitor.post("/sign-in", form, token=other.csrf_token())

    assert (without.status_code, foreign.status_code) == (403, 403)


def test_token_from_before_the_sign_in_is_dead_afterwards(app: Flask, cast: Cast) -> None:
    visitor = Visitor(app)
    old = visitor.csrf_token()
    visitor.sign_in(cast.owner)

    assert visitor.post("/profile/name", {"name": "Another"}, token=old).status_code == 403


def test_token_of_an_ended_session_is_dead(app: Flask, cast: Cast, runtime: Runtime) -> None:
    visitor = Visitor(app).sign_in(cast.owner)
    old = visitor.csrf_token()
    visitor.post("/sign-out")
    visitor.sign_in(cast.owner)

    assert visitor.post("/profile/name", {"name": "Another"}, token=old).status_code == 403


def test_old_token_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = world.signed_in()
    token = owner.csrf_token()
    late = (utc_now() + timedelta(hours=12, seconds=5)).timestamp()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: late)

    assert owner.post("/profile/name", {"name": "Another"}, token=token).status_code == 403


def test_refusal_is_a_fragment_for_htmx(world: World) -> None:
    answer = world.signed_in().post("/profile/name", {"name": "Another"}, htmx=True, token="wrong")

    assert answer.status_code == 403
    assert answer.headers["HX-Retarget"] == "#question"
    assert "<html" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE"])
def test_no_other_method_changes_anything(world: World, method: str) -> None:
    owner = world.signed_in()
    names = world.untouched
    before = digests(world.runtime.database)

    for path in {row.path.format(**names) for row in ROWS}:
        assert owner.http.open(path, method=method, base_url=BASE_URL, buffered=True).status_code in {403, 405}

    assert digests(world.runtime.database) == before
