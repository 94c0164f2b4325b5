from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from portal.vault import KeyRing, KeyRingError
from portal.vault.keyring import KEYS_VARIABLE
from tests.vault.conftest import ring_of, ring_text

KEY = base64.b64encode(b"\x01" * 32).decode()


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(path: Path) -> str:
    """Return the line that refuses a key file."""
    with pytest.raises(KeyRingError) as caught:
        KeyRing.from_file(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_made_file_is_private_holds_one_random_key_and_reads_back(key_file: Path, tmp_path: Path) -> None:
    made = KeyRing.create_file(key_file)
    other = KeyRing.create_file(tmp_path / "other.json")

    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert KeyRing.from_file(key_file).newest == made.newest
    assert len(made.newest.material) == 32
    assert made.newest.material != other.newest.material


def test_existing_file_is_never_overwritten(key_file: Path) -> None:
    KeyRing.create_file(key_file)
    before = key_file.read_bytes()

    with pytest.raises(KeyRingError, match="cannot be created"):
        KeyRing.create_file(key_file)

    assert key_file.read_bytes() == before


def test_missing_file_is_refused_by_one_line(key_file: Path) -> None:
    assert refusal(key_file) == f"The key file {key_file} cannot be read: No such file or directory."


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o620, 0o666, 0o601, 0o660])
def test_file_that_others_may_touch_is_refused(key_file: Path, mode: int) -> None:
    written(key_file, ring_text(("k1", b"\x01" * 32)).encode(), mode)

    assert "set its mode to 0600" in refusal(key_file)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_file_of_its_owner_alone_is_read(key_file: Path, mode: int) -> None:
    written(key_file, ring_text(("k1", b"\x01" * 32)).encode(), mode)

    assert KeyRing.from_file(key_file).key_ids == ["k1"]


@pytest.mark.parametrize("length", [0, 1, 16, 31, 33, 64])
def test_key_of_another_length_is_refused(key_file: Path, length: int) -> None:
    written(key_file, ring_text(("k1", b"\x01" * length)).encode())

    assert f"has {length} bytes instead of 32" in refusal(key_file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00\x01",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'"text"',
        b"null",
        b'{"keys": null}',
        b'{"keys": []}',
        b'{"keys": "abc"}',
        b'{"keys": [1]}',
        b'{"keys": [{}]}',
        b'{"keys": [{"id": "k1"}]}',
        b'{"keys": [{"id": "k1", "key": 5}]}',
        b'{"keys": [{"id": "k1", "key": "not base64!"}]}',
        json.dumps({"keys": [{"id": "k1", "key": "ä" * 43}]}).encode(),
        json.dumps({"keys": [{"key": KEY}]}).encode(),
        json.dumps({"keys": [{"id": "", "key": KEY}]}).encode(),
        json.dumps({"keys": [{"id": "k" * 17, "key": KEY}]}).encode(),
        json.dumps({"keys": [{"id": "kä", "key": KEY}]}).encode(),
        json.dumps({"keys": [{"id": "k\n1", "key": KEY}]}).encode(),
        json.dumps({"keys": [{"id": "k1", "key": KEY}, {"id": "k1", "key": KEY}]}).encode(),
    ],
)
def test_malformed_file_is_refused_by_one_line_without_its_content(key_file: Path, content: bytes) -> None:
    written(key_file, content)

    assert KEY not in refusal(key_file)


def test_ring_shows_ids_and_never_keys() -> None:
    ring = ring_of(("k1", b"\x01" * 32), ("k2", b"\x02" * 32))

    assert repr(ring) == "KeyRing(k1, k2)"
    assert "\\x01" not in repr(ring.newest)
    assert KEY not in f"{ring} {ring.newest} {ring.get('k2')}"


def test_environment_wins_over_the_file(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    KeyRing.create_file(key_file)
    monkeypatch.setenv(KEYS_VARIABLE, ring_text(("env", b"\x03" * 32)))

    assert KeyRing.from_settings(key_file).key_ids == ["env"]


def test_malformed_environment_is_refused_by_its_name_only(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, KEY)

    with pytest.raises(KeyRingError) as caught:
        KeyRing.from_settings(key_file)

    assert str(caught.value) == f"The key ring in {KEYS_VARIABLE} is not in the portal's format."


def test_ring_is_configured_by_either_source(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    assert not KeyRing.is_configured(key_file)

    monkeypatch.setenv(KEYS_VARIABLE, "x")
    assert KeyRing.is_configured(key_file)

    monkeypatch.delenv(KEYS_VARIABLE)
    KeyRing.create_file(key_file)
    assert KeyRing.is_configured(key_file)
