"""What `make test` does on a machine that lacks packages, with an apt-get that answers like a real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tests" / "system_packages.sh"
# What the script may find; there is no browser among them.
TOOLS = ("bash", "env", "sleep", "cat")
LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 13184 (apt-get)"
# It records how it was called, and answers what the test wants as often as the test wants.
APT = """#!/usr/bin/env bash
echo "$@" >> "$NOTES/calls"
calls=0
while read -r _; do calls=$((calls + 1)); done < "$NOTES/calls"
[ "$calls" -gt "$FAILURES" ] && exit 0
echo "$SAYS"
exit 100
"""


@pytest.fixture
def bare_machine(tmp_path: Path) -> Path:
    """A folder of programs without Chromium."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        (programs / tool).symlink_to(shutil.which(tool) or tool)
    for name, text in {"apt-get": APT, "id": "#!/usr/bin/env bash\necho 0\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return programs


def install(programs: Path, says: str, failures: int, wait_seconds: int = 30) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": str(programs),
        "NOTES": str(programs.parent),
        "SAYS": says,
        "FAILURES": str(failures),
        "LOCK_WAIT_SECONDS": str(wait_seconds),
    }
    return subprocess.run([str(SCRIPT)], env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_installation_waits_for_another_one_and_says_so_once(bare_machine: Path) -> None:
    ended = install(bare_machine, LOCKED, failures=1)

    calls = (bare_machine.parent / "calls").read_text().splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("Waiting for another package installation") == 1
    assert [call.split()[0] for call in calls[:2]] == ["update", "update"]
    assert "DPkg::Lock::Timeout=30" in calls[2]
    assert "chromium" in calls[2]


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        (LOCKED, "has held its lock for 0 s"),
        (
            "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
            "dpkg --configure -a",
        ),
        ("E: Unmet dependencies. Try 'apt --fix-broken install' with no packages", "apt-get --fix-broken install"),
        ("E: Unable to locate package chromium", "does not offer chromium"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "enough free space"),
    ],
)
def test_installation_that_cannot_work_says_what_to_do(bare_machine: Path, says: str, sentence: str) -> None:
    ended = install(bare_machine, says, failures=99, wait_seconds=0)

    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_makefile_hands_its_variables_to_the_portal() -> None:
    command = ["make", "--dry-run", "--old-file=.venv/.runtime", "run", "PORT=8123", "SANDBOX_PORT=8124"]
    environment = {**os.environ, "GATEHOUSE_DATA_DIR": "/srv/data"}

    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert "GATEHOUSE_BASE_URL=http://127.0.0.1:8123 " in printed
    assert re.search(r"--sandbox --sandbox-port=8124 .*--log-file='/srv/data/gatehouse.log'", printed)
