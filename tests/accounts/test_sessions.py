from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import delete
from sqlmodel import col, select

from portal.accounts.jobs import forget_ended
from portal.accounts.models import Membership, SessionRecord, User
from portal.accounts.sessions import SessionRows
from portal.db import Database, utc_now
from portal.runtime import Runtime
from portal.tokens import hash_of
from portal.web.assets import TEMPLATES
from tests.accounts.support import cookie_of, give_password, is_signed_in, let_time_pass, record_of, with_cookie
from tests.security.conftest import World
from tests.security.conftest import world as world
from tests.security.rights_matrix import PAGES, PUBLIC, Row
from tests.support.people import Cast
from tests.support.visitor import Visitor

PROTECTED = [row for row in PAGES if row.right != PUBLIC]


def move_back(runtime: Runtime, visitor: Visitor, column: str, **details: float) -> None:
    with runtime.database.transaction() as session:
        record = session.get_one(SessionRecord, record_of(runtime, visitor).id)
        setattr(record, column, utc_now() - timedelta(**details))


@pytest.mark.parametrize("row", PROTECTED, ids=lambda row: f"{row.method} {row.endpoint}")
def test_copied_cookie_is_dead_on_every_route_after_signing_out(world: World, row: Row) -> None:
    owner = world.signed_in()
    copied, token = cookie_of(owner), owner.csrf_token()
    owner.post("/sign-out")
    thief = with_cookie(world.app, copied)

    names = world.names(world.cast.owner, "own") if row.names_object else {}
    page = world.ask(row, thief, names, token=token)
    fragment = world.ask(row, thief, names, token=token, htmx=True)

    assert page.status_code == (303 if row.method == "GET" else 401)
    assert fragment.status_code == 401
    assert "signed out" in fragment.text + page.text or page.headers["Location"].startswith("/sign-in")


def test_database_holds_no_cookie(runtime: Runtime, app: Flask, cast: Cast, visitor: Visitor) -> None:
    values = []
    for actor in (cast.owner, cast.lead):
        give_password(visitor, actor)
        values.append(cookie_of(visitor))
        visitor.post("/profile/name", {"name": "Another"})

    dump = dump_of(runtime.database)

    assert hash_of(values[-1]) in dump
    assert not [value for value in values if value in dump]


def dump_of(database: Database) -> str:
    with database.engine.connect() as connection:
        return "\n".join(connection.connection.driver_connection.iterdump())


def test_cookie_is_long_random_and_closed(cast: Cast, visitor: Visitor) -> None:
    headers = give_password(visitor, cast.owner).headers.getlist("Set-Cookie")
    (header,) = [header for header in headers if header.startswith("gatehouse=")]

    assert len(cookie_of(visitor)) >= 43
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(header.split("; "))
    assert "Domain" not in header
    assert "expires" not in header.lower()


def test_idle_session_ends(runtime: Runtime, owner: Visitor) -> None:
    move_back(runtime, owner, "last_active_at", minutes=30, seconds=1)

    fragment = owner.get("/jobs", htmx=True)

    assert (fragment.status_code, fragment.headers["HX-Retarget"]) == (401, "#question")
    assert not is_signed_in(owner)


def test_session_in_use_does_not_end(app: Flask, owner: Visitor) -> None:
    for _ in range(20):
        let_time_pass(app, minutes=29)
        assert is_signed_in(owner)


def test_absolute_limit_ends_a_session_in_constant_use(app: Flask, owner: Visitor) -> None:
    for _ in range(48):
        assert is_signed_in(owner)
        let_time_pass(app, minutes=15)
    let_time_pass(app, seconds=1)

    assert owner.get("/jobs", htmx=True).status_code == 401


def test_proof_does_not_move_the_absolute_limit(app: Flask, cast: Cast, runtime: Runtime, owner: Visitor) -> None:
    let_time_pass(app, minutes=20)
    owner.post("/prove", {"password": cast.owner.password})
    move_back(runtime, owner, "created_at", hours=12)

    assert not is_signed_in(owner)


def test_polling_alone_does_not_keep_a_session(world: World) -> None:
    owner = world.signed_in()
    names = world.names(world.cast.owner, "own")
    paths = (f"/connections/{names['slug']}/catalogue", f"/jobs/{names['job']}", "/jobs")

    statuses = []
    for _ in range(3):
        let_time_pass(world.app, minutes=14)
        statuses.append({owner.get(path, htmx=True, headers={"X-Polling": "1"}).status_code == 401 for path in paths})

    assert statuses == [{False}, {False}, {True}]


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_whatever_asks_by_itself_says_so(path: Path) -> None:
    asking = re.findall(r"<[^<]*hx-trigger=\"[^\"]*every [^<]*", path.read_text())

    assert all('"X-Polling": "1"' in tag for tag in asking)


def test_change_of_password_ends_every_other_session_and_renews_this_one(app: Flask, cast: Cast) -> None:
    here, there = Visitor(app).sign_in(cast.lead), Visitor(app).sign_in(cast.lead)
    old = cookie_of(here)

    answer = here.post("/profile/password", {"password": cast.lead.password, "new_password": "another quiet lantern"})

    assert answer.status_code == 303
    assert is_signed_in(here)
    assert not is_signed_in(there)
    assert not is_signed_in(with_cookie(app, old))


def test_other_sessions_can_be_ended(app: Flask, cast: Cast) -> None:
    here, there, other = (Visitor(app).sign_in(actor) for actor in (cast.lead, cast.lead, cast.auditor))

    here.post("/profile/sessions/end")

    assert [is_signed_in(visitor) for visitor in (here, there, other)] == [True, False, True]


@pytest.mark.parametrize("how", ["disable", "remove"])
def test_person_who_is_gone_loses_the_session_at_once(runtime: Runtime, cast: Cast, lead: Visitor, how: str) -> None:
    with runtime.database.transaction() as session:
        if how == "disable":
            session.get_one(User, cast.lead.user_id).is_disabled = True
        else:
            session.delete(session.get_one(Membership, cast.lead.membership_id))

    assert not is_signed_in(lead)


@pytest.mark.parametrize("extra", ["gatehouse=evil", "=gatehouse=evil"])
def test_second_or_nameless_cookie_is_nobody(app: Flask, owner: Visitor, extra: str) -> None:
    cookie = f"gatehouse={cookie_of(owner)}"
    app.test_client()

    alone = app.test_client(use_cookies=False).get("/profile", headers={"Cookie": cookie, "Host": "127.0.0.1:8000"})
    both = app.test_client(use_cookies=False).get(
        "/profile", headers={"Cookie": f"{extra}; {cookie}", "Host": "127.0.0.1:8000"}
    )

    reversed_order = app.test_client(use_cookies=False).get(
        "/profile", headers={"Cookie": f"{cookie}; {extra}", "Host": "127.0.0.1:8000"}
    )

    assert alone.status_code == 200
    assert both.status_code == reversed_order.status_code == (303 if extra.startswith("gatehouse") else 200)


def test_session_that_ends_during_a_request_does_no_harm(
    app: Flask, runtime: Runtime, owner: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_time_pass(app, minutes=1)
    original = SessionRows.touch

    def end_first(*arguments: object) -> None:
        with runtime.database.transaction() as session:
            session.execute(delete(SessionRecord))
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SessionRows, "touch", end_first)

    assert owner.get("/jobs").status_code < 500


def test_ended_sessions_are_forgotten(runtime: Runtime, app: Flask, cast: Cast) -> None:
    idle, old, alive = (Visitor(app).sign_in(cast.lead) for _ in range(3))
    move_back(runtime, idle, "last_active_at", minutes=31)
    move_back(runtime, old, "created_at", hours=13)

    forget_ended(Context(runtime))  # type: ignore[arg-type]

    with runtime.database.reading() as session:
        kept = session.exec(select(SessionRecord.token_hash).order_by(col(SessionRecord.id))).all()
    assert list(kept) == [hash_of(cookie_of(alive))]


class Context:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.transaction = runtime.database.transaction
