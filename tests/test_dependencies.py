"""What is installed is pinned by hash, names no address, and is not older than its last known vulnerability."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==([0-9][^ ;]*)(?: ;[^\\]*)? \\$")
# The first release without the vulnerabilities known when this was written.
FLOORS = {"flask": (3, 1, 3), "werkzeug": (3, 1, 6), "gunicorn": (22, 0), "authlib": (1, 6, 11), "jinja2": (3, 1, 6)}


def pins(name: str) -> dict[str, str]:
    """Return what a lock file installs; every line of it must be a pin, a hash or a comment."""
    found: dict[str, str] = {}
    hashes = 0
    for line in (ROOT / name).read_text().splitlines():
        if match := PIN.match(line):
            assert not found or hashes, f"nothing before {line} has a hash"
            found[match[1]], hashes = match[2], 0
        elif re.match(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", line):
            hashes += 1
        else:
            assert re.match(r"^ *#", line) or not line, line
    assert hashes
    return found


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_lock_file_has_nothing_but_pins_with_hashes(name: str) -> None:
    found = pins(name)

    assert len(found) > 40
    assert {package: found[package] for package, floor in FLOORS.items() if numbers(found[package]) < floor} == {}


def test_both_lock_files_install_the_same_versions() -> None:
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")

    assert {name: development.get(name) for name in runtime} == runtime


def test_everything_the_portal_asks_for_is_locked_and_installed_as_locked() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = pins("requirements.txt")

    names = {re.match(r"[A-Za-z0-9._-]+", text)[0].lower().replace("_", "-") for text in asked}
    assert names <= set(locked)
    assert {name: version(name) for name in names} == {name: locked[name] for name in names}


def test_portal_runs_with_what_the_lock_of_a_production_installs() -> None:
    """A package may import what only its extras install; here the development tools would hide that."""
    only_for_work = set(pins("requirements-dev.txt")) - set(pins("requirements.txt"))
    absent = [
        module
        for module, distributions in packages_distributions().items()
        if {re.sub(r"[._]", "-", name.lower()) for name in distributions} <= only_for_work
    ]
    hide = f"import sys; sys.modules.update(dict.fromkeys({absent}))"
    program = f"{hide}; import gatehouse_gunicorn, portal.operation.cli, portal.jobs.engine"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "pytest" in absent
    assert (ended.returncode, ended.stderr) == (0, "")


def test_installing_wants_the_hashes_and_builds_nothing() -> None:
    lines = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line and "-r" in line]

    assert len(lines) == 2
    assert all("--require-hashes --only-binary :all:" in line for line in lines)
