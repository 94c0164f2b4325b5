"""A disk that is full or read-only: reading works, and everything else says what is missing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlmodel import select

from portal.accounts.models import SessionRecord
from portal.audit_log.jobs import VERIFY
from portal.db import utc_now
from portal.installation import look_for_copy
from portal.jobs import Job, JobState, enqueue
from portal.jobs.testing import running_worker
from portal.preflight import check_ground
from portal.runtime import Runtime
from portal.settings import Settings, SettingsError
from portal.storage import Trouble, card_of, trouble_of, trouble_of_folder
from tests.authorization.test_read_only import set_read_only
from tests.conftest import BASE_URL
from tests.jobs.waiting import until
from tests.support.paired import Paired
from tests.support.people import Cast
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.visitor import Visitor

READ = ("/connections/", "/connections/gitlab", "/connections/gitlab/health", "/repositories/", "/jobs", "/audit")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def settings(disk: SmallDisk, migrated_file: Path) -> Settings:
    """A SQLite database on the small disk."""
    (disk.folder / "var").mkdir()
    shutil.copy(migrated_file, disk.folder / "var" / "gatehouse.db")
    return Settings(base_url=BASE_URL, data_dir=disk.folder / "var", allow_http=True)


def let_time_pass(runtime: Runtime) -> None:
    """Make every session due to record that it is used."""
    with runtime.database.transaction() as session:
        for record in session.exec(select(SessionRecord)):
            record.last_active_at = utc_now() - timedelta(minutes=5)


def test_pages_are_read_and_changes_refused_while_the_disk_is_full(
    disk: SmallDisk, runtime: Runtime, paired: Paired, app: Flask, cast: Cast
) -> None:
    owner = Visitor(app).sign_in(cast.owner)
    token = owner.csrf_token()
    let_time_pass(runtime)
    disk.fill(runtime.database)

    pages = {path: owner.get(path) for path in READ}
    stranger = Visitor(app).get("/sign-in")
    refused = owner.post("/profile/name", {"name": "Another", "csrf_token": token})

    assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(READ, 200)
    assert stranger.status_code == 200
    assert "is full" not in stranger.text
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "is full" in refused.text
    assert str(disk.folder) not in refused.text.partition("<main")[2]
    if disk.is_mounted:
        for page in pages.values():
            assert f"The disk with the data folder {runtime.settings.data_dir} is full" in page.text
    disk.make_room(runtime.database)
    assert owner.post("/profile/name", {"name": "Another"}).status_code == 303
    assert "is full" not in owner.get("/profile").text


def test_no_token_is_asked_for_while_the_disk_is_full_and_the_card_names_it(
    disk: SmallDisk, runtime: Runtime, paired: Paired
) -> None:
    look_for_copy(runtime.database)
    paired.make_due()
    disk.fill(runtime.database)

    refused = paired.refusal()

    assert refused.card.code == "disk_full"
    assert f"The disk with the database {runtime.settings.data_dir}/gatehouse.db is full" in refused.card.sentence
    assert refused.is_passing
    assert paired.token_requests == 0
    disk.make_room(runtime.database)
    assert paired.demand() == paired.issued[-1].access_token
    assert paired.holds_the_last_pair()


def test_worker_goes_on_when_there_is_room_again(disk: SmallDisk, runtime: Runtime, cast: Cast) -> None:
    def job_states() -> set[str]:
        with runtime.database.reading() as session:
            return set(session.exec(select(Job.state).where(Job.organization_id == cast.owner.organization_id)))

    with running_worker(runtime) as engine:
        disk.fill(runtime.database)
        owner = cast.owner.organization_id
        with pytest.raises(Exception, match="full") as caught, runtime.database.transaction() as session:
            enqueue(session, VERIFY, organization_id=owner, title="Verify")
        assert trouble_of(caught.value) == Trouble.FULL
        disk.make_room(runtime.database)
        with runtime.database.transaction() as session:
            enqueue(session, VERIFY, organization_id=owner, title="Verify")
        until(lambda: job_states() == {JobState.SUCCEEDED})
        assert not engine.broken.is_set()


def test_page_does_not_wait_for_another_writer(runtime: Runtime, app: Flask, cast: Cast) -> None:
    owner = Visitor(app).sign_in(cast.owner)
    let_time_pass(runtime)
    with closing(sqlite3.connect(str(runtime.database.engine.url.database), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")

        assert owner.get("/profile").status_code == 200

        holder.execute("ROLLBACK")
    # The next change waits as long as usual.
    with runtime.database.reading() as session:
        assert session.connection().exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 15_000


def test_read_only_database_is_read(runtime: Runtime, app: Flask, cast: Cast) -> None:
    owner = Visitor(app).sign_in(cast.owner)
    token = owner.csrf_token()
    let_time_pass(runtime)
    set_read_only(runtime, is_on=True)

    page = owner.get("/profile")
    refused = owner.post("/profile/name", {"name": "Another", "csrf_token": token})

    assert page.status_code == 200
    assert "Nothing can be written to the database" in page.text
    assert refused.status_code == 503
    assert "read-only" in refused.text


def test_folder_that_is_gone_or_full_is_in_trouble(disk: SmallDisk, runtime: Runtime, tmp_path: Path) -> None:
    assert trouble_of_folder(disk.folder) is None
    assert trouble_of_folder(tmp_path / "gone") == Trouble.READ_ONLY
    disk.fill(runtime.database)
    assert trouble_of_folder(disk.folder) == (Trouble.FULL if disk.is_mounted else None)


def test_start_on_a_full_disk_names_it(disk: SmallDisk, runtime: Runtime) -> None:
    runtime.database.close()
    disk.fill(runtime.database)

    # SQLite's quota applies per connection: a start does not know about it.
    with pytest.raises(SettingsError, match="disk is full") if disk.is_mounted else nullcontext():
        check_ground(runtime.settings)


def test_every_trouble_has_a_card_with_its_place() -> None:
    for trouble in Trouble:
        card = card_of(trouble, "the database server")
        assert "the database server" in card.sentence
        assert card.code == trouble
