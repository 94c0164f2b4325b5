from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlmodel import select

from portal import create_app
from portal.accounts.models import SessionRecord
from portal.audit_log.jobs import VERIFY
from portal.connections.models import Application
from portal.copies.confirmation import confirm_running
from portal.credentials import due_credentials, refresh_credential
from portal.credentials.models import CredentialState
from portal.db import Database, utc_now
from portal.installation import is_restored, mark_restored
from portal.jobs import Job, JobState, enqueue
from portal.jobs.engine import Engine
from portal.jobs.testing import QUICK as PACE
from portal.operation.backup.make import make_backup
from portal.operation.backup.restore import restore
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.settings import Settings
from tests.backup.conftest import runtime_of
from tests.jobs.waiting import until
from tests.support.paired import QUICK, Paired, seal
from tests.support.people import Cast, make_cast
from tests.support.visitor import Visitor


@pytest.fixture
def cast(runtime: Runtime) -> Cast:
    return make_cast(runtime)


@contextmanager
def restored(paired: Paired, elsewhere: Settings, folder: Path) -> Iterator[Paired]:
    """Back up, restore elsewhere, and yield the same connection there."""
    make_backup(paired.runtime, folder)
    restore(elsewhere, folder)
    prepare(elsewhere)
    database = Database(elsewhere.resolved_database_url)
    there = runtime_of(elsewhere, database, paired.sandbox.url)
    yield Paired(there, paired.sandbox, paired.connection_id, paired.application_id)
    database.close()


def is_waiting(runtime: Runtime) -> bool:
    with runtime.database.reading() as session:
        return is_restored(session)


def test_nothing_is_refreshed_before_the_confirmation(paired: Paired, elsewhere: Settings, tmp_path: Path) -> None:
    with restored(paired, elsewhere, tmp_path / "backup") as copy:
        copy.make_due()
        before = len(paired.sandbox.requests.all())

        refused = copy.refusal()
        refreshed = refresh_credential(copy.runtime, copy.connection_id, QUICK)

        assert refused.card.code == "portal_restored"
        assert not refreshed
        assert len(paired.sandbox.requests.all()) == before


def test_spent_pair_of_a_backup_is_found_out_with_its_access_token_and_never_posted(
    paired: Paired, elsewhere: Settings, tmp_path: Path
) -> None:
    with restored(paired, elsewhere, tmp_path / "backup") as copy:
        for _ in range(3):
            paired.make_due()
            paired.demand()
        posts = paired.token_requests

        assert confirm_running(copy.runtime) == 1
        assert due_credentials(copy.runtime) == [copy.connection_id]
        refresh_credential(copy.runtime, copy.connection_id, QUICK)

        assert paired.token_requests == posts
        assert copy.credential.state == CredentialState.LOST
        assert paired.holds_the_last_pair()
        paired.make_due()
        assert paired.demand() == paired.issued[-1].access_token


def test_pair_that_nobody_spent_lives_on_after_the_confirmation(
    paired: Paired, elsewhere: Settings, tmp_path: Path
) -> None:
    with restored(paired, elsewhere, tmp_path / "backup") as copy:
        confirm_running(copy.runtime)

        refresh_credential(copy.runtime, copy.connection_id, QUICK)

        assert copy.credential.state == CredentialState.ALIVE
        assert copy.holds_the_last_pair()
        assert [event.kind for event in copy.events][:1] == ["restored"]


@pytest.mark.parametrize("backend", ["sqlite"])
def test_spent_pair_is_not_posted_after_a_new_secret_mended_a_restored_credential(
    paired: Paired, elsewhere: Settings, tmp_path: Path
) -> None:
    secret = paired.sandbox.world.oauth.renew_secret(paired.application_id)
    paired.make_due()
    paired.demand()
    assert paired.credential.client_refusals == 1
    with restored(paired, elsewhere, tmp_path / "backup") as copy:
        enter_secret(paired, str(secret))
        paired.let_rest_pass()
        paired.demand()
        posts = paired.token_requests

        assert confirm_running(copy.runtime) == 1
        enter_secret(copy, str(secret))
        refused = copy.refusal()

        assert refused.card.code
        assert paired.token_requests == posts
        assert paired.holds_the_last_pair()


def enter_secret(paired: Paired, secret: str) -> None:
    """Store another Secret as the step of the application does."""
    with paired.runtime.database.transaction() as session:
        application = session.exec(select(Application)).one()
        seal(paired.runtime, application, "application", "client_secret_sealed", secret)
        application.updated_at = utc_now()


def test_worker_of_a_restored_portal_begins_with_the_confirmation(
    runtime: Runtime, cast: Cast, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.jobs.engine.RESTORED_SECONDS", 0.05)
    with runtime.database.transaction() as session:
        enqueue(session, VERIFY, organization_id=cast.owner.organization_id, title="Verify")
    make_backup(runtime, tmp_path / "backup")
    restore(elsewhere, tmp_path / "backup")
    prepare(elsewhere)
    there = runtime_of(elsewhere, Database(elsewhere.resolved_database_url))
    engine, given_up, started = Engine(there, PACE), threading.Event(), threading.Event()
    starting = threading.Thread(target=lambda: engine.start(given_up) and started.set())  # type: ignore[func-returns-value]
    starting.start()

    assert not started.wait(0.5)
    assert {job.state for job in jobs(there)} == {JobState.QUEUED}
    confirm_running(there)
    starting.join()
    assert started.is_set()
    until(lambda: all(job.is_finished for job in jobs(there)))
    engine.stop()
    there.database.close()


def test_worker_that_waits_ends_when_it_is_told_to(
    runtime: Runtime, cast: Cast, elsewhere: Settings, tmp_path: Path
) -> None:
    make_backup(runtime, tmp_path / "backup")
    restore(elsewhere, tmp_path / "backup")
    there = runtime_of(elsewhere, Database(elsewhere.resolved_database_url))
    given_up = threading.Event()
    given_up.set()

    assert Engine(there, PACE).start(given_up) is False
    there.database.close()


def jobs(runtime: Runtime) -> list[Job]:
    with runtime.database.reading() as session:
        return list(session.exec(select(Job)))


@pytest.fixture
def waiting_app(runtime: Runtime, cast: Cast) -> Flask:
    """The pages of a portal that waits for its confirmation."""
    with runtime.database.transaction() as session:
        mark_restored(session, backup_made_at=utc_now() - timedelta(hours=3))
    return create_app(runtime=runtime)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_every_page_says_so_and_links_to_the_explanation(waiting_app: Flask, cast: Cast) -> None:
    for actor in (cast.owner, cast.auditor, cast.lead):
        visitor = Visitor(waiting_app).sign_in(actor)
        for path in ("/connections/", "/profile", "/jobs"):
            assert 'href="/restored"' in visitor.get(path).text
        assert "Nothing runs in the background yet" in visitor.get("/restored").text


@pytest.mark.parametrize("backend", ["sqlite"])
def test_owner_confirms_and_everything_goes_on(waiting_app: Flask, cast: Cast, runtime: Runtime) -> None:
    owner = Visitor(waiting_app).sign_in(cast.owner)
    assert "This is the only copy" in owner.get("/restored").text

    assert owner.post("/restored").status_code == 303

    assert not is_waiting(runtime)
    assert 'href="/restored"' not in owner.get("/profile").text
    assert "not waiting" in owner.get("/restored").text
    assert owner.post("/restored").status_code == 303


@pytest.mark.parametrize("backend", ["sqlite"])
def test_nobody_else_can_confirm(waiting_app: Flask, cast: Cast, runtime: Runtime) -> None:
    for actor in (cast.administrator, cast.lead, cast.auditor):
        visitor = Visitor(waiting_app).sign_in(actor)
        assert visitor.post("/restored").status_code == 404
        assert "This is the only copy" not in visitor.get("/restored").text

    assert is_waiting(runtime)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_confirmation_wants_the_password_again(waiting_app: Flask, cast: Cast, runtime: Runtime) -> None:
    owner = Visitor(waiting_app).sign_in(cast.owner)
    with runtime.database.transaction() as session:
        for record in session.exec(select(SessionRecord)):
            record.proved_at = utc_now() - timedelta(minutes=6)

    assert owner.post("/restored").status_code == 401

    assert is_waiting(runtime)
