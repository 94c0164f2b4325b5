from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from portal.operation.cli import app
from portal.runtime import Runtime
from portal.vault import KeyRing
from tests.audit.conftest import Add, about, events_of
from tests.audit.tampering import restore, tamper

Run = Callable[..., Result]


@pytest.fixture
def run(runtime: Runtime, ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `gatehouse audit` on the test's database."""
    monkeypatch.setenv("GATEHOUSE_KEYS", ring.to_text())
    monkeypatch.setenv("GATEHOUSE_DATA_DIR", str(runtime.settings.data_dir))
    monkeypatch.setenv("GATEHOUSE_DATABASE_URL", runtime.settings.database_url)
    return lambda *arguments: CliRunner().invoke(app, ["audit", *arguments])


def test_verify_says_that_all_is_well(run: Run, add: Add) -> None:
    add(3)

    answer = run("verify")

    assert (answer.exit_code, answer.stdout) == (0, "All 3 events are as they were written.\n")


def test_verify_names_the_first_wrong_event_and_exits_with_1(run: Run, runtime: Runtime, add: Add) -> None:
    add(5)
    tamper(runtime, "UPDATE audit_event SET result = 'refused' WHERE number IN (4, 5)")

    answer = run("verify")

    assert answer.exit_code == 1
    assert answer.stdout == "Event 4 is not as it was written. The 3 before it are as they were written.\n"


def test_verify_asks_the_head_file(
    run: Run, runtime: Runtime, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(5)
    path = tmp_path / "head"
    monkeypatch.setenv("GATEHOUSE_AUDIT_HEAD_FILE", str(path))
    assert "does not exist" in run("verify").stderr
    path.write_text(f"2026-01-31T10:00:00+00:00 5 {events_of(runtime)[-1].hash}\n")
    assert (run("verify").exit_code, run("verify").stderr) == (0, "")
    tamper(runtime, *restore(2))

    answer = run("verify")

    assert answer.exit_code == 1
    assert answer.stdout.startswith("Event 3 and all up to 5 are missing: the head file noted it at 2026-01-31T10:")


def test_export_is_csv_of_everybody_and_is_recorded_itself(run: Run, runtime: Runtime, add: Add) -> None:
    add(2)
    add(target=about(1, "=cmd|' /C calc'!A0", organization_id=2))

    answer = run("export", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["object_name"] for row in rows] == ["", "", "'=cmd|' /C calc'!A0", ""]
    assert (rows[3]["action"], rows[3]["actor_name"]) == ("audit.exported", "Command line")


def test_export_is_json_lines_of_some_days(run: Run, add: Add, runtime: Runtime) -> None:
    add(2)
    day = events_of(runtime)[0].at.date()

    found = run("export", "--format", "json", "--from", str(day), "--to", "2999-12-31").stdout
    none = run("export", "--format", "json", "--to", "2020-01-01").stdout

    assert [json.loads(line)["number"] for line in found.splitlines()] == [1, 2, 3]
    assert none == ""


def test_day_that_is_none_is_refused(run: Run, runtime: Runtime) -> None:
    answer = run("export", "--from", "yesterday")

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "2026-01-31" in answer.stderr
    assert events_of(runtime) == []
