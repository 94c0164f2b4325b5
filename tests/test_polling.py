"""Queries that run on every poll find their rows by an index, however many others there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlmodel import SQLModel

from portal.db import Database
from portal.installation import look_for_copy
from portal.jobs import enqueue
from portal.jobs.engine_settings import Pace
from portal.jobs.schedule import enqueue_due
from portal.jobs.sweeper import Sweeper
from portal.jobs.workers import beat, forget_silent, heard_within
from portal.runtime import Runtime
from tests.support.paired import Paired
from tests.support.people import Cast
from tests.support.schemas import type_of
from tests.support.visitor import Visitor

# Tables that grow with time, or with what GitLab has. Enablements are left out: counting a catalogue joins them all.
LARGE = {
    "alarm_mail",
    "audit_event",
    "authorization_attempt",
    "catalogue_run",
    "credential_event",
    "delivery",
    "gitlab_group",
    "health_check",
    "hook",
    "incident",
    "job",
    "job_item",
    "outbound_try",
    "repository",
    "retired_token",
    "session",
    "sign_in_attempt",
}
VALUES: dict[str | type, str] = {
    "connection_id": "1000 + g % 40",
    "user_id": "1000 + g % 40",
    bool: "false",
    bytes: "'x'",
    datetime: "now() - g * interval '1 minute'",
    int: "1000000 + g",
    object: "'{}'",
    str: "g::text",
}
Asked = tuple[str, Any]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def crowded(runtime: Runtime) -> Runtime:
    """A portal with some thousand rows in each large table, for which PostgreSQL has to update its statistics."""
    if runtime.database.is_sqlite:
        return runtime
    with runtime.database.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))  # Foreign keys do not matter here.
        for name in LARGE:
            columns = SQLModel.metadata.tables[name].columns
            values = ", ".join(VALUES.get(column.name) or VALUES[type_of(column)] for column in columns)
            names = ", ".join(f'"{column.name}"' for column in columns)
            session.execute(text(f'INSERT INTO "{name}" ({names}) SELECT {values} FROM generate_series(1, 3000) AS g'))
        session.execute(text("ANALYZE"))
    return runtime


@contextmanager
def listening(database: Database) -> Iterator[list[Asked]]:
    """Yield the statements that the block runs, with their values."""
    asked: list[Asked] = []

    def listen(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", listen)
    try:
        yield asked
    finally:
        event.remove(database.engine, "before_cursor_execute", listen)


def full_scans(database: Database, asked: list[Asked]) -> list[str]:
    """Return the statements that read a whole large table, each with its query plan."""
    found: list[str] = []
    with database.engine.connect() as connection:
        scans_of = _scans_on_sqlite if database.is_sqlite else _scans_on_postgresql
        for statement, values in dict(asked).items():
            found += [f"{scan}: {statement}" for scan in scans_of(connection, statement, values)]
    return found


def _scans_on_sqlite(connection: Connection, statement: str, values: Any) -> Iterator[str]:
    partial = set(
        connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE sql LIKE '%INDEX% WHERE %'").scalars()
    )
    names = dict(re.findall(r'(?:FROM|JOIN) "?(\w+)"? AS "?(\w+)"?', statement))
    aliases = {alias: name for name, alias in names.items()}
    for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values):
        scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", row.detail)
        if scan and aliases.get(scan[1], scan[1]) in LARGE and scan[2] not in partial:
            yield row.detail


def _scans_on_postgresql(connection: Connection, statement: str, values: Any) -> Iterator[str]:
    # A table with few rows is read whole even though there is an index.
    connection.exec_driver_sql("SET enable_seqscan = off")
    partial = set(
        connection.exec_driver_sql("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%% WHERE %%'").scalars()
    )
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()

    def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("Plans", ()):
            yield from nodes(child)

    for node in nodes(plan[0]["Plan"]):
        kind, table, index = node["Node Type"], node.get("Relation Name"), node.get("Index Name")
        is_narrow = kind == "Bitmap Heap Scan" or "Index Cond" in node or index in partial
        if table in LARGE and kind.endswith("Scan") and not is_narrow:
            yield f"{kind} of {table} {index or ''}"


def test_worker_that_looks_for_work_reads_no_large_table(crowded: Runtime, paired: Paired) -> None:
    database, sweeper = crowded.database, Sweeper(crowded.database, Pace())
    with listening(database) as asked:
        sweeper.hand_over_waiting()
        sweeper.revive_lost(0)
        beat(database, "mine")
        heard_within(database, 30)
        forget_silent(database)
        look_for_copy(database)
        assert len(enqueue_due(crowded)) >= 3

    assert len(asked) > 20
    assert full_scans(database, asked) == []


def test_page_that_asks_again_by_itself_reads_no_large_table(
    crowded: Runtime, paired: Paired, cast: Cast, owner: Visitor
) -> None:
    with crowded.database.transaction() as session:
        job = enqueue(session, "sample", organization_id=cast.owner.organization_id, title="Sample")
    with listening(crowded.database) as asked:
        for path in (
            "/jobs",
            f"/jobs/{job.public_id}",
            "/audit/verification",
            "/connections/gitlab/authorization/status",
            "/connections/gitlab/catalogue",
            "/connections/gitlab/disconnection",
            "/connections/gitlab/health/progress",
        ):
            assert owner.get(path, htmx=True, headers={"X-Polling": "1"}).status_code in {200, 204, 302}, path

    assert full_scans(crowded.database, asked) == []
