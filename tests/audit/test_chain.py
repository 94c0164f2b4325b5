from __future__ import annotations

import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, select

from portal import audit
from portal.accounts.models import Organization
from portal.actor import SYSTEM
from portal.audit.chain import FIELDS, AuditImpossible
from portal.audit.models import GENESIS, AuditEvent
from portal.audit.verify import Verdict, verify_chain
from portal.db import Database
from portal.requestinfo import RequestInfo, requesting
from portal.runtime import Runtime
from tests.audit.conftest import Add, about, events_of

THREADS, CHANGES = 8, 50
ABOUT = about()


def organizations(database: Database) -> int:
    with database.reading() as session:
        return len(session.exec(select(Organization)).all())


def change_and_record(database: Database, name: str, *, fail: bool = False) -> None:
    with database.transaction() as session:
        session.add(Organization(name=name))
        audit.record(session, SYSTEM, "test.done", ABOUT)
        if fail:
            raise ZeroDivisionError


def record_and_roll_back(session: Session) -> None:
    with session.begin_nested():
        with session.begin_nested():
            audit.record(session, SYSTEM, "inner.done", ABOUT)
        audit.record(session, SYSTEM, "outer.done", ABOUT)
        raise ZeroDivisionError


def test_each_event_has_the_next_number_and_the_hash_of_the_one_before(runtime: Runtime, add: Add) -> None:
    add(3)

    events = events_of(runtime)

    assert [event.number for event in events] == [1, 2, 3]
    assert [event.previous_hash for event in events] == [GENESIS, events[0].hash, events[1].hash]
    assert len({event.hash for event in events}) == 3


def test_events_of_one_transaction_are_chained_in_their_order(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        for action in ("first.done", "second.done", "third.done"):
            audit.record(session, SYSTEM, action, ABOUT)

    assert [event.action for event in events_of(runtime)] == ["first.done", "second.done", "third.done"]
    assert verify_chain(runtime).fault is None


def test_hash_covers_every_field_but_itself() -> None:
    assert set(FIELDS) == set(AuditEvent.__table__.columns.keys()) - {"hash"}  # type: ignore[attr-defined]


def test_many_writers_at_once_leave_no_gap(runtime: Runtime) -> None:
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            for change in range(CHANGES):
                change_and_record(runtime.database, f"{thread}-{change}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [event.number for event in events_of(runtime)] == list(range(1, THREADS * CHANGES + 1))
    verdict = verify_chain(runtime)
    assert (verdict.fault, verdict.checked) == (None, THREADS * CHANGES)
    assert organizations(runtime.database) == THREADS * CHANGES


def test_failing_transaction_leaves_neither_event_nor_gap(runtime: Runtime, add: Add) -> None:
    add()

    with pytest.raises(ZeroDivisionError):
        change_and_record(runtime.database, "never", fail=True)
    add()

    assert [(event.number, event.action) for event in events_of(runtime)] == [(1, "test.done"), (2, "test.done")]
    assert organizations(runtime.database) == 0


def test_savepoint_that_is_rolled_back_takes_its_own_events_with_it(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        audit.record(session, SYSTEM, "before.done", ABOUT)
        with session.begin_nested():
            audit.record(session, SYSTEM, "kept.done", ABOUT)
        with pytest.raises(ZeroDivisionError):
            record_and_roll_back(session)
        audit.record(session, SYSTEM, "after.done", ABOUT)

    assert [event.action for event in events_of(runtime)] == ["before.done", "kept.done", "after.done"]


def test_session_without_key_refuses_the_change(runtime: Runtime) -> None:
    bare = Database(runtime.database.url)

    with pytest.raises(AuditImpossible):
        change_and_record(bare, "never")
    bare.close()

    assert organizations(runtime.database) == 0


def test_change_is_refused_when_the_log_cannot_be_written(runtime: Runtime, add: Add) -> None:
    add()
    make_read_only(runtime)

    with pytest.raises(DBAPIError):
        change_and_record(runtime.database, "never")

    assert organizations(runtime.database) == 0
    assert len(events_of(runtime)) == 1


def make_read_only(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        if runtime.database.is_sqlite:
            body = "BEGIN SELECT RAISE(ABORT, 'read-only'); END"
            session.execute(text(f"CREATE TRIGGER no_more BEFORE INSERT ON audit_event {body}"))
        else:
            session.execute(text("ALTER TABLE audit_event ADD CONSTRAINT no_more CHECK (false) NOT VALID"))


ANYWHERE = (
    "UPDATE audit_event SET action = 'x' WHERE number = 2",
    "DELETE FROM audit_event WHERE number = 2",
    "DELETE FROM audit_event",
    "UPDATE audit_head SET number = 1",
    "DELETE FROM audit_head",
)
REPLACING = "INSERT OR REPLACE INTO audit_event SELECT * FROM audit_event WHERE number = 2"


def test_database_refuses_to_change_what_was_written(runtime: Runtime, add: Add) -> None:
    add(3)
    own = (REPLACING,) if runtime.database.is_sqlite else ("TRUNCATE audit_event", "TRUNCATE audit_head")

    for statement in (*ANYWHERE, *own):
        with pytest.raises(DBAPIError, match="only ever added"), runtime.database.transaction() as session:
            session.execute(text(statement))

    assert verify_chain(runtime) == Verdict(3)


def test_hostile_texts_are_one_escaped_line(runtime: Runtime, add: Add) -> None:
    hostile = '\n{"event":"login_ok"}\x1b[2J\r\u202e\u2028\ud800\x00'
    with requesting(RequestInfo("0" * 16, "192.0.2.1", user_agent=hostile)):
        add(target=about(name=hostile), **{hostile: hostile, "list": [hostile, float("inf")]})

    event = events_of(runtime)[0]

    escaped = '\\u000a{"event":"login_ok"}\\u001b[2J\\u000d\\u202e\\u2028\\ud800\\u0000'
    assert (event.user_agent, event.object_name) == (escaped, escaped)
    assert event.details == {escaped: escaped, "list": [escaped, "inf"]}
    assert verify_chain(runtime).fault is None
