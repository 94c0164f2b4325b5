"""The programs themselves: `gatehouse serve` on a fresh folder, the wheel, and the small commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.processes import ending, free_port, lines_until

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"http://127\.0\.0\.1:\d+/setup/[\w-]+")


@contextmanager
def serving(folder: Path, *arguments: str, path: str = "", **settings: str) -> Iterator[tuple[str, list[str]]]:
    """Run `gatehouse serve` until the block ends; yield the base URL and the lines it printed."""
    base_url = f"http://127.0.0.1:{free_port()}"
    environment = {**os.environ, "COLUMNS": "200", "GATEHOUSE_BASE_URL": base_url, "GATEHOUSE_DATA_DIR": str(folder)}
    environment |= {f"GATEHOUSE_{name.upper()}": value for name, value in settings.items()}
    if path:
        environment["PYTHONPATH"] = path
    command = [sys.executable, "-m", "portal", "serve", f"--log-file={folder}/log", *arguments]
    folder.mkdir(parents=True, exist_ok=True)
    cwd = folder if path else ROOT
    process = subprocess.Popen(command, env=environment, cwd=cwd, stdout=subprocess.PIPE, text=True)
    with ending(process):
        yield base_url, lines_until(process, "Stop with")
    assert process.returncode == 0


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "GATEHOUSE_DATA_DIR": str(folder)}
    environment |= {f"GATEHOUSE_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "portal", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_serve_prints_a_setup_link_that_works_until_somebody_exists(tmp_path: Path) -> None:
    with serving(tmp_path / "var", "--sandbox", f"--sandbox-port={free_port()}") as (base_url, lines):
        link = LINK.search("".join(lines))
        assert link
        page = httpx2.get(link.group(), trust_env=False)
        sign_in = httpx2.get(f"{base_url}/", trust_env=False, follow_redirects=True)

    assert page.status_code == 200
    assert "Set up Gatehouse" in page.text
    assert sign_in.status_code == 200
    assert (tmp_path / "var" / "keys.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda keys: keys.chmod(0o644), "may be read by others"),
        (lambda keys: keys.write_text("{}"), "is not what the portal wrote"),
    ],
)
def test_unusable_key_file_stops_the_start_with_one_line(tmp_path: Path, damage: object, sentence: str) -> None:
    with serving(tmp_path / "var", embedded_worker="false"):
        pass
    before = (tmp_path / "var" / "gatehouse.db").read_bytes()
    damage(tmp_path / "var" / "keys.json")

    result = run(tmp_path / "var", "serve")

    assert result.returncode != 0
    assert sentence in (result.stdout + result.stderr).replace("\n", " ")
    assert "Traceback" not in result.stdout + result.stderr
    assert (tmp_path / "var" / "gatehouse.db").read_bytes() == before


def test_lost_key_file_stops_the_start_and_is_not_replaced(tmp_path: Path) -> None:
    with serving(tmp_path / "var", embedded_worker="false"):
        pass
    (tmp_path / "var" / "keys.json").unlink()

    result = run(tmp_path / "var", "serve")

    assert result.returncode != 0
    assert "Put it back" in (result.stdout + result.stderr).replace("\n", " ")
    assert "Traceback" not in result.stdout + result.stderr
    assert not (tmp_path / "var" / "keys.json").exists()


@pytest.mark.parametrize(("host", "code"), [("[64:ff9b::7f00:1]", 2), ("10.1.2.3", 0)])
def test_check_host_tells_whether_the_door_lets_it_through(tmp_path: Path, host: str, code: int) -> None:
    assert run(tmp_path, "check-host", host).returncode == code


def test_bad_setting_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path, "migrate", base_url="nonsense")

    assert result.returncode == 78
    assert "GATEHOUSE_BASE_URL" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_wheel_starts_with_its_templates_and_static_files(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next(tmp_path.glob("gatehouse-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
        names = archive.namelist()

    with serving(tmp_path / "var", path=str(tmp_path / "unpacked"), embedded_worker="false") as (base_url, lines):
        page = httpx2.get(LINK.search("".join(lines)).group(), trust_env=False)
        sheet = re.search(r'href="(/static/css/base[^"]+)"', page.text)[1]
        style = httpx2.get(base_url + sheet, trust_env=False)

    assert "wsgi.py" in names
    assert not any("NOTE" in name or name.startswith("tests/") for name in names)
    assert (page.status_code, style.status_code) == (200, 200)
