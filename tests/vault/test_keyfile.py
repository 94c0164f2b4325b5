from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portal.operation.start import prepare
from portal.settings import Settings
from portal.vault import KeyRing, KeyRingError, Vault
from portal.vault.keyfile import change_file
from portal.vault.keyring import new_key
from tests.vault.conftest import ring_of, ring_text, without_audit_key

OLD, NEW = ("k1", b"\x01" * 32), ("k2", b"\x02" * 32)


def with_another_key(ring: KeyRing) -> KeyRing:
    return KeyRing([new_key(), *ring.keys], ring.audit_key)


def test_made_ring_has_an_audit_key_of_its_own(key_file: Path, tmp_path: Path) -> None:
    ring, other = KeyRing.create_file(key_file), KeyRing.create_file(tmp_path / "other.json")

    assert len(Vault(ring).audit_key) == 32
    assert ring.audit_key != other.audit_key
    assert KeyRing.from_file(key_file).audit_key == ring.audit_key


def test_audit_key_stays_through_rotation_and_the_end_of_the_oldest_key(key_file: Path) -> None:
    before = KeyRing.create_file(key_file)

    change_file(key_file, with_another_key)
    after = change_file(key_file, lambda ring: KeyRing(ring.keys[:1], ring.audit_key))

    assert before.key_ids != after.key_ids
    assert after.audit_key == before.audit_key


def test_ring_without_audit_key_has_one_from_its_oldest_key() -> None:
    assert ring_of(OLD).audit_key == ring_of(NEW, OLD).audit_key
    assert ring_of(OLD).audit_key != ring_of(NEW).audit_key
    assert ring_of(OLD).audit_key != OLD[1]


def test_start_writes_the_audit_key_down_and_keeps_mode_and_value(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    prepare(settings)
    without_audit_key(settings.resolved_key_file)
    before = KeyRing.from_file(settings.resolved_key_file)

    prepare(settings)

    after = KeyRing.from_file(settings.resolved_key_file)
    assert after.has_own_audit_key
    assert after.audit_key == before.audit_key
    assert after.key_ids == before.key_ids
    assert stat.S_IMODE(settings.resolved_key_file.stat().st_mode) == 0o600


def test_file_that_cannot_be_replaced_is_told_in_one_line(key_file: Path) -> None:
    with pytest.raises(KeyRingError) as caught:
        change_file(key_file, with_another_key)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("audit", ["", "AAAA", 5, "not base64!"])
def test_malformed_audit_key_is_refused(key_file: Path, audit: object) -> None:
    key_file.write_text(json.dumps({**json.loads(ring_text(OLD)), "audit": audit}))
    key_file.chmod(0o600)

    with pytest.raises(KeyRingError):
        KeyRing.from_file(key_file)


def test_changes_at_the_same_time_lose_no_key_and_leave_no_file_behind(key_file: Path) -> None:
    KeyRing.create_file(key_file)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: change_file(key_file, with_another_key), range(24)))

    assert len(KeyRing.from_file(key_file).key_ids) == 25
    assert [path.name for path in key_file.parent.iterdir()] == [key_file.name]


def test_link_to_the_key_file_stays_a_link(key_file: Path, tmp_path: Path) -> None:
    KeyRing.create_file(key_file)
    link = tmp_path / "link.json"
    link.symlink_to(key_file)

    change_file(link, with_another_key)

    assert link.is_symlink()
    assert len(KeyRing.from_file(key_file).key_ids) == 2


def test_created_at_is_kept(key_file: Path) -> None:
    before = KeyRing.create_file(key_file)

    after = change_file(key_file, with_another_key)

    assert before.newest.created_at
    assert after.keys[1] == before.newest
