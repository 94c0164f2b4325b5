"""What the documents say exists, and what exists is in them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from portal.operation.cli import app
from tests.test_imports import FLOORS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEPENDENCIES = (ROOT / "docs" / "dependencies.md").read_text()
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
CODE = [path for folder in ("portal", "bench", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
LINK = re.compile(r"\[[^]]*\]\((?!https?://)([^)#\s]*)(#[^)\s]*)?\)")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# A command in a code span or a code block; the same word is also a user, a role and a database.
COMMAND = re.compile(r"(?<![\w@=.-])gatehouse (?!gatehouse\b)(?P<name>[a-z][\w-]*)(?P<rest>[^`\n|>]*)")


def anchors(document: Path) -> set[str]:
    """Return the anchors that a forge makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_in(document: Path) -> str:
    text = document.read_text()
    blocks = re.findall(r"^ *```.*?^ *```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`[^`\n]+`", text)])


def commands_in(document: Path) -> Iterator[tuple[str, Any, set[str]]]:
    for found in COMMAND.finditer(code_in(document)):
        command, words = COMMANDS.get(found["name"]), found["rest"].split()
        if words and words[0].isalpha() and words[0].islower() and hasattr(command, "commands"):
            command = command.commands.get(words[0])
        yield found[0], command, {word.partition("=")[0] for word in words if word.startswith("--")}


def test_architecture_lists_every_package_lowest_first() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    # The ground and the program itself do not count as layers.
    floors = [name for floor in FLOORS for name in floor if (ROOT / "portal" / name / "__init__.py").exists()]

    assert [name for name in listed if name != "installation"] == floors
    assert {path.parent.name for path in (ROOT / "portal").glob("*/__init__.py")} == {*listed, "sandbox"}


def test_architecture_names_what_is_in_the_code() -> None:
    how = (ROOT / "docs" / "architecture.md").read_text().partition("## How to add")[2]
    code = "\n".join(path.read_text() for path in CODE)

    assert [name for name in re.findall(r"`(_?[A-Za-z]\w{3,})`", how) if not re.search(rf"\b{name}\b", code)] == []


def test_readme_lists_every_command() -> None:
    table = "".join(re.findall(r"^\| `gatehouse .*", README, re.MULTILINE))
    in_groups = {name for command in COMMANDS.values() for name in getattr(command, "commands", ())}

    assert {*COMMANDS, *in_groups} <= set(re.findall(r"[\w-]+", table))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_and_option_that_a_document_names_exists(document: Path) -> None:
    for text, command, options in commands_in(document):
        assert command is not None, text
        assert options <= {"--help", *(opt for param in command.params for opt in param.opts)}, text


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = set(re.findall(r"[a-z0-9-]+", DEPENDENCIES.lower()))
    declared = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]

    assert {re.split(r"[^\w-]", entry)[0].lower() for entry in declared} <= named


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_and_link_of_a_document_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    paths = re.findall(r"(?<![\w./])(?:portal|tests|docs|static|templates|bench)/[\w./-]*\w", text)
    links = [((document.parent / path) if path else document, anchor) for path, anchor in LINK.findall(text)]

    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [str(path) for path, _ in links if not path.exists()] == []
    assert [anchor for path, anchor in links if anchor and anchor not in anchors(path)] == []


def test_words_of_troubleshooting_are_those_that_the_portal_says() -> None:
    table = (ROOT / "docs" / "operation.md").read_text().partition("## Troubleshooting")[2].partition("\n## ")[0]
    shown = [
        text for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for text in re.findall("[`*]([^`*]+)[`*]", row)
    ]
    sources = [*sorted((ROOT / "portal").rglob("*.py")), ROOT / "Makefile", ROOT / "tests" / "system_packages.sh"]
    # Some texts continue on the next line.
    code = re.sub(r'"\s*f?"', "", "\n".join(path.read_text() for path in sources))

    # Some are put together from parts, so three words in a row are enough.
    said = [part.split() for text in shown for part in text.split("…")]
    unknown = [
        " ".join(words)
        for words in said
        if len(words) > 2 and not any(" ".join(words[i : i + 3]) in code for i in range(len(words) - 2))
    ]
    assert len(shown) > 15
    assert unknown == []


def test_comments_point_only_at_what_everybody_can_open() -> None:
    for path in CODE:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            where = f"{path.relative_to(ROOT)}:{number}"
            for name, heading in re.findall(r'\b(docs/\w+\.md)(?:, "([^"]+)")?', line):
                assert (ROOT / name).exists(), where
                assert not heading or f"## {heading}\n" in (ROOT / name).read_text(), where
            # A section is one of an RFC, and the line says of which.
            assert "§" not in line or "RFC" in line or path == Path(__file__), where


def test_every_difference_between_versions_says_what_the_portal_does() -> None:
    table = (ROOT / "docs" / "gitlab.md").read_text().partition("## Differences between versions")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]

    assert len(rows) > 30
    assert [row for row in rows if len(row) != 4 or not all(row)] == []
