from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session, select

from portal.db import Database
from portal.vault import KeyRing, WrongKey, verify_ring
from portal.vault.models import VaultKey
from tests.vault.conftest import ring_of

OLD, NEW, OTHER = ("k1", b"\x01" * 32), ("k2", b"\x02" * 32), ("k3", b"\x03" * 32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vault.db"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{file}")
    VaultKey.metadata.create_all(database.engine, tables=[VaultKey.__table__])  # type: ignore[attr-defined]
    yield database
    database.close()


def verify(database: Database, ring: KeyRing) -> None:
    with database.transaction() as session:
        verify_ring(session, ring)


def remembered(session: Session) -> set[str]:
    return {row.key_id for row in session.exec(select(VaultKey))}


def all_bytes(file: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in file.parent.iterdir() if not path.name.endswith("-shm")}


def test_first_start_remembers_the_keys_and_the_next_one_passes(database: Database) -> None:
    verify(database, ring_of(OLD))
    verify(database, ring_of(OLD))

    with database.reading() as session:
        assert remembered(session) == {"k1"}


def test_database_holds_nothing_of_the_key(database: Database, file: Path) -> None:
    verify(database, ring_of(OLD))
    database.close()

    assert all(OLD[1] not in content and OLD[1].hex().encode() not in content for content in all_bytes(file).values())


def test_rotated_ring_passes_and_the_new_key_is_remembered(database: Database) -> None:
    verify(database, ring_of(OLD))
    verify(database, ring_of(NEW, OLD))

    with database.reading() as session:
        assert remembered(session) == {"k1", "k2"}


def test_ring_without_the_retired_key_passes(database: Database) -> None:
    verify(database, ring_of(NEW, OLD))
    verify(database, ring_of(NEW))


@pytest.mark.parametrize(
    "wrong",
    [
        (OTHER,),
        (OTHER, NEW),
        (("k1", b"\x09" * 32),),
        (NEW, ("k1", b"\x09" * 32)),
        (("k1", b"\x01" * 31 + b"\x00"),),
    ],
)
def test_wrong_key_is_told_in_one_line_and_no_byte_of_the_database_changes(
    database: Database, file: Path, wrong: tuple[tuple[str, bytes], ...]
) -> None:
    verify(database, ring_of(OLD))
    database.close()
    before = all_bytes(file)

    with pytest.raises(WrongKey) as caught:
        verify(database, ring_of(*wrong))
    database.close()

    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert all_bytes(file) == before
