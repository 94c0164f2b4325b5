from __future__ import annotations

import pytest
from flask import Flask
from sqlmodel import select

from portal.accounts.first_run import ensure_setup_link, follow_plan
from portal.accounts.models import Membership, Organization, SetupToken, User
from portal.audit.models import AuditEvent
from portal.db import Database
from portal.runtime import Runtime
from portal.tokens import hash_of
from tests.accounts.at_once import crowd
from tests.accounts.support import BOTH_DATABASES, is_signed_in
from tests.security.tables import digests
from tests.support.people import PASSWORD, Cast
from tests.support.visitor import Visitor

FORM = {"organization": "Works", "name": "Olga", "email": "Olga@Example.com", "password": PASSWORD}


def link_of(runtime: Runtime) -> str:
    link = ensure_setup_link(runtime)
    assert link is not None
    return link.removeprefix(runtime.settings.base_url)


def rows(database: Database, table: type) -> list:
    with database.reading() as session:
        return list(session.exec(select(table)))


def test_link_makes_the_first_owner_and_signs_them_in(runtime: Runtime, visitor: Visitor) -> None:
    link = link_of(runtime)
    assert visitor.get(link).status_code == 200

    answer = visitor.post(link, FORM)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/connections/")
    assert [row.name for row in rows(runtime.database, Organization)] == ["Works"]
    assert [row.role for row in rows(runtime.database, Membership)] == ["owner"]
    assert [row.email for row in rows(runtime.database, User)] == ["olga@example.com"]
    assert [row.action for row in rows(runtime.database, AuditEvent)] == ["organization.created"]
    assert is_signed_in(visitor)


@BOTH_DATABASES
def test_of_twelve_at_once_exactly_one_succeeds(app: Flask, runtime: Runtime) -> None:
    link = link_of(runtime)
    visitors = [Visitor(app) for _ in range(12)]
    tokens = [visitor.csrf_token() for visitor in visitors]

    def send(number: int) -> int:
        form = {**FORM, "email": f"person{number}@example.com"}
        return visitors[number].post(link, form, token=tokens[number]).status_code

    statuses = crowd(runtime.database, "setup_token", *(lambda number=number: send(number) for number in range(12)))

    assert sorted(statuses) == [303] + [404] * 11
    assert [len(rows(runtime.database, table)) for table in (Organization, User, Membership)] == [1, 1, 1]


@BOTH_DATABASES
def test_two_links_printed_at_once_make_one_owner(app: Flask, runtime: Runtime) -> None:
    first = link_of(runtime)
    with runtime.database.transaction() as session:
        session.add(SetupToken(token_hash=hash_of("second")))
    visitors = [Visitor(app), Visitor(app)]
    tokens = [visitor.csrf_token() for visitor in visitors]

    def send(number: int, link: str) -> int:
        return (
            visitors[number].post(link, {**FORM, "email": f"p{number}@example.com"}, token=tokens[number]).status_code
        )

    statuses = crowd(runtime.database, "setup_token", lambda: send(0, first), lambda: send(1, "/setup/second"))

    assert sorted(statuses) == [303, 404]
    assert len(rows(runtime.database, User)) == 1


def test_link_dies_with_its_use_and_none_is_made_any_more(runtime: Runtime, visitor: Visitor, app: Flask) -> None:
    link = link_of(runtime)
    visitor.post(link, FORM)

    later = Visitor(app)
    assert (later.get(link).status_code, later.post(link, FORM).status_code) == (404, 404)
    assert ensure_setup_link(runtime) is None


def test_newer_link_replaces_the_older_one(runtime: Runtime, visitor: Visitor) -> None:
    older, newer = link_of(runtime), link_of(runtime)

    assert [visitor.get(link).status_code for link in (older, newer)] == [404, 200]


def test_link_is_stored_as_a_hash(runtime: Runtime, database: Database) -> None:
    token = link_of(runtime).rpartition("/")[2]

    assert [row.token_hash for row in rows(database, SetupToken)] == [hash_of(token)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("organization", ""),
        ("organization", "x" * 101),
        ("organization", "a\x01b"),
        ("name", "   "),
        ("name", "x" * 101),
        ("name", "a\u202eb"),
        ("email", "nobody"),
        ("email", "a b@example.com"),
        ("email", "a\x01@example.com"),
        ("email", "x" * 300 + "@example.com"),
        ("password", "short"),
        ("password", "x" * 1025),
        ("password", "password123"),
    ],
)
@BOTH_DATABASES
def test_bad_field_is_named_and_the_link_stays(runtime: Runtime, visitor: Visitor, field: str, value: str) -> None:
    link = link_of(runtime)
    token, before = visitor.csrf_token(), digests(runtime.database)

    answer = visitor.post(link, {**FORM, field: value}, token=token)

    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert digests(runtime.database) == before
    assert visitor.post(link, FORM, token=token).status_code == 303


def test_once_there_are_people_a_stolen_link_is_worth_nothing(runtime: Runtime, visitor: Visitor, cast: Cast) -> None:
    with runtime.database.transaction() as session:
        session.add(SetupToken(token_hash=hash_of("stolen")))

    assert visitor.get("/setup/stolen").status_code == 404


def test_plan_that_the_operator_sets_is_that_of_the_only_organization_from_the_next_start(
    runtime: Runtime, visitor: Visitor
) -> None:
    visitor.post(link_of(runtime), FORM)
    object.__setattr__(runtime.settings, "plan", "basic")

    for _ in range(2):
        follow_plan(runtime)

    assert [row.plan for row in rows(runtime.database, Organization)] == ["basic"]
    changes = [event for event in rows(runtime.database, AuditEvent) if event.action == "organization.plan_changed"]
    assert [event.details for event in changes] == [{"old": "enterprise", "new": "basic"}]
