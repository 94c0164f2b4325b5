"""Rules for every template, checked in the source: what the policy would block, and what htmx 4 reads differently."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from flask import Flask

from portal.web.assets import STATIC, TEMPLATES
from tests.ui.gallery import create_gallery

CHECKER = Path(__file__).parents[1] / "vendor" / "htmx_4_0_1_upgrade_check.py"
ICON_NAMES = Path(__file__).parents[2] / "docs" / "icons" / "names.txt"
ALL = sorted(TEMPLATES.rglob("*.html"))
# The sandbox has its own look and its own stylesheet.
OURS = [path for path in ALL if "sandbox" not in path.parts]
FORBIDDEN = {
    "inline style": r"<style\b|\sstyle\s*=",
    "inline script": r"<script\b(?![^>]*\bsrc=)",
    "event handler attribute": r"<[^>]*\son[a-z]+\s*=\s*[\"']",
    "unescaped output": r"\|\s*safe\b|autoescape\s+false|\bMarkup\(",
    "script in an htmx attribute": r"hx-on\b|[\"'\s]js:|javascript:",
    "trigger filter": r"hx-trigger(?::\w+)*=(\"|')(?:[^\"']*,)?\s*[\w:-]+\[",
    "selector of two words without quotes in hx-trigger": r"hx-trigger=\"[^\"]*from:(?:find|closest|next|previous)\s",
    "address outside": r"(?:src|href)\s*=\s*[\"'](?:https?:)?//",
}
UNDEFINED_ON_PURPOSE = {"gh-error", "gh-popup", "gh-setup", "gh-label", "gh-choices", "gh-selection", "gh-setup-main"}


def relative(path: Path) -> str:
    return str(path.relative_to(TEMPLATES))


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_template_has_nothing_forbidden(path: Path) -> None:
    source = path.read_text(encoding="utf-8")

    found = {name: match.group(0) for name, rule in FORBIDDEN.items() if (match := re.search(rule, source))}

    assert found == {}


def test_template_prose_is_easy_to_read_and_to_change() -> None:
    """One sentence a line, no line beyond 160 characters, and no sentence put together with `~` inside a macro call."""
    jinja = re.compile(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}|<[^>]*>", re.DOTALL)
    composed = re.compile(r"~\s*\"([^\"{}]*)\"|\"([^\"{}]*)\"\s*~")
    found = []
    for path in ALL:
        source = path.read_text(encoding="utf-8")
        # What is removed leaves its line breaks, and a letter in place of a value.
        text = jinja.sub(
            lambda match: "x" * match.group(0).startswith("{{") + "\n" * match.group(0).count("\n"), source
        )
        lines = zip(source.splitlines(), text.splitlines(), strict=False)
        for number, (line, words) in enumerate(lines, 1):
            joined = [a or b for a, b in composed.findall(line)]
            if (
                len(line) > 160
                or re.search(r"[a-z)][.?!] +[A-Z]", words)
                or any(len(part.split()) > 3 for part in joined)
            ):
                found.append(f"{relative(path)}:{number} {line.strip()}")

    assert found == []


def test_templates_use_spellings_of_htmx_4() -> None:
    """`inheritance` is left to the next test: the checker also reports elements that make the request themselves."""
    answer = subprocess.run([sys.executable, str(CHECKER), str(TEMPLATES)], capture_output=True, text=True, check=False)

    issues = [line for line in answer.stdout.splitlines() if ": [" in line]

    # hx-disable is meant as htmx 4 means it: disable the element while it waits.
    wanted = ("[inheritance]", "hx-disable → rename to hx-ignore")
    assert [issue for issue in issues if not any(word in issue for word in wanted)] == []


def test_htmx_attributes_stand_on_the_element_that_asks_or_say_inherited() -> None:
    checker = _load_checker()
    lost = []
    for path in OURS:
        builder = checker.TreeBuilder()
        builder.feed(checker.strip_template_syntax(path.read_text(encoding="utf-8")))
        for node in builder.root.descendants():
            inheritable = checker.INHERITABLE_ATTRS & set(node.attrs)
            if inheritable and not node.has_request_attr():
                lost.append(f"{relative(path)}:{node.line} {sorted(inheritable)}")

    assert lost == []


def _load_checker():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("upgrade_check", CHECKER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sprite_has_exactly_the_chosen_icons_and_the_mark() -> None:
    ids = [symbol.attrib["id"] for symbol in ElementTree.parse(STATIC / "icons.svg").getroot()]

    assert ids == ["gatehouse", *ICON_NAMES.read_text(encoding="utf-8").split()]


def test_icons_named_in_templates_are_in_the_sprite() -> None:
    present = {symbol.attrib["id"] for symbol in ElementTree.parse(STATIC / "icons.svg").getroot()}
    named = re.compile(r"icon\(\"([a-z0-9-]+)\"|icon(?:_name|_after)=\"([a-z0-9-]+)\"|\"icon\": \"([a-z0-9-]+)\"")

    used = {name for path in OURS for match in named.findall(path.read_text("utf-8")) for name in match if name}

    assert used - present == set()


def test_classes_of_ours_are_defined_in_our_sheets() -> None:
    sheets = "".join(path.read_text(encoding="utf-8") for path in (STATIC / "css").glob("*.css"))
    defined = set(re.findall(r"\.(gh-[a-z0-9-]+)", sheets))

    # A name that ends in a hyphen is completed by a value: a class with that beginning has to exist.
    used = {name for path in OURS for name in re.findall(r"\bgh-[a-z0-9-]+", path.read_text(encoding="utf-8"))}
    missing = {
        name
        for name in used
        if not (name in defined or (name.endswith("-") and any(d.startswith(name) for d in defined)))
    }

    assert missing - UNDEFINED_ON_PURPOSE - {"gh-icon-"} == set()


def test_files_named_in_layouts_exist(gallery_app: Flask) -> None:
    with gallery_app.test_client() as client:
        html = client.get("/empty").text
        addresses = set(re.findall(r"(?:src|href)=\"(/static/[^\"#]+)", html))

        for address in addresses:
            with client.get(address) as answer:
                assert (address, answer.status_code) == (address, 200)


@pytest.fixture(scope="module")
def gallery_app() -> Flask:
    return create_gallery()


@pytest.mark.parametrize("path", sorted((TEMPLATES / "components").glob("*.html")), ids=relative)
def test_component_file_compiles_and_is_shown_in_the_gallery(path: Path, gallery_app: Flask) -> None:
    shown = "".join(
        file.read_text(encoding="utf-8") for file in Path(__file__).parent.joinpath("gallery").glob("*.html")
    )
    layouts = "".join(file.read_text(encoding="utf-8") for file in (TEMPLATES / "layouts").glob("*.html"))

    with gallery_app.test_request_context():
        module = gallery_app.jinja_env.get_template(f"components/{path.name}").module

    assert [name for name in dir(module) if not name.startswith("_")]
    assert f'"components/{path.name}"' in shown + layouts


@pytest.mark.parametrize(
    "address", ["/error/403", "/error/404", "/error/429", "/error/500", "/error/502", "/error/503"]
)
def test_error_page_tells_what_to_do_and_the_request_id(address: str, gallery_app: Flask) -> None:
    answer = gallery_app.test_client().get(address)

    assert answer.status_code == int(address.rpartition("/")[2])
    assert "01JD3V5Q7X9K2M4N6P8R0T2W4Y" in answer.text
    assert answer.text.count("<h1>") == 1
