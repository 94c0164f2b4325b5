from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from portal.audit import chain, verify
from portal.audit.models import AuditVerification
from portal.audit.verify import Verdict, verify_chain
from portal.audit_log import jobs
from portal.jobs import JobState
from portal.jobs.models import enqueue
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from tests.audit.conftest import Add, about, events_of
from tests.audit.tampering import KEEP, UNDO, copy, move, restore, swap, tamper

EVENTS = 20


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the chain longer than a batch."""
    monkeypatch.setattr(verify, "BATCH", 7)


def tell_head(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        enqueue(session, "audit.write_head", organization_id=None, title="head")
    run_pending(runtime)


def faults(runtime: Runtime) -> tuple[int, str]:
    fault = verify_chain(runtime).fault
    assert fault is not None
    return fault.number, fault.what


def test_log_as_it_was_written_is_whole(runtime: Runtime, add: Add) -> None:
    assert verify_chain(runtime) == Verdict(0)
    add(EVENTS, target=about(1, "\U0001f512"), path="a/b", list=[1, 2.5, None, True], ü={"deep": "ß"})

    assert verify_chain(runtime) == Verdict(EVENTS)


EDITS = (
    "action = 'other.done'",
    "at = '2020-01-01 00:00:00+00:00'",
    "organization_id = 2",
    "organization_id = NULL",
    "actor_kind = 'user'",
    "actor_id = '7'",
    "actor_name = 'Someone else'",
    "object_type = 'other'",
    "object_id = '99'",
    "object_name = 'other'",
    "result = 'refused'",
    "source_address = ''",
    "request_id = ''",
    "user_agent = 'x'",
    "details = '{\"a\": 1}'",
    "foreign_fields = '[\"object_name\"]'",
    "previous_hash = hash",
    "hash = previous_hash",
)
# What was done, the first event that is then wrong, and how that is worded.
CASES = {
    **{edit: ([f"UPDATE audit_event SET {edit} WHERE number = 9"], 9, "is not as it was written") for edit in EDITS},
    "delete": (["DELETE FROM audit_event WHERE number = 9"], 9, "is missing"),
    "delete the first": (["DELETE FROM audit_event WHERE number = 1"], 1, "is missing"),
    "delete and close the gap": (
        ["DELETE FROM audit_event WHERE number = 9", *(move(number, number - 1) for number in range(10, EVENTS + 1))],
        9,
        "is not as it was written",
    ),
    "swap": (swap(6, 15), 6, "is not as it was written"),
    "insert": (
        [*(move(number, number + 1) for number in range(EVENTS, 11, -1)), copy(3, 12)],
        12,
        "is not as it was written",
    ),
    "insert before the first": ([copy(3, 0)], 0, "was put in"),
    "insert far before the first": ([copy(3, -4)], -4, "was put in"),
    "add": ([copy(3, 21)], 21, "is not as it was written"),
    "cut the last 10": (["DELETE FROM audit_event WHERE number > 10"], 11, "and all up to 20 are missing"),
    "set the head back": (["UPDATE audit_head SET number = 19"], 20, "was added after the newest one"),
    "forge the head": (["UPDATE audit_head SET hash = 'x'"], 20, "is not the newest one that was written"),
}


def test_first_wrong_event_is_named_whatever_was_done(runtime: Runtime, add: Add) -> None:
    add(EVENTS)
    tamper(runtime, *KEEP)

    for name, (statements, number, what) in CASES.items():
        tamper(runtime, *statements)
        assert (name, *faults(runtime)) == (name, number, what)
        tamper(runtime, *UNDO)

    assert verify_chain(runtime) == Verdict(EVENTS)


def test_old_copy_is_named_by_the_head_file(runtime: Runtime, add: Add, head_file: Path) -> None:
    add(EVENTS)
    tell_head(runtime)
    tamper(runtime, *restore(10))

    number, what = faults(runtime)

    assert number == 11
    assert what.startswith("and all up to 20 are missing: the head file noted it at 2")


def test_empty_copy_is_named_by_the_head_file(runtime: Runtime, add: Add, head_file: Path) -> None:
    add(EVENTS)
    tell_head(runtime)
    tamper(runtime, *restore(0))

    assert faults(runtime)[0] == 1


def test_old_copy_that_went_on_is_named_by_the_head_file(runtime: Runtime, add: Add, head_file: Path) -> None:
    add(EVENTS)
    tell_head(runtime)
    tamper(runtime, *restore(10))
    add(EVENTS)
    tell_head(runtime)

    number, what = faults(runtime)

    assert number == 20
    assert what.startswith("differs from the one the head file recorded")


def test_another_key_fits_no_event(runtime: Runtime, add: Add) -> None:
    add(2)
    walk = verify._Walk(b"another key".ljust(32), iter(()))
    with runtime.database.reading() as session:
        first = session.connection().execute(select(chain.EVENTS).limit(1)).one()._asdict()

    with pytest.raises(verify._Broken, match="Event 1 is not as it was written"):
        walk.check(first)


def test_lines_of_the_head_file_that_are_not_ours_are_passed_over(runtime: Runtime, add: Add, head_file: Path) -> None:
    add(3)
    with head_file.open("a") as file:
        file.write("rubbish\n\n2026-01-01T00:00:00+00:00 99 cut-off")
    tell_head(runtime)

    assert verify_chain(runtime) == Verdict(3)
    assert [line.split()[1] for line in head_file.read_text().splitlines() if line.count(" ") == 2] == ["1", "99", "3"]


def test_head_file_has_one_line_for_each_newest_event(runtime: Runtime, add: Add, head_file: Path) -> None:
    add()
    tell_head(runtime)
    add(2)
    tell_head(runtime)
    tell_head(runtime)

    assert [line.split()[1] for line in head_file.read_text().splitlines()] == ["1", "3"]


def test_head_file_that_cannot_be_used_stops_no_change_and_is_told_when_verifying(
    runtime: Runtime, add: Add, head_file: Path
) -> None:
    head_file.mkdir()
    add()
    tell_head(runtime)
    with runtime.database.transaction() as session:
        enqueue(session, jobs.VERIFY, organization_id=None, title=jobs.TITLE)

    (job,) = run_pending(runtime)

    assert len(events_of(runtime)) == 1
    assert job.state == JobState.FAILED
    assert job.failure["code"] == "audit_head_unreadable"


@pytest.mark.parametrize("broken", [False, True])
def test_job_keeps_what_it_found(runtime: Runtime, add: Add, broken: bool) -> None:
    add(EVENTS)
    if broken:
        tamper(runtime, "DELETE FROM audit_event WHERE number = 9")
    with runtime.database.transaction() as session:
        enqueue(session, jobs.VERIFY, organization_id=None, title=jobs.TITLE)

    (job,) = run_pending(runtime)

    with runtime.database.reading() as session:
        found = session.exec(select(AuditVerification)).one()
    assert job.state == JobState.SUCCEEDED
    assert (found.checked, found.fault_number, found.fault) == ((8, 9, "is missing") if broken else (EVENTS, None, ""))
    assert job.message == ("Event 9 is missing." if broken else "All 20 events are as they were written.")
