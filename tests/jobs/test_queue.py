from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from portal.db import utc_now
from portal.jobs import Job, enqueue, find_unfinished
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from tests.accounts.at_once import crowd
from tests.jobs.conftest import states
from tests.jobs.sample_jobs import noted


def engine_rows(runtime: Runtime) -> list[tuple[Any, ...]]:
    schema = "" if runtime.database.is_sqlite else "dbos."
    statement = text(f"SELECT workflow_uuid, queue_partition_key, serialization FROM {schema}workflow_status")
    with runtime.database.reading() as session:
        return [tuple(row) for row in session.connection().execute(statement)]


def test_enqueue_writes_our_row_and_the_engines_together(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        job = enqueue(session, "sample.note", {"n": 1}, organization_id=1, title="Note", lane="connection:3")

    assert engine_rows(runtime) == [(f"{job.public_id}.0", "connection:3", "portable_json")]
    assert states(runtime.database) == {"Queued": 1}


def test_enqueue_rolled_back_leaves_no_job(runtime: Runtime) -> None:
    def enqueue_and_fail() -> None:
        with runtime.database.transaction() as session:
            enqueue(session, "sample.note", organization_id=1, title="Note")
            raise LookupError

    with pytest.raises(LookupError):
        enqueue_and_fail()

    assert states(runtime.database) == {}
    assert engine_rows(runtime) == []


def test_enqueue_refuses_what_is_not_json(runtime: Runtime) -> None:
    with runtime.database.transaction() as session, pytest.raises(TypeError):
        enqueue(session, "sample.note", {"when": utc_now()}, organization_id=1, title="Note")


def test_enqueue_gives_an_organization_a_lane_of_its_own(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        lanes = [enqueue(session, "sample.note", organization_id=number, title="Note").lane for number in (1, 2, None)]

    assert lanes == ["organization:1", "organization:2", "portal"]


def test_key_returns_the_unfinished_job_instead_of_a_second_one(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        first = enqueue(session, "sample.note", organization_id=1, title="Note", key="catalogue:1")
        second = enqueue(session, "sample.note", organization_id=1, title="Note", key="catalogue:1")
        other = enqueue(session, "sample.note", organization_id=1, title="Note", key="catalogue:2")

    assert second.id == first.id
    assert other.id != first.id
    assert len(engine_rows(runtime)) == 2


def test_key_is_free_again_when_the_job_has_finished(runtime: Runtime, log: str) -> None:
    with runtime.database.transaction() as session:
        enqueue(session, "sample.note", {"log": log, "line": "a"}, organization_id=1, title="Note", key="k")
    run_pending(runtime)
    with runtime.database.transaction() as session:
        enqueue(session, "sample.note", {"log": log, "line": "b"}, organization_id=1, title="Note", key="k")
    run_pending(runtime)

    with runtime.database.reading() as session:
        assert find_unfinished(session, "k") is None
    assert noted(log) == ["a", "b"]


def test_key_taken_in_parallel_makes_one_job(runtime: Runtime) -> None:
    def enqueue_together() -> str:
        with runtime.database.transaction() as session:
            return enqueue(session, "sample.note", organization_id=1, title="Note", key="same").public_id

    public_ids = set(crowd(runtime.database, "job", *[enqueue_together] * 6))

    assert len(public_ids) == 1
    assert states(runtime.database) == {"Queued": 1}
    assert len(engine_rows(runtime)) == 1


def test_enqueue_before_the_engine_has_tables_keeps_the_job(bare_runtime: Runtime) -> None:
    with bare_runtime.database.transaction() as session:
        enqueue(session, "sample.note", organization_id=1, title="Note")

    with bare_runtime.database.reading() as session:
        assert session.exec(select(Job.handed_over_at)).all() == [None]


def test_enqueue_leaves_nothing_running_in_a_web_process(runtime: Runtime) -> None:
    before = threading.active_count()

    with runtime.database.transaction() as session:
        enqueue(session, "sample.note", organization_id=1, title="Note")

    assert threading.active_count() == before
