"""Rules: what a pattern matches, which rule decides, what applying them changes, and what people see before saving."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import product

import pytest
from sqlmodel import select

from portal.connections.models import Connection
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Enablement, HeldBack, Repository, SelectionRule
from portal.repositories.rules import Item, Rule, apply_rules, compile_pattern, judge
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.audit.conftest import events_of
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

PAGE = "/connections/gitlab/rules"
NOW = datetime(2026, 11, 27, tzinfo=UTC)
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


@pytest.fixture
def connection_id(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    connection_id = connect(runtime, sandbox, cast.owner)
    read_catalogue(runtime, connection_id, "job", lambda *_: None)
    return connection_id


@pytest.mark.parametrize(
    ("pattern", "matches", "does_not"),
    [
        ("data/**", ["data/a", "data/b/c/d", "DATA/a"], ["data", "database/a", "x/data/a"]),
        ("data/*", ["data/a"], ["data/b/c"]),
        ("**/archive/**", ["archive/a", "x/archive/a", "x/y/archive/b/c"], ["archive", "archives/a"]),
        ("**/legacy-*", ["a/legacy-ldap", "a/b/legacy-"], ["a/legacy", "a/legacy-x/y"]),
        ("*/*-api", ["web/shop-api"], ["web/shop/api-x", "web/a/b-api", "web/api"]),
        ("a*b*c/d", ["abc/d", "axxbyybzzc/d"], ["a/b/c/d", "ab/d"]),
        ("web/shop", ["web/shop"], ["web/shop/x", "web/shops"]),
        ("a.b/c+", [], ["a.b/c", "axb/c+"]),
    ],
)
def test_pattern(pattern: str, matches: list[str], does_not: list[str]) -> None:
    found = compile_pattern(pattern)

    assert [path for path in matches + does_not if found(path)] == matches


def test_patterns_match_what_their_definition_says() -> None:
    def is_one(segment: str, level: str) -> bool:
        return re.fullmatch(re.escape(segment).replace(r"\*", ".*"), level) is not None

    def is_all(rest: list[str], levels: list[str]) -> bool:
        if not rest:
            return not levels
        if rest[0] == "**":
            # At the end it takes at least one level.
            return any(is_all(rest[1:], levels[taken:]) for taken in range(int(len(rest) == 1), len(levels) + 1))
        return bool(levels) and is_one(rest[0], levels[0]) and is_all(rest[1:], levels[1:])

    paths = [list(levels) for length in (1, 2, 3) for levels in product(("a", "ab", "b", "aab"), repeat=length)]
    for length in (1, 2, 3):
        for pattern in product(("a", "ab", "*", "a*", "*b*", "**"), repeat=length):
            found = compile_pattern("/".join(pattern))
            wrong = [path for path in paths if found("/".join(path)) != is_all(list(pattern), path)]
            assert wrong == [], pattern


def test_no_path_makes_a_pattern_slow() -> None:
    stars = compile_pattern("/".join(["**", "*a*a*a*a*a*b", "**", "*a*a*a*b", "**", "x"]))

    assert not stars("/".join(["a" * 255] * 29))
    assert not stars("a/" * 5000 + "a")


@pytest.mark.parametrize("pattern", ["", "a//b", "a b/c", "data/**x", "**/**/**/**", "a/\u202eb", "x" * 501])
def test_pattern_with_a_problem_matches_nothing_and_says_so(pattern: str) -> None:
    rule = Rule(pattern=pattern)

    assert rule.problem.endswith(".")
    assert judge([rule], [item("a/b")], NOW).decided == [0]


def item(path: str, **more: object) -> Item:
    plain = Item(len(path), path, "private", False, NOW, True, False, False, None, False)
    return replace(plain, **more)


def test_first_that_matches_decides_and_a_person_stays_right() -> None:
    rules = [Rule("exclude", "**/archive/**", id=1), Rule("enable", "data/**", active_months=12, archived="no", id=2)]
    items = [
        item("data/new"),
        item("data/archive/x", is_enabled=True, rule_id=2),
        item("data/archive/by-hand", is_enabled=True),
        item("data/old", is_enabled=True, rule_id=2, last_activity_at=NOW - timedelta(days=800)),
        item("data/archived", is_enabled=True, rule_id=2, archived=True, is_available=False),
        item("data/gone", is_enabled=True, rule_id=2, archived=True, is_missing=True),
        item("data/removed-rule", is_enabled=True, rule_id=9),
        item("data/declined", is_held_back=True),
        item("data/low-role", is_available=False),
        item("web/x"),
    ]

    found = judge(rules, items, NOW)

    assert [(change.path, change.is_enabled, change.why) for change in found.changes] == [
        ("data/archive/x", False, "rule 1 excludes it"),
        ("data/old", False, "rule 2 no longer matches: no activity since 2024"),
        ("data/archived", False, "rule 2 no longer matches: archived"),
        ("data/new", True, "rule 2"),
    ]
    assert (found.decided, found.left, found.kept, found.unavailable) == ([2, 4], 4, 2, 1)
    assert [rule_id for _, rule_id in found.handed_over] == [2]
    assert found.promise == "enable 1, disable 3"


def test_rule_that_never_decides_is_told_with_the_one_before_it() -> None:
    rules = [Rule("enable", "data/**"), Rule("exclude", "data/x/*"), Rule("exclude", "nowhere/*")]

    found = judge(rules, [item("data/x/a"), item("data/x/b"), item("data/c")], NOW)

    assert found.takers == {1: (0, 2), 2: (None, 0)}


def enabled(runtime: Runtime) -> dict[str, int | None]:
    with runtime.database.reading() as session:
        pairs = select(Repository.path_with_namespace, Enablement.rule_id).join(
            Enablement, Enablement.repository_id == Repository.id
        )
        return dict(session.exec(pairs).all())


def store(runtime: Runtime, connection_id: int, *rules: Rule) -> list[int]:
    with runtime.database.transaction() as session:
        rows = [
            SelectionRule(
                connection_id=connection_id,
                position=number,
                **{
                    name: getattr(rule, name)
                    for name in ("action", "pattern", "visibility", "active_months", "archived")
                },
            )
            for number, rule in enumerate(rules, 1)
        ]
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def repository_id(runtime: Runtime, path: str) -> int:
    with runtime.database.reading() as session:
        return session.exec(select(Repository.id).where(Repository.path_with_namespace == path)).one()


def test_rules_enable_what_they_match_twice_the_same_and_never_what_a_person_disabled(
    runtime: Runtime, cast: Cast, connection_id: int
) -> None:
    owner = principal_of(runtime, cast.owner)
    set_enabled(runtime, owner, [repository_id(runtime, "data/data-contracts")], enabled=False)
    set_enabled(runtime, owner, [repository_id(runtime, "web/api-gateway")], enabled=True)
    (rule_id,) = store(runtime, connection_id, Rule("enable", "data/**"))

    first, second = apply_rules(runtime, connection_id), apply_rules(runtime, connection_id)

    found = enabled(runtime)
    assert found.pop("web/api-gateway") is None
    assert set(found.values()) == {rule_id}
    assert "data/data-contracts" not in found
    assert all(path.startswith("data/") for path in found)
    assert "data/pipelines/ingest/connectors/billing-connector" not in found  # It is empty.
    assert (first.enabled, first.disabled) == (len(found), 0)
    assert (second.enabled, second.disabled) == (0, 0)

    set_enabled(runtime, owner, [repository_id(runtime, "data/data-contracts")], enabled=True)
    with runtime.database.reading() as session:
        assert session.exec(select(HeldBack)).all() == []
    assert enabled(runtime)["data/data-contracts"] is None


def test_read_applies_rules_and_asks_before_it_disables_much(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    store(runtime, connection_id, Rule("enable", "data/**", archived="no"))
    apply_rules(runtime, connection_id)
    before = enabled(runtime)
    new = sandbox.world.add_project("data/new-one")
    for path in [path for path in before if path.startswith("data/pipelines")]:
        sandbox.world.change_project(sandbox.world.project(path).id, archived=True)
    for path in [path for path in before if path.startswith("data/reporting")]:
        sandbox.world.change_project(sandbox.world.project(path).id, archived=True)

    owner.post("/connections/gitlab/catalogue")
    run_pending(runtime)

    assert enabled(runtime).keys() == before.keys() | {"data/new-one"}, new
    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).attention["code"] == "rules_would_disable"
    page = owner.get(PAGE).text
    assert "no longer matches: archived" in page
    promise = dict(HIDDEN.findall(page))["promise"]
    owner.post(PAGE, {**fields(page), "do": "save"})
    run_pending(runtime)
    assert promise == f"enable 0, disable {len(before) + 1 - len(enabled(runtime))}"
    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).attention is None


def fields(page: str) -> dict[str, str]:
    inner = page[page.index('<form id="rules"') :]
    found = {name: unescape(value) for name, value in HIDDEN.findall(inner) if name != "csrf_token"}
    for name, value in re.findall(r'<input class="form-control[^>]*name="(rule-[^"]+)"\s+value="([^"]*)"', inner):
        found[name] = unescape(value)
    for name, options in re.findall(r'<select[^>]*name="(rule-[^"]+)"[^>]*>(.*?)</select>', inner, re.S):
        found[name] = re.search(r'value="([^"]*)" selected', options)[1]
    return found


def test_draft_is_edited_moved_and_saved_without_script(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    page = owner.get(PAGE).text
    assert "Everything else" in page
    page = owner.post(PAGE, {**fields(page), "do": "add"}).text
    refused = owner.post(PAGE, {**fields(page), "do": "save"})
    assert refused.status_code == 422
    assert "Enter a path, such as platform/**." in refused.text
    page = owner.post(
        PAGE, {**fields(page), "rule-0-pattern": "/data/** ", "rule-0-archived": "no", "do": "preview"}
    ).text
    assert 'value="data/**"' in page
    page = owner.post(PAGE, {**fields(page), "do": "add"}).text
    page = owner.post(
        PAGE, {**fields(page), "rule-1-action": "exclude", "rule-1-pattern": "data/warehouse/*", "do": "preview"}
    ).text
    assert "Never decides: rule 1 takes" in page
    page = owner.post(PAGE, {**fields(page), "do": "above-1-0"}).text
    assert fields(page)["rule-0-pattern"] == "data/warehouse/*"
    stale = owner.post(PAGE, {**fields(page), "rule-1-pattern": "web/**", "do": "save"})
    assert stale.status_code == 409
    assert "The effect has changed since you looked." in stale.text
    assert fields(stale.text)["rule-1-pattern"] == "web/**"

    answer = owner.post(PAGE, {**fields(page), "do": "save"})
    run_pending(runtime)

    assert answer.status_code == 303
    with runtime.database.reading() as session:
        rules = session.exec(select(SelectionRule).order_by(SelectionRule.position)).all()
    assert [(rule.action, rule.pattern, rule.archived) for rule in rules] == [
        ("exclude", "data/warehouse/*", ""),
        ("enable", "data/**", "no"),
    ]
    saved, applied = (
        [event for event in events_of(runtime) if event.action == action] for action in ("rules.saved", "rules.applied")
    )
    assert [event.details["rules"] for event in saved] == [["exclude data/warehouse/*", "enable data/** not archived"]]
    found = enabled(runtime)
    assert [event.details["enabled"] for event in applied] == [len(found)]
    assert found
    assert not any(path.startswith("data/warehouse/") for path in found)
    assert "enabled by rule 2" in owner.get("/repositories/?connection=gitlab&q=data-contracts").text
    page = owner.get(PAGE).text
    page = owner.post(PAGE, {**fields(page), "do": "remove-1"}).text
    assert f"enable 0, disable {len(found)}" in page
    assert "its rule was removed" in page


def test_two_people_who_edit_at_once_do_not_overwrite_each_other_unseen(
    runtime: Runtime, owner: Visitor, administrator: Visitor, connection_id: int
) -> None:
    mine = owner.post(PAGE, {**fields(owner.get(PAGE).text), "do": "add"}).text
    mine = owner.post(PAGE, {**fields(mine), "rule-0-pattern": "web/**"}).text
    store(runtime, connection_id, Rule("enable", "data/**"))

    answer = owner.post(PAGE, {**fields(mine), "do": "save"})

    assert answer.status_code == 409
    assert "Someone else has changed the rules since." in answer.text
    assert fields(answer.text)["rule-0-pattern"] == "web/**"
    assert owner.post(PAGE, {**fields(answer.text), "do": "save"}).status_code == 303


@pytest.mark.parametrize(
    "wrong", [{"rule-0-action": "delete"}, {"rule-0-active": "5"}, {"rule-0-visibility": "x"}, {"unknown": "1"}]
)
def test_choice_that_the_form_does_not_offer_is_400(owner: Visitor, connection_id: int, wrong: dict[str, str]) -> None:
    page = owner.post(PAGE, {**fields(owner.get(PAGE).text), "do": "add"}).text

    assert owner.post(PAGE, {**fields(page), **wrong}).status_code == 400


def test_rules_are_the_administrators_business(lead: Visitor, auditor: Visitor, connection_id: int) -> None:
    assert [person.get(PAGE).status_code for person in (lead, auditor)] == [404, 404]
    assert "Rules" not in lead.get("/repositories/?connection=gitlab").text
