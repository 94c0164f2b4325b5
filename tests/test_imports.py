"""Imports run one way: the table below is the tree's order, lowest first."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "portal"

# A module may import from its own floor and from those below it.
FLOORS = (
    (
        *("settings", "errors", "failures", "db", "htmx", "requestinfo", "assets", "crash_points", "durable"),
        *("instance", "foreign", "redaction", "private", "times", "shutdown", "storage"),
    ),
    ("listening", "preflight"),
    ("net",),
    ("vault",),
    ("logs", "error_pages", "runtime"),
    ("gitlab",),
    ("audit",),
    ("jobs",),
    ("accounts", "security", "forms"),
    ("connections",),
    ("authorization",),
    ("repositories",),
    ("disconnection", "health"),
    ("migrations",),
    ("keys", "backup"),
    ("start", "serving", "cli", "__init__", "__main__"),
)
# Views of a low capability need the sign-in of a higher one: who may see a page is decided in `accounts`.
VIEWS_MAY_ALSO = {"accounts", "security", "forms"}
# And one below `jobs` may have background work of its own.
JOBS_MAY_ALSO = {"jobs"}
# Ground modules of one floor that may know each other.
FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}
# The sandbox stands beside the house: it imports nothing of it, and only the command line starts it.
BESIDE = {"sandbox"}


def modules() -> list[Path]:
    return [path for path in ROOT.rglob("*.py") if "versions" not in path.parts]


def capability(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "portal":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("portal.")}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_its_own_floor_and_lower_ones(path: Path) -> None:
    own = capability(path)
    if own in BESIDE:
        assert imported(path) <= BESIDE
        return
    also = {"views.py": VIEWS_MAY_ALSO, "jobs.py": JOBS_MAY_ALSO}.get(path.name, set())

    higher = {name for name in imported(path) - BESIDE - also if FLOOR_OF[name] > FLOOR_OF[own]}

    assert not higher
    assert own in {"cli"} or not imported(path) & BESIDE


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_services_do_not_know_flask(path: Path) -> None:
    if "service" not in path.parts and path.name not in {"service.py", "models.py", "jobs.py"}:
        return

    names = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }

    assert "flask" not in names


def test_every_capability_has_its_floor() -> None:
    assert {capability(path) for path in modules()} <= set(FLOOR_OF) | BESIDE
