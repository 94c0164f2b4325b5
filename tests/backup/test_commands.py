from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from portal.db import Database
from portal.operation.cli import app
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.settings import Settings
from tests.backup.conftest import runtime_of
from tests.keys.conftest import add_secrets, open_all
from tests.support.people import make_cast


@pytest.fixture
def backend() -> str:
    """One database: the commands only print."""
    return "sqlite"


def run(monkeypatch: pytest.MonkeyPatch, settings: Settings, *arguments: str, typed: str = "") -> Result:
    """Run `gatehouse` on the database of these settings."""
    monkeypatch.setenv("GATEHOUSE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("GATEHOUSE_KEY_FILE", str(settings.resolved_key_file))
    return CliRunner().invoke(app, list(arguments), input=typed)


def test_backup_restore_and_confirmation_from_the_terminal(
    runtime: Runtime, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = add_secrets(runtime, 2)
    folder = str(tmp_path / "backup")

    made = run(monkeypatch, runtime.settings, "backup", folder)
    restored = run(monkeypatch, elsewhere, "restore", folder)
    confirmed = run(monkeypatch, elsewhere, "restore", "--confirm-running")
    again = run(monkeypatch, elsewhere, "restore", "--confirm-running")

    assert made.exit_code == restored.exit_code == confirmed.exit_code == 0, made.stdout + restored.stdout
    assert runtime.vault.ring.newest.key_id in made.stdout
    assert "Nothing runs in the background yet" in restored.stdout
    assert "2 credentials are tried out" in confirmed.stdout
    assert (again.exit_code, again.stdout) == (2, "Refused: This portal is not waiting for a confirmation.\n")
    there = Database(elsewhere.resolved_database_url)
    assert open_all(runtime_of(elsewhere, there)) == stored
    there.close()


def test_refusal_is_one_line_and_exit_code_2(
    runtime: Runtime, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = run(monkeypatch, elsewhere, "restore", str(tmp_path / "nothing"))
    nothing = run(monkeypatch, elsewhere, "restore")

    assert refused.exit_code == nothing.exit_code == 2
    assert refused.stdout.startswith("Refused: There is no backup here")
    assert refused.stdout.count("\n") == nothing.stdout.count("\n") == 1


def test_replacing_a_portal_in_use_wants_the_word_typed(
    runtime: Runtime, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "backup")
    run(monkeypatch, runtime.settings, "backup", folder)
    prepare(elsewhere)
    there = Database(elsewhere.resolved_database_url)
    make_cast(runtime_of(elsewhere, there))
    there.close()
    path = Path(elsewhere.resolved_database_url.removeprefix("sqlite:///"))
    before = path.read_bytes()

    refused = run(monkeypatch, elsewhere, "restore", folder, "--replace", typed="yes\n")
    assert refused.exit_code == 2
    assert path.read_bytes() == before
    done = run(monkeypatch, elsewhere, "restore", folder, "--replace", typed="replace\n")

    assert done.exit_code == 0
    assert "before-restore" in done.stdout
