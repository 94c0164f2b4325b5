"""Regular expressions on foreign text take time in proportion to its length, and templates are files."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import portal

ROOT = Path(portal.__file__).parent
LENGTH = 100_000
# Texts that make a pattern backtrack: runs of what its classes match, and an end that matches nothing.
RUNS = ("a", "A", "0", "-", "_", "/", " ", "\t", "a.", "a-", "/a", "a/", "%2", "\\u", '"', "<a ", "a=", "é", "1 ")
ENDS = ("", "!\n", "\x00", "@")
METHODS = {"search", "match", "fullmatch", "findall", "finditer", "sub", "subn", "split"}
Pattern = re.Pattern[str] | re.Pattern[bytes]


def patterns() -> Iterator[tuple[str, tuple[Pattern, set[str]]]]:
    """Yield every compiled pattern at the top of a module of the portal, and how it is used there."""
    for module in pkgutil.walk_packages(portal.__path__, "portal."):
        if module.name.startswith(("portal.sandbox", "portal.operation.migrations", "portal.__main__")):
            continue
        imported = importlib.import_module(module.name)
        for name, value in vars(imported).items():
            if isinstance(value, re.Pattern):
                used = re.findall(rf"\b{name}\.(\w+)\(", Path(imported.__file__ or "").read_text())
                yield f"{module.name}.{name}", (value, METHODS & set(used))


FOUND = dict(patterns())


def test_patterns_are_found() -> None:
    assert len(FOUND) > 15


# Made from what an administrator writes; `tests/repositories/test_rules.py` holds that no path makes it slow.
MADE_FROM_RULES = "repositories/rules.py"


def test_every_pattern_stands_at_the_top_of_its_module() -> None:
    """So that the next test finds it; `re.fullmatch` with one of our own short texts is the exception."""
    inside = []
    for path in ROOT.rglob("*.py"):
        if "sandbox" in path.parts or "migrations" in path.parts:
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                inside += [
                    f"{path.relative_to(ROOT)}:{call.lineno}"
                    for call in ast.walk(function)
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == "re.compile"
                ]

    assert [place.rpartition(":")[0] for place in inside] == [MADE_FROM_RULES]


@pytest.mark.parametrize("name", FOUND)
def test_pattern_ends_on_any_long_text(name: str) -> None:
    """A pattern that backtracks takes minutes for one of these; then the test is stopped, and fails."""
    pattern, methods = FOUND[name]
    assert methods, "it is used in another way than this test knows"
    for run in RUNS:
        for end in ENDS:
            text = (run * LENGTH)[:LENGTH] + end
            subject = text.encode() if isinstance(pattern.pattern, bytes) else text
            for method in methods:
                empty = [subject[:0]] if method in {"sub", "subn"} else []
                result = getattr(pattern, method)(*empty, subject)
                if method == "finditer":
                    list(result)


def test_no_template_is_made_of_a_text() -> None:
    for path in ROOT.rglob("*.py"):
        if "sandbox" not in path.parts:
            assert "from_string" not in path.read_text(), path
            assert "render_template_string" not in path.read_text(), path
