"""What the documents say exists, and what exists is in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from portal.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEPENDENCIES = (ROOT / "docs" / "dependencies.md").read_text()
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def test_readme_names_every_package() -> None:
    where = README.partition("## Where things are")[2].partition("\n## ")[0]
    packages = {path.parent.name for path in (ROOT / "portal").glob("*/__init__.py")}

    assert packages <= set(re.findall(r"`(\w+)`", where))


def test_readme_lists_every_command() -> None:
    table = "".join(re.findall(r"^\| `gatehouse .*", README, re.MULTILINE))
    click = typer.main.get_command(app)

    assert set(click.commands) <= set(re.findall(r"[\w-]+", table))  # type: ignore[attr-defined]
    for command in click.commands["keys"].commands:  # type: ignore[attr-defined]
        assert f"`{command}`" in table


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = set(re.findall(r"[a-z0-9-]+", DEPENDENCIES.lower()))
    declared = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]

    assert {re.split(r"[^\w-]", entry)[0].lower() for entry in declared} <= named


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    paths = re.findall(r"(?:portal|tests|docs|static|templates|bench)/[\w./-]*\w", document.read_text())

    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_difference_between_versions_says_what_the_portal_does() -> None:
    table = (ROOT / "docs" / "gitlab.md").read_text().partition("## Differences between versions")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]

    assert len(rows) > 30
    assert [row for row in rows if len(row) != 4 or not all(row)] == []
