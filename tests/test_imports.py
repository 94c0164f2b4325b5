"""Imports run one way: the table below is the order of the packages, lowest first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent / "portal"

# A module may import from its own layer and from those below it. Files of `portal/` itself are the ground, and so is
# what tells an installation from its copy.
FLOORS = (
    ("ground",),
    ("net",),
    ("vault",),
    ("gitlab",),
    ("audit",),
    ("web",),
    ("jobs",),
    ("accounts",),
    ("audit_log",),
    ("connections",),
    ("budgets",),
    ("provisioning",),
    ("credentials",),
    ("access_tokens",),
    ("authorization",),
    ("repositories",),
    ("webhooks",),
    ("ingestion",),
    ("reports",),
    ("sync",),
    ("gitops",),
    ("handover", "disconnection", "health", "copies", "configuration"),
    ("__init__",),
    ("operation",),
    ("__main__",),
)
FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}
# The runtime is ground, although it holds parts of the packages above it: everything is built from it.
GROUND_MAY_ALSO = {"runtime.py": {"net", "vault"}, "preflight.py": {"vault"}}
# The sandbox is beside the rest: it imports nothing from it, and only the command line starts it.
SANDBOX = "sandbox"
TOP = {"__init__.py", "__main__.py"}
FLASK = {"flask", "flask_wtf", "werkzeug", "wtforms", "htmx_flask"}


@cache
def modules() -> dict[str, Path]:
    """Return every module by its name, except migrations: they are self-contained."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        if "versions" not in path.parts:
            parts = ("portal", *path.relative_to(ROOT).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    if len(parts) > 1:
        return "ground" if parts[0] == "installation" else parts[0]
    return parts[0].removesuffix(".py") if parts[0] in TOP else "ground"


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the modules of the portal that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "portal":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules() else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("portal.")}
    return frozenset(found)


def house() -> Iterator[tuple[str, Path]]:
    return ((name, path) for name, path in modules().items() if package_of(path) != SANDBOX)


def test_every_package_has_its_floor() -> None:
    assert {package_of(path) for _, path in house()} == set(FLOOR_OF)


def test_module_imports_only_its_own_floor_and_lower_ones() -> None:
    wrong = []
    for name, path in house():
        may_also = GROUND_MAY_ALSO.get(path.name, set()) if package_of(path) == "ground" else set()
        for target in imported(path):
            package = package_of(modules()[target])
            if package == SANDBOX:
                wrong += [] if name == "portal.operation.cli" else [(name, target)]
            elif package not in may_also and FLOOR_OF[package] > FLOOR_OF[package_of(path)]:
                wrong.append((name, target))

    assert wrong == []


def test_sandbox_knows_nothing_of_the_house() -> None:
    sandbox = {name: path for name, path in modules().items() if package_of(path) == SANDBOX}

    assert sandbox
    assert [
        (name, target) for name, path in sandbox.items() for target in imported(path) if target not in sandbox
    ] == []


def test_packages_import_each_other_one_way_only() -> None:
    ways = {
        (package_of(path), package_of(modules()[target]))
        for name, path in house()
        for target in imported(path)
        if package_of(modules()[target]) != package_of(path)
    }

    assert {tuple(sorted(way)) for way in ways if (way[1], way[0]) in ways} - {
        ("ground", "net"),
        ("ground", "vault"),
    } == set()


def test_files_import_in_no_circle() -> None:
    order = {name: imported(path) - {name} for name, path in house()}
    while leaves := [name for name, targets in order.items() if not targets & set(order)]:
        for name in leaves:
            del order[name]

    assert sorted(order) == []


def test_only_web_files_know_flask() -> None:
    knowing = {
        str(path.relative_to(ROOT))
        for _, path in house()
        if path.name not in {"views.py", "forms.py"} and not path.name.endswith("_views.py")
        if package_of(path) not in {"web", "__init__"}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom | ast.Import)
        for module in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
        if module.split(".")[0] in FLASK
    }

    assert knowing == set()
