"""How deliveries are chosen and applied, on both databases, without a GitLab."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import text
from sqlmodel import Session, col, insert, select

from bench.portal_setup import authorized_connection
from portal.capability import Capabilities, Capability
from portal.db import utc_now
from portal.gitlab.hooks import Level
from portal.repositories.models import GitLabGroup, Repository
from portal.runtime import Runtime
from portal.webhooks.deliveries import BATCH, OVERLAP, apply_batch, choose_batch
from portal.webhooks.happenings import Event
from portal.webhooks.models import Delivery, DeliveryCount, Hook
from tests.test_polling import listening

HOOKS = (1, 2, 3)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connection_id(runtime: Runtime) -> int:
    """A connection with three hooks, for the projects 11, 12 and 13."""
    connection_id = authorized_connection(runtime, "http://127.0.0.1:1", "a-token-of-this-test")
    with runtime.database.transaction() as session:
        for number in HOOKS:
            session.add(Hook(id=number, connection_id=connection_id, subject_id=10 + number))
    return connection_id


def wait(runtime: Runtime, connection_id: int, hooks: Iterable[int | None], **members: Any) -> None:
    """Store deliveries of these hooks, in this order."""
    body = {"object_kind": "push", **members}
    with runtime.database.transaction() as session:
        first = session.execute(text("SELECT coalesce(max(id), 0) FROM delivery")).scalar_one()
        rows = [
            {
                "connection_id": connection_id,
                "hook_id": hook_id,
                "level": Level.PROJECT,
                "subject_id": 10 + (hook_id or 0),
                "key": str(number),
                "verified_by": "token",
                "event": "Push Hook",
                "received_at": utc_now(),
                "body": zlib.compress(json.dumps({"project_id": 10 + (hook_id or 0), **body}).encode()),
            }
            for number, hook_id in enumerate(hooks, first)
        ]
        session.execute(insert(Delivery), rows)


def store(runtime: Runtime, hook: Hook | None, key: str, body: dict[str, Any], gone: tuple[str, int] = ("", 0)) -> None:
    """Store a delivery of a hook, or of one that is gone."""
    level, subject_id = (hook.level, hook.subject_id) if hook else gone
    with runtime.database.transaction() as session:
        delivery = Delivery(
            connection_id=body["connection_id"],
            hook_id=hook.id if hook else None,
            level=level,
            subject_id=subject_id,
            key=key,
            verified_by="token",
            body=zlib.compress(json.dumps({**body, "connection_id": None}).encode()),
        )
        session.add(delivery)


def chosen(runtime: Runtime) -> list[int]:
    with runtime.database.reading() as session:
        return choose_batch(session)


def test_hooks_take_turns_and_the_oldest_delivery_is_never_left_out(runtime: Runtime, connection_id: int) -> None:
    wait(runtime, connection_id, [2] * (2 * BATCH) + [3, 1, 3, None])
    with runtime.database.reading() as session:
        rows = session.execute(text("SELECT id, hook_id FROM delivery ORDER BY id")).all()
    hook_of: dict[int, int | None] = dict(rows)
    first = rows[0][0]

    ids = chosen(runtime)

    counts = Counter(hook_of[number] for number in ids)
    assert counts == {2: BATCH - 3, 3: 2, 1: 1, None: 1}
    assert [hook_of[number] for number in ids[:5]] == [2, 3, 1, 2, 3]
    assert [number for number in ids if hook_of[number] == 2] == list(range(first, first + BATCH - 3))


def test_choosing_a_batch_reads_no_more_if_more_is_waiting(runtime: Runtime, connection_id: int) -> None:
    costs = []
    for _ in range(2):
        wait(runtime, connection_id, [1] * 1500 + [2] * 1500)
        with listening(runtime.database) as asked:
            assert len(chosen(runtime)) == BATCH
        cost = _steps_on_sqlite if runtime.database.is_sqlite else _rows_on_postgresql
        with runtime.database.engine.connect() as connection:
            if not runtime.database.is_sqlite:
                connection.exec_driver_sql("ANALYZE delivery")
            costs.append(sum(cost(connection, statement, values) for statement, values in asked))

    few, many = costs
    assert 0 < many < few * 1.1


def _steps_on_sqlite(connection: DatabaseConnection, statement: str, values: Any) -> int:
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(count, 10)
    driver.execute(statement, values).fetchall()
    driver.set_progress_handler(None, 0)
    return steps


def _rows_on_postgresql(connection: DatabaseConnection, statement: str, values: Any) -> int:
    plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values).scalar_one()

    def read(node: dict[str, Any]) -> int:
        own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return int(own if "Relation Name" in node else 0) + sum(read(child) for child in node.get("Plans", ()))

    return read(plan[0]["Plan"])


def test_capabilities_get_the_events_that_they_want_each_once(runtime: Runtime, connection_id: int) -> None:
    got: list[tuple[int, str, int | None, datetime | None]] = []

    def keep(session: Session, owner: int, events: list[Event]) -> None:
        session.get_one(Hook, 1).card = {"code": "kept"}
        got.extend((owner, event.kind, event.project_id, event.at) for event in events)

    def fail(session: Session, owner: int, events: list[Event]) -> None:
        session.get_one(Hook, 2).card = {"code": "lost"}
        session.flush()
        raise ValueError

    wants = (("ingestion", {"pipeline", "note"}, keep), ("sync", {"emoji"}, fail))
    more = [Capability(name, event_kinds=frozenset(kinds), on_events=use) for name, kinds, use in wants]
    wanting = replace(runtime, capabilities=Capabilities((*runtime.capabilities.all, *more)))
    at = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
    wait(
        runtime, connection_id, [1], object_kind="pipeline", object_attributes={"created_at": "2026-11-01 09:30:00 UTC"}
    )
    wait(runtime, connection_id, [2], object_kind="note", object_attributes={"updated_at": "yesterday"})
    wait(runtime, connection_id, [3], object_kind="emoji")
    wait(runtime, connection_id, [3], object_kind="deployment")

    assert [apply_batch(wanting), apply_batch(wanting)] == [4, 0]
    assert sorted(got) == [(connection_id, "note", 12, None), (connection_id, "pipeline", 11, at)]
    with runtime.database.reading() as session:
        stored = session.execute(text("SELECT verdict, effect FROM delivery ORDER BY id")).all()
        cards = session.exec(select(Hook.card).order_by(col(Hook.id))).all()
    assert [tuple(row) for row in stored] == [
        ("applied", "passed_on"),
        ("ignored", "not_enabled"),
        ("poison", "failed"),
        ("ignored", "unused"),
    ]
    assert cards == [{"code": "kept"}, None, None]


@pytest.fixture
def groups(runtime: Runtime, connection_id: int) -> dict[str, Hook]:
    """A hook of a group, and one of the instance; project 11 is in its subgroup, 12 elsewhere, 13 is not known."""
    with runtime.database.transaction() as session:
        for group_id, parent_id, path in ((21, None, "a"), (22, 21, "a/b"), (23, None, "ab")):
            about = {"parent_gitlab_group_id": parent_id, "name": path, "full_path": path}
            session.add(GitLabGroup(connection_id=connection_id, gitlab_group_id=group_id, **about))
        for project_id, group_id, path in ((11, 22, "a/b/one"), (12, 23, "ab/two")):
            place = {"path_with_namespace": path, "namespace_path": path.rpartition("/")[0], "name": path}
            about = {"gitlab_namespace_id": group_id, "last_activity_at": utc_now(), **place}
            session.add(Repository(connection_id=connection_id, gitlab_project_id=project_id, **about))
        hooks = {
            "group": Hook(id=4, connection_id=connection_id, level=Level.GROUP, subject_id=21),
            "system": Hook(id=5, connection_id=connection_id, level=Level.SYSTEM),
        }
        session.add_all(hooks.values())
        session.flush()
        hooks["project"] = session.get_one(Hook, 1)
    return hooks


def outcomes(runtime: Runtime) -> list[tuple[str, str]]:
    while apply_batch(runtime):
        pass
    with runtime.database.reading() as session:
        return [(row.verdict, row.effect) for row in session.exec(select(Delivery).order_by(col(Delivery.id)))]


def hearing(runtime: Runtime) -> tuple[Runtime, list[int]]:
    """Return the runtime with a capability that wants pushes, and the deliveries that it gets."""
    told: list[int] = []

    def keep(_session: Session, _owner: int, events: list[Event]) -> None:
        told.extend(event.delivery_id for event in events)

    one = Capability(name="one", event_kinds=frozenset({"push"}), on_events=keep)
    return replace(runtime, capabilities=Capabilities((*runtime.capabilities.all, one))), told


def test_hook_of_a_group_or_one_that_is_gone_says_nothing_about_other_projects(
    runtime: Runtime, connection_id: int, groups: dict[str, Hook]
) -> None:
    runtime, told = hearing(runtime)

    def push(project_id: int) -> dict[str, Any]:
        return {
            "object_kind": "push",
            "project_id": project_id,
            "connection_id": connection_id,
            "after": utc_now().isoformat(),
        }

    for number, project_id in enumerate((11, 12, 13)):
        store(runtime, groups["group"], f"group-{number}", push(project_id))
    store(runtime, groups["system"], "system", push(12))
    store(runtime, None, "gone-group", push(12), (Level.GROUP, 21))
    store(runtime, None, "gone-project", push(12), (Level.PROJECT, 11))
    store(runtime, None, "gone-right", push(11), (Level.PROJECT, 11))
    store(runtime, None, "gone-unknown", push(11))

    assert outcomes(runtime) == [
        ("applied", "recent"),
        ("poison", "other_group"),
        ("ignored", "not_enabled"),
        ("applied", "recent"),
        ("poison", "other_group"),
        ("poison", "other_project"),
        ("applied", "recent"),
        ("poison", "hook_gone"),
    ]
    assert told == [1, 3, 4, 7]


def test_what_hooks_of_project_group_and_instance_report_together_has_one_effect(
    runtime: Runtime, connection_id: int, groups: dict[str, Hook]
) -> None:
    runtime, told = hearing(runtime)
    push = {"object_kind": "push", "project_id": 11, "connection_id": connection_id, "ref": "refs/heads/main"}
    there, back = {**push, "before": "a", "after": "b"}, {**push, "before": "b", "after": "a"}

    def report(hook: str, key: str, body: dict[str, Any], **more: Any) -> None:
        store(runtime, groups[hook], f"{hook}-{key}", {**body, **more})

    report("project", "1", there, commits=[{"id": "b"}])
    report("group", "1", there, commits=[{"id": "b"}])
    first = outcomes(runtime)
    # A later batch, in another order; a system hook hears of no commits.
    report("system", "1", there)
    report("group", "2", back)
    report("group", "3", there)
    report("project", "2", back)
    report("project", "3", there)
    later = outcomes(runtime)
    with runtime.database.transaction() as session:
        session.execute(text("UPDATE delivery SET received_at = :at"), {"at": utc_now() - OVERLAP * 2})
    report("system", "4", there)

    known = ("ignored", "twice")
    assert first == [("applied", "recent"), known]
    assert later[2:] == [known, ("applied", "recent"), ("applied", "recent"), known, known]
    # What happened long ago happens again.
    assert outcomes(runtime)[-1] == ("applied", "recent")
    assert told == [1, 4, 5, 8]
    with runtime.database.reading() as session:
        counted = session.exec(select(DeliveryCount.hook_id, DeliveryCount.outcome, DeliveryCount.number)).all()
    assert sorted(counted) == [(1, "received", 3), (4, "received", 3), (5, "received", 2)]
