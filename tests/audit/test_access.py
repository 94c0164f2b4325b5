"""The access log: many writers at once, sealed in batches that the audit log covers, and deleted when it is old."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlmodel import select

from portal import audit
from portal.actor import Actor, ActorKind
from portal.audit import access
from portal.audit.chain import HEAD
from portal.audit.models import AccessEntry
from portal.audit.verify import read_head, verify_chain
from portal.jobs import enqueue
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from tests.audit.conftest import Add, about, events_of
from tests.audit.tampering import tamper

THREADS, USES = 8, 200
KEY = Actor(ActorKind.API_KEY, "key-1", "Nightly build")


def use(runtime: Runtime, count: int = 1) -> None:
    for _ in range(count):
        with runtime.database.transaction() as session:
            audit.record_use(session, KEY, "repository.read", about(17, "group/repo", kind="repository"))


def sealed(runtime: Runtime) -> int:
    with runtime.database.transaction() as session:
        return access.seal(session, runtime.vault.audit_key)


def entries(runtime: Runtime) -> list[AccessEntry]:
    with runtime.database.reading() as session:
        return list(session.exec(select(AccessEntry).order_by(AccessEntry.id)))  # type: ignore[arg-type]


def test_many_writers_at_once_wait_for_no_head_of_the_chain(runtime: Runtime, add: Add) -> None:
    add()
    threads = [threading.Thread(target=use, args=(runtime, USES)) for _ in range(THREADS)]
    with runtime.database.reading() as session:
        if not runtime.database.is_sqlite:  # There, any lock keeps every writer out.
            session.execute(select(HEAD.c.number).with_for_update())
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(entries(runtime)) == THREADS * USES
    assert read_head(runtime.database).number == 1


def test_batch_is_one_event_and_what_comes_later_is_in_the_next(runtime: Runtime) -> None:
    assert (access.has_unsealed(runtime.database), sealed(runtime)) == (False, 0)
    use(runtime, 3)

    assert (access.has_unsealed(runtime.database), sealed(runtime), sealed(runtime)) == (True, 3, 0)
    use(runtime)
    assert sealed(runtime) == 1

    kept = entries(runtime)
    assert [entry.batch for entry in kept] == [kept[2].id] * 3 + [kept[3].id]
    assert [(event.action, event.object_id, event.details["entries"]) for event in events_of(runtime)] == [
        ("access_log.sealed", str(kept[2].id), 3),
        ("access_log.sealed", str(kept[3].id), 1),
    ]
    assert verify_chain(runtime).fault is None


COLUMNS = "at, organization_id, actor_kind, actor_id, actor_name, action, object_type, object_id, object_name, result"
COPY = (
    "INSERT INTO access_log (id, batch, {0}, source_address) SELECT {1}, {2}, {0}, source_address FROM access_log"
    " WHERE id = (SELECT MIN(id) FROM access_log)"
)
# What was done, and the event that then has a fault: the second of two batches is covered by the second event.
CASES = {
    "changed": ("UPDATE access_log SET result = 'refused' WHERE id = (SELECT MAX(batch) FROM access_log)", 2),
    "backdated": (
        "UPDATE access_log SET at = '2020-01-01 00:00:00+00:00' WHERE id = (SELECT MIN(id) FROM access_log)",
        1,
    ),
    "removed": ("DELETE FROM access_log WHERE id = (SELECT MAX(id) FROM access_log)", 2),
    "all removed": ("DELETE FROM access_log WHERE batch = (SELECT MAX(batch) FROM access_log)", 2),
    "taken out of its batch": ("UPDATE access_log SET batch = NULL WHERE id = (SELECT MIN(id) FROM access_log)", 1),
    "put in": (COPY.format(COLUMNS, 99_999, "(SELECT MAX(batch) FROM access_log)"), 2),
    "put in as sealed": (COPY.format(COLUMNS, 99_999, 99_999), 2),
}


@pytest.mark.parametrize("case", CASES)
def test_whatever_was_done_to_a_sealed_entry_is_found(runtime: Runtime, case: str) -> None:
    statement, number = CASES[case]
    for _ in range(2):
        use(runtime, 3)
        sealed(runtime)
    assert verify_chain(runtime).fault is None

    tamper(runtime, statement)

    fault = verify_chain(runtime).fault
    assert fault is not None
    assert (fault.number, "access log" in fault.what) == (number, True)


def test_old_batches_are_deleted_and_the_log_stays_whole(runtime: Runtime) -> None:
    days = runtime.settings.access_log_days
    for _ in range(2):
        use(runtime, 2)
        sealed(runtime)
    assert not access.has_expired(runtime.database, days)
    assert access.expire(runtime.database, days) == 0
    aged(runtime, days=days + 1)
    use(runtime)
    sealed(runtime)

    assert access.has_expired(runtime.database, days)
    assert access.expire(runtime.database, days) == 4

    assert len(entries(runtime)) == 1
    assert events_of(runtime)[-1].action == "access_log.expired"
    assert verify_chain(runtime).fault is None
    assert not access.has_expired(runtime.database, days)


def aged(runtime: Runtime, **ago: float) -> None:
    """Make all entries older, and seal them again as the portal would have done then."""
    with runtime.database.transaction() as session:
        for entry in session.exec(select(AccessEntry)):
            entry.at -= timedelta(**ago)


def test_job_seals_what_has_come(runtime: Runtime) -> None:
    use(runtime, 2)
    job = next(job for job in runtime.capabilities.periodic_jobs if job.name == "access_log.seal")
    assert job.is_due(runtime)
    with runtime.database.transaction() as session:
        enqueue(session, job.name, organization_id=None, title=job.title)

    run_pending(runtime)

    assert not job.is_due(runtime)
    assert [entry.batch is None for entry in entries(runtime)] == [False, False]
