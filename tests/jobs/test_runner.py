from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import col, select

from portal.errors import Card, Layer
from portal.jobs import ItemState, Job, JobContext, JobItem, JobState, JobSuperseded
from portal.jobs.runner import MAX_ATTEMPTS, Runner
from portal.jobs.service import request_stop
from portal.jobs.testing import run_pending
from portal.requestinfo import RequestInfo, current_request_info, requesting
from portal.runtime import Runtime
from tests.jobs.conftest import reload
from tests.jobs.sample_jobs import CARD, job, noted
from tests.jobs.waiting import until

Add = Callable[..., Job]
seen: dict[str, Any] = {}


@job("test.look_around")
def look_around(context: JobContext) -> None:
    seen["request"] = current_request_info()


@job("test.steal_from_itself")
def lose_the_claim(context: JobContext, how: str) -> None:
    """Let another worker claim the job, then try to write as the first one."""
    other = Runner(context.runtime, executor_id="other")
    with context.runtime.database.reading() as session:
        job = session.get_one(Job, context.job_id)
    assert other._claim(job) is not None
    seen["refused"] = False
    try:
        if how == "progress":
            context.progress(50, 100)
        elif how == "ask":
            context.raise_if_stopped()
        else:
            with context.transaction() as session:
                context.record_item(session, "x", ItemState.SUCCEEDED)
    except JobSuperseded:
        seen["refused"] = True
        raise


@job("test.count_quickly")
def count_quickly(context: JobContext) -> None:
    for number in range(1000):
        context.progress(number + 1, 1000, f"{number + 1} read")


@job("test.write_where_nothing_can_be_written")
def write_where_nothing_can_be_written(context: JobContext) -> None:
    database = context.runtime.database
    with database.transaction() as session:
        run = session.connection().exec_driver_sql
        run("PRAGMA query_only=ON" if database.is_sqlite else "SET TRANSACTION READ ONLY")
        try:
            run("DELETE FROM job_item")
        finally:
            if database.is_sqlite:
                run("PRAGMA query_only=OFF")


def attempt(runtime: Runtime, job: Job, **options: Any) -> Job:
    """Run the job's current dispatch once."""
    Runner(runtime, backoff_seconds=0, **options).run(job.public_id, reload(runtime.database, job).dispatch)
    return reload(runtime.database, job)


def test_job_that_returns_has_succeeded(runtime: Runtime, add: Add, log: str) -> None:
    add("sample.note", log=log, line="hello")

    [job] = run_pending(runtime)

    assert (job.state, job.attempts, job.failure, job.is_finished) == (JobState.SUCCEEDED, 1, None, True)
    assert noted(log) == ["hello"]


def test_job_runs_once_however_often_its_dispatch_is_delivered(runtime: Runtime, add: Add, log: str) -> None:
    job = add("sample.note", log=log, line="hello")

    for _ in range(3):
        Runner(runtime).run(job.public_id, 0)

    assert noted(log) == ["hello"]


def test_job_keeps_the_request_id_of_who_asked(runtime: Runtime, add: Add) -> None:
    with requesting(RequestInfo(request_id="0123456789abcdef", source_address="192.0.2.1")):
        add("test.look_around")

    run_pending(runtime)

    assert seen["request"] == RequestInfo(request_id="0123456789abcdef", source_address="job")


def test_job_whose_database_takes_no_change_says_so_and_is_tried_again(runtime: Runtime, add: Add) -> None:
    job = attempt(runtime, add("test.write_where_nothing_can_be_written"))

    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert job.failure["code"] == "disk_read_only"
    assert runtime.database.place in Card.from_json(job.failure).sentence


def test_progress_is_throttled_but_its_last_word_is_kept(runtime: Runtime, add: Add) -> None:
    add("test.count_quickly")

    [job] = run_pending(runtime)

    assert (job.done, job.total, job.percent, job.message) == (1000, 1000, 100, "1000 read")


def test_failure_told_by_the_job_fails_it_with_its_card_at_once(runtime: Runtime, add: Add) -> None:
    add("sample.fails")

    [job] = run_pending(runtime)

    assert (job.state, job.failure, job.attempts) == (JobState.FAILED, CARD.to_json(), 1)


def test_portal_error_becomes_a_card(runtime: Runtime, add: Add) -> None:
    add("sample.refused")

    [job] = run_pending(runtime)

    assert job.failure is not None
    card = Card.from_json(job.failure)
    assert (card.code, card.params["reason"], card.sentence, card.layer) == (
        "job_refused",
        "conflict",
        "It is gone.",
        Layer.PORTAL,
    )


def test_retry_later_waits_and_then_fails_with_the_card(runtime: Runtime, add: Add) -> None:
    job = add("sample.later", after_seconds=30)

    first = attempt(runtime, job)
    for _ in range(MAX_ATTEMPTS - 1):
        last = attempt(runtime, job)

    assert (first.state, first.dispatch, first.not_before is not None) == (JobState.QUEUED, 1, True)
    assert (last.state, last.attempts, last.not_before) == (JobState.FAILED, MAX_ATTEMPTS, None)
    assert last.failure == CARD.to_json()


def test_mistake_is_tried_five_times_then_parked_without_its_text(runtime: Runtime, add: Add) -> None:
    job = add("sample.mistake")

    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(ZeroDivisionError):
            run_pending(runtime)

    parked = reload(runtime.database, job)
    assert run_pending(runtime) == []
    assert (parked.state, parked.attempts) == (JobState.FAILED, MAX_ATTEMPTS)
    assert "mistake of ours" not in str(parked.failure)


def test_job_of_another_version_waits_for_a_worker_that_knows_it(runtime: Runtime, add: Add) -> None:
    job = add("sample.unheard_of")

    waiting = attempt(runtime, job)

    assert waiting.state == JobState.QUEUED
    assert waiting.failure is not None
    assert waiting.failure["code"] == "job_unknown"


def test_stop_of_a_queued_job_ends_it_at_once(runtime: Runtime, add: Add, log: str) -> None:
    job = add("sample.note", log=log, line="never")

    with runtime.database.transaction() as session:
        request_stop(session, job.public_id)

    assert run_pending(runtime) == []
    assert reload(runtime.database, job).state == JobState.STOPPED
    assert noted(log) == []


def test_stop_of_a_running_job_ends_it_at_its_next_question(runtime: Runtime, add: Add, log: str, gate: Any) -> None:
    job = add("sample.gated", log=log, line="a", gate=str(gate))
    running = threading.Thread(target=attempt, args=(runtime, job), daemon=True)
    running.start()
    until(lambda: "begin a" in noted(log))

    with runtime.database.transaction() as session:
        request_stop(session, job.public_id)
    running.join(10)

    assert reload(runtime.database, job).state == JobState.STOPPED
    assert noted(log) == ["begin a"]


def test_interrupted_job_goes_back_without_losing_an_attempt(runtime: Runtime, add: Add, log: str, gate: Any) -> None:
    job = add("sample.gated", log=log, line="a", gate=str(gate))
    interrupted = threading.Event()
    running = threading.Thread(target=attempt, args=(runtime, job), kwargs={"interrupted": interrupted}, daemon=True)
    running.start()
    until(lambda: "begin a" in noted(log))

    interrupted.set()
    running.join(10)

    back = reload(runtime.database, job)
    assert (back.state, back.attempts, back.dispatch, back.fence) == (JobState.QUEUED, 0, 1, 1)


def test_interrupted_worker_claims_nothing(runtime: Runtime, add: Add, log: str) -> None:
    job = add("sample.note", log=log, line="a")
    interrupted = threading.Event()
    interrupted.set()

    back = attempt(runtime, job, interrupted=interrupted)

    assert (back.state, back.attempts, back.dispatch) == (JobState.QUEUED, 0, 1)
    assert noted(log) == []


@pytest.mark.parametrize("how", ["progress", "ask", "transaction"])
def test_superseded_worker_writes_nothing_more(runtime: Runtime, add: Add, how: str) -> None:
    job = add("test.steal_from_itself", how=how)

    after = attempt(runtime, job)

    assert seen["refused"]
    assert (after.state, after.executor_id, after.fence, after.done) == (JobState.RUNNING, "other", 2, 0)
    with runtime.database.reading() as session:
        assert session.exec(select(JobItem)).all() == []


def test_crashed_job_is_parked_at_its_sixth_claim(runtime: Runtime, add: Add, log: str) -> None:
    job = add("sample.note", log=log, line="a")
    runner = Runner(runtime)
    for _ in range(MAX_ATTEMPTS):  # A worker that dies has claimed the job and records nothing.
        assert runner._claim(reload(runtime.database, job))

    parked = attempt(runtime, job)

    assert parked.state == JobState.FAILED
    assert parked.failure is not None
    assert parked.failure["code"] == "job_crashed"
    assert noted(log) == []


def test_second_attempt_skips_items_that_are_done(runtime: Runtime, add: Add, log: str) -> None:
    job = add("sample.items", log=log, count=5)
    with runtime.database.transaction() as session:
        for number in range(3):
            session.add(JobItem(job_id=job.id or 0, ref=f"item:{number}", state=ItemState.SUCCEEDED))

    run_pending(runtime)

    assert noted(log) == ["item:3", "item:4"]
    with runtime.database.reading() as session:
        refs = session.exec(select(JobItem.ref).order_by(col(JobItem.id))).all()
    assert refs == [f"item:{number}" for number in range(5)]
