"""A database server that was restarted: every connection is dead, and nobody is told to start the portal again."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlmodel import update

from portal.accounts.models import SessionRecord
from portal.db import utc_now
from portal.runtime import Runtime
from tests.authorization.test_read_only import set_read_only
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
