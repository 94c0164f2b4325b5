from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from portal.operation.start import prepare
from portal.settings import Settings
from portal.vault import KeyRingError, WrongKey
from portal.vault.keyring import KEYS_VARIABLE
from tests.vault.conftest import ring_text


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    return Settings.from_environ(data_dir=tmp_path)


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("gatehouse.db*") if not path.name.endswith("-shm")}


def test_first_start_makes_a_key_file_and_the_next_one_keeps_it(settings: Settings) -> None:
    made = prepare(settings).made_key_file
    assert made is not None
    before = made.read_bytes()

    assert prepare(settings).made_key_file is None
    assert made.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "mode", "error"),
    [
        (ring_text(("other", b"\x05" * 32)), 0o600, WrongKey),
        (ring_text(("k1", b"\x05" * 31)), 0o600, KeyRingError),
        (ring_text(("k1", b"\x05" * 32)), 0o644, KeyRingError),
        ("", 0o600, KeyRingError),
    ],
)
def test_start_with_an_unusable_key_stops_and_changes_no_byte_of_the_database(
    settings: Settings, content: str, mode: int, error: type[Exception]
) -> None:
    prepare(settings)
    before = all_bytes(settings.data_dir)
    settings.resolved_key_file.write_text(content)
    settings.resolved_key_file.chmod(mode)

    with pytest.raises(error) as caught:
        prepare(settings)

    assert "\n" not in str(caught.value)
    assert all_bytes(settings.data_dir) == before


def test_start_after_the_key_file_was_lost_stops_and_changes_no_byte_of_the_database(settings: Settings) -> None:
    prepare(settings)
    before = all_bytes(settings.data_dir)
    settings.resolved_key_file.unlink()

    with pytest.raises(KeyRingError):
        prepare(settings)

    assert all_bytes(settings.data_dir) == before


def test_command_ends_with_one_line_and_the_exit_code_of_a_bad_configuration(settings: Settings) -> None:
    prepare(settings)
    settings.resolved_key_file.write_text(ring_text(("other", b"\x05" * 32)))

    ended = subprocess.run(
        [sys.executable, "-m", "portal", "serve", "--bind", "127.0.0.1:0"],
        env={**os.environ, "GATEHOUSE_DATA_DIR": str(settings.data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 78
    assert ended.stderr == "The key ring holds none of the keys this database was written with.\n"
    assert ended.stdout == ""
