from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest
from sqlmodel import Session, select

from portal import audit
from portal.accounts.models import SessionRecord
from portal.actor import SYSTEM
from portal.audit.models import AuditEvent
from portal.credentials.models import Credential
from portal.db import Database
from portal.installation import find_instance, is_restored
from portal.operation.backup.make import make_backup
from portal.operation.backup.restore import restore
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.settings import Settings
from portal.sync import files
from portal.sync.store import create_site, get_site
from tests.backup.conftest import runtime_of
from tests.keys.conftest import add_secrets, open_all
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

ROUNDS = {"sqlite": 10, "postgresql": 2}


def write(runtime: Runtime, over: threading.Event, errors: list[Exception], begun: threading.Event) -> None:
    """Change credentials and record it, one transaction after the other."""
    turn = 0
    try:
        while not over.is_set():
            with runtime.database.transaction() as session:
                row = session.get_one(Credential, turn % 20 + 1, with_for_update=True)
                row.generation += 1
                event(session, row.generation)
            turn += 1
            begun.set()
    except Exception as error:
        errors.append(error)


def event(session: Session, number: int) -> None:
    audit.record(session, SYSTEM, "test.changed", audit.Target(1, "credential", number))


def test_backup_of_a_busy_portal_restores_elsewhere_as_it_was_at_one_moment(
    runtime: Runtime, elsewhere: Settings, backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stored = add_secrets(runtime, 20)
    over, begun = threading.Event(), threading.Event()
    errors: list[Exception] = []
    writer = threading.Thread(target=write, args=(runtime, over, errors, begun))
    writer.start()
    begun.wait()
    folders = [tmp_path / f"backup-{number}" for number in range(ROUNDS[backend])]
    manifests = [make_backup(runtime, folder) for folder in folders]
    over.set()
    writer.join()

    assert not errors
    heads = [manifest.contents.audit_number for manifest in manifests]
    assert heads == sorted(heads)
    for number, (folder, manifest) in enumerate(zip(folders, manifests, strict=True)):
        there = elsewhere.model_copy(update={"data_dir": tmp_path / f"there-{number}"})
        if backend == "postgresql":
            cluster = request.getfixturevalue("cluster")
            there = there.model_copy(update={"database_url": cluster.create_database()})
        restore(there, folder)
        database = Database(there.resolved_database_url)
        restored = runtime_of(there, database)
        assert open_all(restored) == stored
        with database.reading() as session:
            # Every change has its event, also at the moment of the backup.
            changes = sum(row.generation - 1 for row in session.exec(select(Credential)))
            events = session.exec(select(AuditEvent).where(AuditEvent.action == "test.changed")).all()
        assert changes == len(events) <= manifest.contents.audit_number
        database.close()


def test_backup_holds_no_key_and_nobody_else_may_read_it(runtime: Runtime, key_file: Path, tmp_path: Path) -> None:
    stored = add_secrets(runtime, 1)
    make_backup(runtime, tmp_path / "backup")

    ring = json.loads(key_file.read_text())
    for path in (tmp_path / "backup").iterdir():
        content = path.read_bytes()
        assert ring["audit"].encode() not in content
        assert all(key["key"].encode() not in content for key in ring["keys"])
        assert all(text.encode() not in content for text in stored.values())
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700


def test_restored_portal_begins_another_epoch_waits_and_signs_everybody_out(
    runtime: Runtime, elsewhere: Settings, tmp_path: Path, app, cast: Cast
) -> None:
    Visitor(app).sign_in(cast.owner)
    manifest = make_backup(runtime, tmp_path / "backup")

    restore(elsewhere, tmp_path / "backup")
    prepare(elsewhere)

    database = Database(elsewhere.resolved_database_url)
    with database.reading() as session:
        assert is_restored(session)
        assert find_instance(session).epoch != manifest.contents.epoch
        assert session.exec(select(SessionRecord)).all() == []
        last = session.exec(select(AuditEvent).order_by(AuditEvent.number.desc())).first()  # type: ignore[attr-defined]
        assert last.action == "portal.restored"
    database.close()
    with runtime.database.reading() as session:
        assert not is_restored(session)


def test_head_file_is_set_aside_so_that_the_restored_log_is_whole(
    runtime: Runtime, elsewhere: Settings, tmp_path: Path, cast: Cast
) -> None:
    from portal.audit.verify import verify_chain

    head = tmp_path / "head"
    make_backup(runtime, tmp_path / "backup")
    head.write_text(f"2026-01-01T00:00:00+00:00 900 {'a' * 64}\n")
    there = elsewhere.model_copy(update={"audit_head_file": head})

    done = restore(there, tmp_path / "backup")

    assert done.kept_head_file is not None
    assert "900" in done.kept_head_file.read_text()
    database = Database(there.resolved_database_url)
    assert verify_chain(runtime_of(there, database)).fault is None
    database.close()


def test_files_of_sites_come_back_with_their_history(
    runtime: Runtime, cast: Cast, elsewhere: Settings, tmp_path: Path
) -> None:
    owner = principal_of(runtime, cast.owner)
    slug = create_site(runtime, owner, "Handbook").slug
    create_site(runtime, owner, "Empty")
    files.save_file(runtime, owner, slug, "index.md", "first\n", None)
    before, _ = files.read_file(runtime, get_site(runtime, owner, slug).site, "index.md")
    files.save_file(runtime, owner, slug, "index.md", "second\n", before.id)
    make_backup(runtime, tmp_path / "backup")
    files.save_file(runtime, owner, slug, "later.md", "after the backup\n", None)

    restore(elsewhere, tmp_path / "backup")
    database = Database(elsewhere.resolved_database_url)
    there = runtime_of(elsewhere, database)

    site = get_site(there, owner, slug).site
    assert [item.name for item in files.list_folder(there, site)] == ["index.md"]
    assert files.read_file(there, site, "index.md")[0].text == "second\n"
    assert [change.title for change in files.history(there, site)[0]] == ["Change index.md", "Add index.md"]
    database.close()
