"""A database server that was restarted: every connection is dead, and no one is told to start the portal again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlmodel import update

import portal.db
from portal.accounts.models import SessionRecord
from portal.db import CONNECTION_LIMITS, make_postgresql_engine, utc_now
from portal.operation.migrations.upgrade import ADVISORY_LOCK, current_and_head, upgrade
from portal.runtime import Runtime
from portal.storage import Trouble, trouble_of
from tests.authorization.test_read_only import set_read_only
from tests.jobs.waiting import until
from tests.support.paired import Paired
from tests.support.visitor import Visitor

pytestmark = pytest.mark.postgresql


@pytest.fixture
def backend() -> str:
    return "postgresql"


def end_every_connection(runtime: Runtime) -> int:
    """End what the server has open to the portal's database, as a restart does; return how many there were."""
    statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
    engine = create_engine(runtime.database.engine.url.set(database="postgres"))
    with engine.connect() as connection:
        ended = connection.execute(text(statement), {"name": runtime.database.engine.url.database}).all()
    engine.dispose()
    return len(ended)


def test_page_after_a_restart_of_the_database_is_there(runtime: Runtime, owner: Visitor) -> None:
    assert owner.get("/profile").status_code == 200

    assert end_every_connection(runtime) >= 1

    assert owner.get("/profile").status_code == 200
    assert owner.post("/profile/name", {"name": "Another"}).status_code == 303


def test_standby_that_takes_no_change_is_read(app: Flask, runtime: Runtime, owner: Visitor) -> None:
    token = owner.csrf_token()
    with runtime.database.transaction() as session:
        session.execute(update(SessionRecord).values(last_active_at=utc_now() - timedelta(minutes=5)))
    set_read_only(runtime, is_on=True)

    page = owner.get("/profile")
    refused = owner.post("/profile/name", {"name": "Another", "csrf_token": token})

    assert page.status_code == 200
    assert "Nothing can be written to the database server" in page.text
    assert refused.status_code == 503
    assert "the server is a standby" in refused.text
    set_read_only(runtime, is_on=False)
    assert owner.post("/profile/name", {"name": "Another"}).status_code == 303


def test_refresh_that_was_under_way_is_stored_after_a_restart_of_the_database(runtime: Runtime, paired: Paired) -> None:
    paired.make_due()
    paired.sandbox.faults.add("/oauth/token", delay_seconds=0.3, times=1)

    def restart() -> None:
        paired.sandbox.requests.wait_for("/oauth/token")
        end_every_connection(runtime)

    restarting = threading.Thread(target=restart)
    restarting.start()
    token = paired.demand()
    restarting.join()

    assert token == paired.issued[-1].access_token
    assert (paired.token_requests, paired.spent_posts) == (1, 0)
    assert paired.holds_the_last_pair()


def set_full(runtime: Runtime, *, is_on: bool) -> None:
    """Make the server answer every change as if a tablespace's disk were full (SQLSTATE 53100)."""
    with runtime.database.transaction() as session:
        run = session.connection().exec_driver_sql
        if not is_on:
            run("DROP FUNCTION no_room CASCADE")
            return
        run(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
        )
        for table in ('"user"', "session", "credential", "audit_event"):
            run(f"CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION no_room()")


def test_server_whose_disk_is_full_is_read_and_named_and_no_token_is_asked_for(
    paired: Paired, runtime: Runtime, owner: Visitor
) -> None:
    token = owner.csrf_token()
    with runtime.database.transaction() as session:
        session.execute(update(SessionRecord).values(last_active_at=utc_now() - timedelta(minutes=5)))
    paired.make_due()
    set_full(runtime, is_on=True)

    page = owner.get("/profile")
    refused = owner.post("/profile/name", {"name": "Another", "csrf_token": token})
    unavailable = paired.refusal()

    assert page.status_code == 200
    assert "The disk with the database server is full" in page.text
    assert refused.status_code == 503
    assert "is full" in refused.text
    assert (unavailable.card.code, unavailable.is_passing, paired.token_requests) == ("disk_full", True, 0)
    set_full(runtime, is_on=False)
    assert owner.post("/profile/name", {"name": "Another"}).status_code == 303
    assert "is full" not in owner.get("/profile").text
    assert paired.demand() == paired.issued[-1].access_token


def test_server_that_vanishes_is_not_waited_for_unless_its_address_says_so(runtime: Runtime) -> None:
    def limits(url: URL) -> dict[str, str]:
        engine = make_postgresql_engine(url)
        with engine.connect() as connection:
            found = connection.connection.driver_connection.info.get_parameters()
        engine.dispose()
        return {name: found[name] for name in CONNECTION_LIMITS}

    url = runtime.database.engine.url

    assert limits(url) == {name: str(value) for name, value in CONNECTION_LIMITS.items()}
    assert limits(url.update_query_dict({"tcp_user_timeout": "5000"}))["tcp_user_timeout"] == "5000"


def test_page_waits_for_no_lock_and_no_statement_as_long_as_it_lasts(
    runtime: Runtime, owner: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal.db, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(portal.db, "STATEMENT_SECONDS", 0.3)
    token = owner.csrf_token()
    runtime.database.close()  # The next connections have the limits above.
    url = runtime.database.engine.url
    holder = make_postgresql_engine(url.update_query_dict({"options": "-c lock_timeout=5s -c statement_timeout=5s"}))

    with holder.connect() as held:
        held.execute(text('SELECT 1 FROM "user" FOR UPDATE'))
        refused = owner.post("/profile/name", {"name": "Another", "csrf_token": token})
        limits = [held.execute(text(f"SHOW {name}")).scalar() for name in ("lock_timeout", "statement_timeout")]
    with pytest.raises(OperationalError) as slow, runtime.database.reading() as session:
        session.execute(text("SELECT pg_sleep(20)"))

    assert refused.status_code == 503
    assert "The database is busy" in refused.text
    assert limits == ["5s", "5s"]
    assert trouble_of(slow.value) is Trouble.BUSY
    holder.dispose()


def test_upgrade_waits_for_another_one_longer_than_a_page_waits(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal.db, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(portal.db, "STATEMENT_SECONDS", 0.1)
    runtime.database.close()
    waiting = text("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND now() - query_start > '0.2 s'")
    outside = runtime.database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with ThreadPoolExecutor(1) as pool, outside.connect() as other:
        other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        upgrading = pool.submit(upgrade, runtime.database)
        try:
            until(lambda: other.execute(waiting).first())
        finally:
            other.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})

        assert upgrading.result(20) == current_and_head(runtime.database)[1]
