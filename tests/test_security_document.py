"""`docs/security.md` keeps its word: every number once, every test it names there, and no row without one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([SF]\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
REQUIREMENTS = [*range(1, 8), *range(9, 70), *range(73, 78), *range(83, 111)]
FAULTS = [*range(1, 30), *range(31, 47), *range(48, 61)]
# A row may be without a test only for a reason.
NOT_YET = {
    "S54": "no rules for a container network are shipped",
    "S106": "no image and no release pipeline are shipped",
    "F55": "the web server ends a worker that no longer answers",
}


@cache
def names_in(name: str) -> frozenset[str]:
    path = ROOT / name
    body = ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []
    return frozenset(item.name for item in body if isinstance(item, ast.FunctionDef))


def test_every_requirement_and_every_fault_has_one_row() -> None:
    numbers = [number for number, _, _ in ROW.findall(DOCUMENT)]

    assert numbers == [f"S{number}" for number in REQUIREMENTS] + [f"F{number}" for number in FAULTS]


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(DOCUMENT)

    assert len(named) > len(REQUIREMENTS) + len(FAULTS)
    assert [f"{file}::{test}" for file, test in named if test not in names_in(file)] == []


def test_every_row_names_a_test_or_has_a_reason() -> None:
    without = {number: cell for number, _, cell in ROW.findall(DOCUMENT) if not NAMED.search(cell)}

    assert without == dict.fromkeys(NOT_YET, "not yet")
    assert all(f"**{number}**: {reason[:20]}" in DOCUMENT for number, reason in NOT_YET.items())
