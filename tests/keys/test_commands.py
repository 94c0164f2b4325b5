from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from portal.operation.cli import app
from portal.operation.keys import commands
from portal.runtime import Runtime
from tests.keys.conftest import add_secrets, open_all
from tests.keys.test_drop import let_settle


@pytest.fixture
def backend() -> str:
    """One database: the commands only print."""
    return "sqlite"


@pytest.fixture
def run(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    """Run `gatehouse keys` on the test's database."""
    monkeypatch.setenv("GATEHOUSE_DATA_DIR", str(runtime.settings.data_dir))
    monkeypatch.setattr(commands.console, "width", 200)  # It is only read from the environment at import.

    def call(*arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(app, ["keys", *arguments], input=typed)

    return call


def test_status_rotate_and_drop_from_the_terminal(runtime: Runtime, key_file: Path, run) -> None:
    stored = add_secrets(runtime, 2)
    old = runtime.vault.ring.newest.key_id

    rotated = run("rotate")
    let_settle(key_file)
    status = run("status")
    dropped = run("drop", old, typed=f"{old}\n")

    assert rotated.exit_code == 0
    assert "6 secrets sealed again, 0 unreadable" in rotated.stdout
    assert "application.client_secret_sealed 2" in status.stdout
    assert dropped.exit_code == 0, dropped.stdout
    assert f"Dropped {old}." in dropped.stdout
    assert old not in run("status").stdout
    assert open_all(runtime) == stored


def test_drop_wants_the_id_typed(runtime: Runtime, key_file: Path, run) -> None:
    old = runtime.vault.ring.newest.key_id
    run("rotate")
    let_settle(key_file)

    refused = run("drop", old, typed="yes\n")

    assert refused.exit_code == 2
    assert "Nothing was changed" in refused.stdout
    assert old in key_file.read_text()


def test_unreadable_rows_are_named_and_no_secret_is(runtime: Runtime, key_file: Path, run) -> None:
    from portal.credentials.models import Credential

    stored = add_secrets(runtime, 1)
    with runtime.database.transaction() as session:
        session.get_one(Credential, 1).access_token_sealed = b"\x01"

    rotated = run("rotate")

    assert rotated.exit_code == 0
    assert "credential.access_token_sealed of row 1" in rotated.stdout
    assert not [text for text in stored.values() if text in rotated.stdout]
