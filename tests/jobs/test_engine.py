"""Real worker processes: killed, stopped, frozen, and several at a time."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import select

from portal.db import IDLE_IN_TRANSACTION_SECONDS
from portal.installation import look_for_copy
from portal.installation.identity import ONLY_ID
from portal.installation.models import Instance
from portal.jobs import Job, JobItem, JobState, enqueue
from portal.jobs.engine_settings import Pace
from portal.jobs.models import Executor
from portal.jobs.testing import QUICK, running_worker
from portal.runtime import Runtime
from tests.jobs.conftest import StartWorker, reload, states
from tests.jobs.sample_jobs import noted
from tests.jobs.waiting import until
from tests.jobs.worker_process import WorkerProcess

Add = Callable[..., Job]


def all_finished(runtime: Runtime) -> bool:
    return not {JobState.QUEUED, JobState.RUNNING} & states(runtime.database).keys()


def executors(runtime: Runtime) -> list[Executor]:
    with runtime.database.reading() as session:
        return list(session.exec(select(Executor)))


def end(worker: WorkerProcess) -> int:
    worker.send_signal(signal.SIGTERM)
    return worker.wait(20)


def test_worker_in_this_process_does_jobs(runtime: Runtime, add: Add, log: str) -> None:
    with running_worker(runtime):
        job = add("sample.note", log=log, line="a")
        until(lambda: reload(runtime.database, job).is_finished)

    assert noted(log) == ["a"]
    assert executors(runtime) == []


def test_worker_killed_half_way_loses_nothing(runtime: Runtime, add: Add, log: str, start_worker: StartWorker) -> None:
    for number in range(60):
        add("sample.note", log=log, line=str(number), lane=f"lane:{number % 10}")
    first = start_worker()
    until(lambda: len(noted(log)) >= 20)

    first.kill()
    first.wait()
    start_worker()
    until(lambda: all_finished(runtime))

    assert states(runtime.database) == {JobState.SUCCEEDED: 60}
    assert set(noted(log)) == {str(number) for number in range(60)}


@pytest.mark.parametrize("item", [0, 7, 19])
def test_job_whose_worker_died_at_an_item_does_every_item_once(
    runtime: Runtime, add: Add, log: str, start_worker: StartWorker, item: int
) -> None:
    job = add("sample.items", log=log, count=20, die_before=item)

    start_worker().wait()
    start_worker()
    until(lambda: reload(runtime.database, job).is_finished)

    assert noted(log) == [f"item:{number}" for number in range(20)]
    assert reload(runtime.database, job).attempts == 2


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_second_worker_takes_over_from_a_dead_one(
    runtime: Runtime, add: Add, log: str, gate: Path, start_worker: StartWorker
) -> None:
    first = start_worker()
    until(lambda: executors(runtime))
    jobs = [add("sample.gated", log=log, line=str(n), gate=str(gate), lane=f"lane:{n}") for n in range(4)]
    until(lambda: len(noted(log)) == 4)
    start_worker()
    until(lambda: len(executors(runtime)) == 2)

    first.kill()
    gate.touch()
    until(lambda: all_finished(runtime))

    assert Counter(noted(log)) == {**{f"begin {n}": 2 for n in range(4)}, **{f"end {n}": 1 for n in range(4)}}
    assert [reload(runtime.database, job).attempts for job in jobs] == [2, 2, 2, 2]


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_frozen_worker_that_wakes_up_writes_nothing(
    runtime: Runtime, add: Add, log: str, gate: Path, start_worker: StartWorker
) -> None:
    frozen = start_worker()
    job = add("sample.stubborn", log=log, gate=str(gate))
    until(lambda: noted(log) == ["begin"])

    frozen.send_signal(signal.SIGSTOP)
    start_worker()
    # If it froze inside a transaction, its locks are only released after the database's own timeout.
    until(lambda: noted(log) == ["begin", "begin"], 30 + IDLE_IN_TRANSACTION_SECONDS)
    gate.touch()
    until(lambda: reload(runtime.database, job).is_finished)
    frozen.send_signal(signal.SIGCONT)
    code = end(frozen)

    assert noted(log) == ["begin", "begin", "end"]
    assert (code, reload(runtime.database, job).fence) == (0, 2)
    with runtime.database.reading() as session:
        assert len(session.exec(select(JobItem)).all()) == 1


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_workers_that_start_together_enter_their_database_once(runtime: Runtime) -> None:
    with ThreadPoolExecutor(1) as pool, runtime.database.transaction() as first:
        first.add(Instance(id=ONLY_ID, epoch="first"))
        first.flush()
        second = pool.submit(look_for_copy, runtime.database)
        until(lambda: waits_for_a_lock(runtime))
        first.commit()
        assert second.result(30) is False

    with runtime.database.reading() as session:
        assert session.exec(select(Instance.epoch)).all() == ["first"]


def waits_for_a_lock(runtime: Runtime) -> bool:
    statement = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = :name"
    with runtime.database.reading() as session:
        name = runtime.database.engine.url.database
        return bool(session.connection().execute(text(statement), {"name": name}).scalar_one())


def test_lane_holds_two_jobs_and_leaves_room_for_others(
    runtime: Runtime, add: Add, log: str, gate: Path, start_worker: StartWorker
) -> None:
    for number in range(6):
        add("sample.gated", log=log, line=f"busy {number}", gate=str(gate), lane="connection:1")
    start_worker()
    until(lambda: len(noted(log)) == 2)

    add("sample.note", log=log, line="other", lane="connection:2")
    until(lambda: "other" in noted(log))
    begun = {line for line in noted(log) if line.startswith("begin")}
    gate.touch()
    until(lambda: all_finished(runtime))

    assert begun == {"begin busy 0", "begin busy 1"}
    assert states(runtime.database) == {JobState.SUCCEEDED: 7}


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_lane_limit_holds_over_two_workers(
    runtime: Runtime, add: Add, log: str, gate: Path, start_worker: StartWorker
) -> None:
    start_worker()
    start_worker()
    until(lambda: len(executors(runtime)) == 2)
    for number in range(6):
        add("sample.gated", log=log, line=str(number), gate=str(gate), lane="connection:1")
    until(lambda: len(noted(log)) >= 2)

    add("sample.note", log=log, line="later", lane="connection:2")
    until(lambda: "later" in noted(log))
    begun = len([line for line in noted(log) if line.startswith("begin")])
    gate.touch()
    until(lambda: all_finished(runtime))

    assert begun == 2


def test_poison_is_parked_and_harms_no_other_job(
    runtime: Runtime, add: Add, log: str, start_worker: StartWorker
) -> None:
    for number in range(40):
        add("sample.note", log=log, line=str(number), lane=f"lane:{number % 7}")
    poison = add("sample.lethal", log=log, lane="lane:poison")
    starts = 0

    while not reload(runtime.database, poison).is_finished:
        worker = start_worker(silent_seconds=1)
        starts += 1
        assert starts < 10
        until(lambda worker=worker: worker.returncode is not None or reload(runtime.database, poison).is_finished)  # type: ignore[misc]
    until(lambda: all_finished(runtime))

    assert states(runtime.database) == {JobState.SUCCEEDED: 40, JobState.FAILED: 1}
    assert (starts, noted(log).count("lethal")) == (6, 5)


def test_sigterm_hands_running_jobs_back_and_ends_with_zero(
    runtime: Runtime, add: Add, log: str, gate: Path, start_worker: StartWorker
) -> None:
    job = add("sample.gated", log=log, line="a", gate=str(gate))
    worker = start_worker()
    until(lambda: noted(log) == ["begin a"])

    code = end(worker)
    back = reload(runtime.database, job)
    gate.touch()
    start_worker()
    until(lambda: reload(runtime.database, job).is_finished)

    assert (code, back.state, back.attempts) == (0, JobState.QUEUED, 0)
    assert noted(log) == ["begin a", "begin a", "end a"]
    assert executors(runtime)


def test_sigterm_ends_even_a_job_that_does_not_ask(
    runtime: Runtime, add: Add, log: str, gate: Path, start_worker: StartWorker
) -> None:
    job = add("sample.stubborn", log=log, gate=str(gate))
    worker = start_worker(grace_seconds=1)
    until(lambda: noted(log) == ["begin"])

    code = end(worker)

    assert (code, reload(runtime.database, job).state, reload(runtime.database, job).attempts) == (0, "Queued", 0)
    assert executors(runtime) == []


def test_sigterm_at_any_moment_loses_no_job(runtime: Runtime, add: Add, log: str, start_worker: StartWorker) -> None:
    for number in range(80):
        add("sample.items", log=log, count=1, lane=f"lane:{number % 8}")
    codes = []

    for share in (10, 30, 60):
        worker = start_worker()
        until(lambda share=share: len(noted(log)) >= share)  # type: ignore[misc]
        codes.append(end(worker))
    start_worker()
    until(lambda: all_finished(runtime))

    assert codes == [0, 0, 0]
    assert states(runtime.database) == {JobState.SUCCEEDED: 80}
    assert len(noted(log)) == 80


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_second_worker_on_sqlite_stands_by(
    runtime: Runtime, add: Add, log: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    first = start_worker()
    until(lambda: executors(runtime))
    second = start_worker()
    until(lambda: "worker_stands_by" in (tmp_path / "workers.log").read_text())
    pids = [row.pid for row in executors(runtime)]

    first.kill()
    add("sample.note", log=log, line="a")
    until(lambda: noted(log) == ["a"])

    assert pids == [first.pid]
    assert end(second) == 0


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_worker_that_stands_by_ends_at_sigterm(runtime: Runtime, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker()
    until(lambda: executors(runtime))
    second = start_worker()
    until(lambda: "worker_stands_by" in (tmp_path / "workers.log").read_text())

    assert end(second) == 0


def test_job_enqueued_before_the_engine_had_tables_is_done(bare_runtime: Runtime, log: str) -> None:
    with bare_runtime.database.transaction() as session:
        enqueue(session, "sample.note", {"log": log, "line": "early"}, organization_id=1, title="Early")

    with running_worker(bare_runtime):
        until(lambda: noted(log) == ["early"])


def test_new_job_begins_without_waiting_for_a_sweep(runtime: Runtime, add: Add, log: str) -> None:
    with running_worker(runtime, replace(QUICK, sweep_seconds=3600, poll_seconds=Pace().poll_seconds)):
        until(lambda: executors(runtime))
        add("sample.note", log=log, line="a")
        until(lambda: noted(log))

    assert Pace().poll_seconds < 1
