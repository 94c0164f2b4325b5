from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel, col, select

from portal.audit.models import AuditEvent
from portal.credentials.models import Credential
from portal.operation.keys.manage import list_keys, rotate
from portal.runtime import Runtime
from portal.vault import KeyRing, Place, Secret
from portal.vault.columns import sealed_columns
from portal.vault.rotation import BATCH
from tests.keys.conftest import ORIGIN, add_secrets, open_all, runtime_on

WRITERS = 4
LEAST_WRITES = 40


def refresh(runtime: Runtime, credential_id: int, generation: int) -> str:
    """Store another pair as a refresh does: only if the previous one is still there."""
    text = f"pair {credential_id} {generation}"
    place = Place("credential", credential_id, "access_token_sealed")
    with runtime.database.transaction() as session:
        assert session.get_one(Credential, credential_id, with_for_update=True).generation == generation
        sealed = runtime.vault.seal(Secret(text), place, ORIGIN)
        changed = session.execute(
            update(Credential)
            .where(col(Credential.id) == credential_id, col(Credential.generation) == generation)
            .values(access_token_sealed=sealed, generation=generation + 1)
        )
        assert changed.rowcount == 1  # type: ignore[attr-defined]
    return text


def actions(runtime: Runtime) -> list[tuple[str, str]]:
    with runtime.database.reading() as session:
        return [(row.action, row.object_id) for row in session.exec(select(AuditEvent).order_by(AuditEvent.number))]


def test_every_column_of_ciphertexts_is_declared() -> None:
    declared = {(column.table, column.name) for column in sealed_columns()}
    tables = SQLModel.metadata.tables.values()

    found = {(table.name, column.name) for table in tables for column in table.columns if "sealed" in column.name}

    assert found == declared
    for column in sealed_columns():
        names = SQLModel.metadata.tables[column.table].columns.keys()
        assert {"id", column.origin_column or "id"} <= set(names)


def test_rotation_seals_everything_with_a_new_key_and_every_secret_stays(runtime: Runtime, key_file: Path) -> None:
    stored = add_secrets(runtime, BATCH + 1)
    old = runtime.vault.ring.newest.key_id
    seen: list[int] = []

    rotation = rotate(runtime, lambda resealed: seen.append(resealed.done))

    assert rotation.is_new
    assert rotation.resealed.done == len(stored) == seen[-1]
    assert [(use.key_id, use.total) for use in list_keys(runtime)] == [(rotation.key_id, len(stored)), (old, 0)]
    assert open_all(runtime) == stored
    assert actions(runtime) == [("key.added", rotation.key_id), ("key.rotated", rotation.key_id)]


def test_second_rotation_adds_a_key_again(runtime: Runtime) -> None:
    stored = add_secrets(runtime, 2)
    first = rotate(runtime).key_id

    second = rotate(runtime)

    assert second.key_id != first
    assert second.resealed.done == len(stored)
    assert len(runtime.vault.ring.key_ids) == 3


def test_process_that_runs_reads_and_seals_with_the_new_key(runtime: Runtime) -> None:
    stored = add_secrets(runtime, 1)
    running = runtime_on(runtime.settings, runtime.database)
    assert open_all(running) == stored

    rotation = rotate(runtime)

    assert open_all(running) == stored
    place = Place("credential", 1, "access_token_sealed")
    assert rotation.key_id.encode() in running.vault.seal(Secret("x"), place)


def test_file_of_another_ring_is_not_taken_over_by_a_process_that_runs(runtime: Runtime, key_file: Path) -> None:
    before = runtime.vault.ring
    key_file.unlink()

    KeyRing.create_file(key_file)

    assert runtime.vault.ring is before


def test_refreshes_during_a_rotation_are_kept_and_nothing_is_lost(runtime: Runtime) -> None:
    stored = add_secrets(runtime, 60)
    latest: dict[int, str] = {}
    over, written = threading.Event(), threading.Semaphore(0)
    errors: list[Exception] = []

    def write(number: int) -> None:
        own = runtime_on(runtime.settings, runtime.database)
        generation = 1
        try:
            while not over.is_set():
                for credential_id in range(number + 1, 61, WRITERS):
                    latest[credential_id] = refresh(own, credential_id, generation)
                    written.release()
                generation += 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for _ in range(LEAST_WRITES):
        written.acquire()
    rotation = rotate(runtime)
    for _ in range(LEAST_WRITES):
        written.acquire()
    over.set()
    for thread in threads:
        thread.join()

    assert not errors
    assert rotation.resealed.left == 0
    assert not rotation.resealed.unreadable
    assert {use.key_id for use in list_keys(runtime) if use.total} == {rotation.key_id}
    expected = {Place("credential", row_id, "access_token_sealed"): text for row_id, text in latest.items()}
    assert open_all(runtime) == stored | expected


def test_value_that_changes_between_reading_and_storing_wins(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    add_secrets(runtime, 1)
    monkeypatch.setattr("portal.vault.rotation.crash_point", lambda name: name == SEALED and between())  # type: ignore[func-returns-value]
    texts: list[str] = []

    def between() -> None:
        if not texts:
            texts.append(refresh(runtime, 1, 1))

    rotation = rotate(runtime)

    assert open_all(runtime)[Place("credential", 1, "access_token_sealed")] == texts[0]
    assert {use.key_id for use in list_keys(runtime) if use.total} == {rotation.key_id}


SEALED = "rotate:sealed_again"


def test_unreadable_values_are_reported_left_as_they_are_and_do_not_stop_the_others(runtime: Runtime) -> None:
    stored = add_secrets(runtime, 3)
    foreign = KeyRing.create_file(runtime.settings.data_dir / "foreign.json")
    damaged = {1: b"\x01\x02", 2: foreign.newest.key_id.encode()}
    with runtime.database.transaction() as session:
        row = session.get_one(Credential, 2)
        damaged[2] = row.access_token_sealed.replace(runtime.vault.ring.newest.key_id.encode(), damaged[2])
        session.get_one(Credential, 1).access_token_sealed, row.access_token_sealed = damaged[1], damaged[2]

    rotation = rotate(runtime)

    places = {Place("credential", row_id, "access_token_sealed") for row_id in damaged}
    assert rotation.resealed.unreadable == places
    assert rotation.resealed.done == len(stored) - 2
    with runtime.database.reading() as session:
        assert {row_id: session.get_one(Credential, row_id).access_token_sealed for row_id in damaged} == damaged
    missing = [use for use in list_keys(runtime) if not use.is_known]
    assert {use.key_id: use.total for use in missing} == {"": 1, foreign.newest.key_id: 1}
