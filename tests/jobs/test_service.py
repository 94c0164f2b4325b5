from __future__ import annotations

from collections.abc import Callable

import pytest

from portal.errors import NotFound
from portal.jobs import ItemState, Job, JobItem, enqueue
from portal.jobs.service import ITEMS_SHOWN, PAGE_SIZE, find_job, list_jobs, request_stop, summarize_items
from portal.jobs.testing import run_pending
from portal.runtime import Runtime

Add = Callable[..., Job]


def test_find_job_shows_nothing_of_another_organization(runtime: Runtime, add: Add) -> None:
    job = add("sample.note")

    with runtime.database.reading() as session:
        assert find_job(session, 1, job.public_id).id == job.id
        with pytest.raises(NotFound):
            find_job(session, 2, job.public_id)


def test_list_jobs_pages_newest_first_without_those_of_others(runtime: Runtime, add: Add) -> None:
    jobs = [add("sample.note") for _ in range(PAGE_SIZE + 2)]
    with runtime.database.transaction() as session:
        enqueue(session, "sample.note", organization_id=2, title="Theirs")
        enqueue(session, "sample.note", organization_id=None, title="The portal's own")

    with runtime.database.reading() as session:
        first = list_jobs(session, 1)
        second = list_jobs(session, 1, before=first.before)

    newest_first = [job.id for job in reversed(jobs)]
    assert [job.id for job in first.jobs + second.jobs] == newest_first
    assert (len(first.jobs), second.before) == (PAGE_SIZE, None)


def test_list_jobs_about_one_thing(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        about = enqueue(session, "sample.note", organization_id=1, title="A", subject="connection:1")
        enqueue(session, "sample.note", organization_id=1, title="B", subject="connection:2")

    with runtime.database.reading() as session:
        assert [job.id for job in list_jobs(session, 1, subject="connection:1").jobs] == [about.id]


def test_summarize_items_counts_all_and_shows_failures_first(runtime: Runtime, add: Add) -> None:
    job = add("sample.note")
    with runtime.database.transaction() as session:
        for number in range(ITEMS_SHOWN + 5):
            state = ItemState.FAILED if number == ITEMS_SHOWN + 3 else ItemState.SUCCEEDED
            session.add(JobItem(job_id=job.id or 0, ref=f"item:{number}", state=state))

    with runtime.database.reading() as session:
        summary = summarize_items(session, job.id or 0)

    assert summary.counts == {"Succeeded": ITEMS_SHOWN + 4, "Failed": 1}
    assert [item.ref for item in summary.entries[:2]] == [f"item:{ITEMS_SHOWN + 3}", "item:0"]
    assert (len(summary.entries), summary.total) == (ITEMS_SHOWN, ITEMS_SHOWN + 5)
    assert summary.without_items().entries == []


def test_stop_of_a_finished_job_changes_nothing(runtime: Runtime, add: Add, log: str) -> None:
    job = add("sample.note", log=log, line="a")
    run_pending(runtime)

    with runtime.database.transaction() as session:
        stopped = request_stop(session, job.public_id)

    assert (stopped.state, stopped.stop_requested_at) == ("Succeeded", None)


def test_stop_of_an_unknown_job_is_not_found(runtime: Runtime) -> None:
    with runtime.database.transaction() as session, pytest.raises(NotFound):
        request_stop(session, "nothing")
