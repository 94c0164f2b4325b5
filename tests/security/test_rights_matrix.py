from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlmodel import select
from werkzeug.routing import IntegerConverter

from portal.accounts.models import Membership
from portal.actor import ROLE_RIGHTS, Right, Role
from portal.db import MAX_ID
from portal.repositories.models import Enablement
from portal.runtime import Runtime
from portal.web.access import declared_right
from portal.web.machine import machine_of_view
from tests.security.conftest import World
from tests.security.objects import MISSING
from tests.security.rights_matrix import PAGES, PUBLIC, ROWS, SIGNED_IN, Row
from tests.support.people import Actor, Cast
from tests.support.visitor import Visitor

ACTORS = ("owner", "administrator", "lead", "auditor", "outsider")
REQUEST_ID = re.compile(r"<code>[0-9a-f]{16}</code>|nonce|csrf_token\" value=\"[^\"]+\"|X-CSRFToken\": \"[^\"]+\"")
OPEN = [row for row in ROWS if row.right == PUBLIC]
PROTECTED = [row for row in PAGES if row.right != PUBLIC]


def name_of(row: Row) -> str:
    return f"{row.method} {row.endpoint}"


def may(row: Row, role: Role) -> bool:
    if isinstance(row.right, Right) and row.right not in ROLE_RIGHTS[role]:
        return False
    return row.only is None or role in row.only


def expected(row: Row, actor: Actor, state: str) -> int:
    if not may(row, actor.role):
        return 404
    return row.status if state == "own" else row.foreign


def test_every_route_has_a_row_and_every_row_a_route(world: World) -> None:
    routes = {
        (method, rule.endpoint)
        for rule in world.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert routes == {(row.method, row.endpoint) for row in ROWS}
    assert len(ROWS) == len(routes)


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_view_declares_what_its_row_says(world: World, row: Row) -> None:
    bound = world.app.url_map.bind("127.0.0.1:8000")

    assert declared_right(world.app, row.endpoint) == row.right
    assert (machine_of_view(world.app, row.endpoint) is not None) == row.is_machine
    assert bound.match(row.path.format(**MISSING), method=row.method)[0] == row.endpoint


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_every_role_gets_exactly_its_status_for_own_foreign_and_missing_objects(world: World, row: Row) -> None:
    found, wanted = {}, {}
    for name in ACTORS:
        actor: Actor = getattr(world.cast, name)
        visitor = world.signed_in(actor)
        token = visitor.csrf_token() if row.method == "POST" else ""
        for state in ("own", "foreign", "missing") if row.names_object else ("own",):
            answer = world.ask(row, visitor, world.names(actor, state) if row.names_object else {}, token=token)
            found[name, state] = answer.status_code
            wanted[name, state] = expected(row, actor, state)

    assert found == wanted


@pytest.mark.parametrize("row", PROTECTED, ids=name_of)
def test_visitor_is_sent_to_sign_in_from_every_protected_address(world: World, row: Row) -> None:
    for state in ("own", "missing") if row.names_object else ("own",):
        names = world.names(world.cast.owner, state)

        page = world.ask(row, Visitor(world.app), names)
        fragment = world.ask(row, Visitor(world.app), names, htmx=True)

        if row.method == "GET":
            assert (page.status_code, page.headers["Location"].partition("?")[0]) == (303, "/sign-in")
        else:
            assert page.status_code == 401
            assert "<h1>Welcome back</h1>" in page.text
        assert (fragment.status_code, fragment.headers["HX-Retarget"]) == (401, "#question")
        assert "You are signed out" in fragment.text


@pytest.mark.parametrize("row", OPEN, ids=name_of)
def test_visitor_gets_from_every_public_address_what_its_row_says(world: World, row: Row) -> None:
    visitor = Visitor(world.app)
    token = visitor.csrf_token() if row.method == "POST" else ""

    answer = world.ask(row, visitor, world.names(world.cast.owner, "own"), token=token)

    assert answer.status_code == (row.status if row.visitor is None else row.visitor)


@pytest.mark.parametrize("row", [row for row in PROTECTED if row.names_object], ids=name_of)
def test_foreign_and_missing_objects_answer_alike(world: World, row: Row) -> None:
    actor = world.cast.owner
    visitor = Visitor(world.app).sign_in(actor)
    answers = []
    for state in ("foreign", "missing"):
        names = world.names(actor, state)
        text = world.ask(row, visitor, names).text
        for name in ("slug", "public_id", "job", "change"):
            text = text.replace(names[name], "")
        answers.append(REQUEST_ID.sub("", text))

    assert answers[0] == answers[1]


def test_foreign_repository_is_neither_enabled_nor_named(world: World) -> None:
    names = world.names(world.cast.owner, "foreign")
    row = next(row for row in ROWS if row.endpoint == "repositories.enable")

    answer = world.ask(row, Visitor(world.app).sign_in(world.cast.owner), names, htmx=True)

    assert "repo-" + names["slug"].removeprefix("gitlab-") not in answer.text
    with world.runtime.database.reading() as session:
        found = select(Enablement).where(Enablement.repository_id == int(names["repository"]))
        assert session.exec(found).first() is None


def test_undeclared_view_is_refused_to_everybody(app: Flask, cast: Cast) -> None:
    app._got_first_request = False
    app.add_url_rule("/undeclared", "undeclared", lambda: "open")

    assert Visitor(app).get("/undeclared").status_code == 500
    assert Visitor(app).sign_in(cast.owner).get("/undeclared").status_code == 500


@pytest.mark.parametrize("role", list(Role))
def test_only_an_owner_has_every_right(role: Role) -> None:
    assert (ROLE_RIGHTS[role] == frozenset(Right)) == (role == Role.OWNER)


def test_rights_are_read_at_each_request(app: Flask, runtime: Runtime, cast: Cast) -> None:
    visitor = Visitor(app).sign_in(cast.administrator)
    assert visitor.get("/audit").status_code == 200

    with runtime.database.transaction() as session:
        session.get_one(Membership, cast.administrator.membership_id).role = Role.TEAM_LEAD

    assert visitor.get("/audit").status_code == 404
    assert visitor.get("/audit", htmx=True).status_code == 404


def test_page_of_a_refused_address_says_nothing_of_what_is_there(world: World) -> None:
    names = world.names(world.cast.outsider, "foreign")
    refused = Visitor(world.app).sign_in(world.cast.outsider).get(f"/connections/{names['slug']}")

    assert "GitLab " + names["slug"].removeprefix("gitlab-") not in refused.text


def test_signed_in_is_a_declaration_of_its_own() -> None:
    assert {row.right for row in ROWS} == {PUBLIC, SIGNED_IN, *Right}


def test_numbers_in_addresses_are_those_that_a_database_can_hold(app: Flask) -> None:
    numbers = {
        f"{rule.endpoint} {name}": converter.max
        for rule in app.url_map.iter_rules()
        for name, converter in rule._converters.items()
        if isinstance(converter, IntegerConverter)
    }

    assert len(numbers) > 3
    assert {name: most for name, most in numbers.items() if most is None or most > MAX_ID} == {}
