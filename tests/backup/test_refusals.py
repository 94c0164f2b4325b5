from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portal import CAPABILITIES
from portal.db import Database
from portal.operation.backup import postgresql
from portal.operation.backup.make import make_backup
from portal.operation.backup.manifest import NAME, BackupRefused, Manifest
from portal.operation.backup.restore import restore
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing
from portal.vault.keyfile import change_file
from portal.vault.keyring import new_key
from tests.keys.conftest import add_secrets, open_all
from tests.support.people import make_cast


@pytest.fixture
def folder(runtime: Runtime, tmp_path: Path) -> Path:
    """A backup."""
    add_secrets(runtime, 1)
    make_backup(runtime, tmp_path / "backup")
    return tmp_path / "backup"


def rewrite(runtime: Runtime, folder: Path, change: Callable[[Manifest], Manifest]) -> None:
    """Replace the manifest with another one sealed by the same key ring."""
    change(Manifest.read(folder, runtime.vault)).write(folder, runtime.vault)


def data_file(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.name != NAME)


def flip_byte(runtime: Runtime, folder: Path) -> None:
    content = bytearray(data_file(folder).read_bytes())
    content[len(content) // 2] ^= 1
    data_file(folder).write_bytes(content)


def cut_off(runtime: Runtime, folder: Path) -> None:
    data_file(folder).write_bytes(data_file(folder).read_bytes()[:-10])


def remove_file(runtime: Runtime, folder: Path) -> None:
    data_file(folder).unlink()


def remove_manifest(runtime: Runtime, folder: Path) -> None:
    (folder / NAME).unlink()


def write_nonsense(runtime: Runtime, folder: Path) -> None:
    (folder / NAME).write_text("[" * 1000)


def change_manifest_and_file(runtime: Runtime, folder: Path) -> None:
    flip_byte(runtime, folder)
    data = json.loads((folder / NAME).read_text())
    data["files"] = {data_file(folder).name: hashlib.sha256(data_file(folder).read_bytes()).hexdigest()}
    (folder / NAME).write_text(json.dumps(data))


def take_another_ring(runtime: Runtime, folder: Path) -> None:
    runtime.settings.resolved_key_file.unlink()
    KeyRing.create_file(runtime.settings.resolved_key_file)


def lose_the_key(runtime: Runtime, folder: Path) -> None:
    change_file(runtime.settings.resolved_key_file, lambda ring: KeyRing([new_key()], ring.audit_key))


def name_another_schema(runtime: Runtime, folder: Path) -> None:
    rewrite(runtime, folder, lambda m: replace(m, contents=replace(m.contents, revision="9999")))


def name_another_database(runtime: Runtime, folder: Path) -> None:
    rewrite(runtime, folder, lambda m: replace(m, database="other"))


CASES = {
    flip_byte: "is not as it was written",
    cut_off: "is not as it was written",
    remove_file: "is missing",
    remove_manifest: "no backup here",
    write_nonsense: "is no manifest",
    change_manifest_and_file: "The manifest was changed",
    take_another_ring: "a different key ring",
    lose_the_key: "The key ring lacks",
    name_another_schema: "schema 9999",
    name_another_database: "is of other",
}


def everything(settings: Settings) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in settings.data_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_backup_that_is_not_whole_is_refused_by_one_line_and_nothing_changes(
    runtime: Runtime, folder: Path, elsewhere: Settings, damage: Callable[[Runtime, Path], None]
) -> None:
    prepare(elsewhere)
    damage(runtime, folder)
    before = everything(elsewhere)

    with pytest.raises(BackupRefused) as caught:
        restore(elsewhere, folder)

    assert CASES[damage] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert everything(elsewhere) == before


def test_database_that_does_not_fit_its_manifest_is_refused(
    runtime: Runtime, folder: Path, elsewhere: Settings
) -> None:
    rewrite(
        runtime, folder, lambda m: replace(m, contents=replace(m.contents, rows={**m.contents.rows, "credential": 7}))
    )

    with pytest.raises(BackupRefused, match="other numbers of rows than its manifest: credential"):
        restore(elsewhere, folder)

    assert not elsewhere.data_dir.exists() or not list(elsewhere.data_dir.iterdir())


@pytest.mark.parametrize("backend", ["sqlite"])
def test_portal_with_people_in_it_is_replaced_only_on_demand_and_kept(
    runtime: Runtime, folder: Path, elsewhere: Settings
) -> None:
    stored = open_all(runtime)
    prepare(elsewhere)
    there = Database(elsewhere.resolved_database_url)
    make_cast(Runtime(elsewhere, there, runtime.vault, runtime.outbound, CAPABILITIES))
    there.close()

    with pytest.raises(BackupRefused, match="--replace"):
        restore(elsewhere, folder)
    done = restore(elsewhere, folder, replace=True)

    assert done.kept is not None
    assert done.kept.exists()
    there = Database(elsewhere.resolved_database_url)
    assert open_all(Runtime(elsewhere, there, runtime.vault, runtime.outbound, CAPABILITIES)) == stored
    there.close()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_portal_that_runs_is_not_replaced(runtime: Runtime, folder: Path) -> None:
    with runtime.database.reading() as session:
        session.connection()
        with pytest.raises(BackupRefused, match="Stop it"):
            restore(runtime.settings, folder, replace=True)

    assert open_all(runtime)


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"])
def test_server_database_that_is_not_empty_is_refused(runtime: Runtime, folder: Path) -> None:
    with pytest.raises(BackupRefused, match="not empty"):
        restore(runtime.settings, folder, replace=True)

    assert open_all(runtime)


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"])
def test_missing_program_is_told_and_leaves_no_folder(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BackupRefused, match="pg_dump is not on the PATH"):
        make_backup(runtime, tmp_path / "out" / "backup")

    assert list((tmp_path / "out").iterdir()) == []


def test_password_is_in_no_argument_of_the_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    database = Database("postgresql+psycopg://portal:canary-password@db.example.com:5433/portal?sslmode=verify-full")

    variables = postgresql._environment(database.engine.url)

    assert variables == {
        "PGHOST": "db.example.com",
        "PGPORT": "5433",
        "PGUSER": "portal",
        "PGPASSWORD": "canary-password",
        "PGDATABASE": "portal",
        "PGSSLMODE": "verify-full",
    }


@pytest.mark.parametrize("backend", ["sqlite"])
def test_folder_that_holds_something_is_never_written_to(runtime: Runtime, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(BackupRefused, match="not an empty folder"):
        make_backup(runtime, folder)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
