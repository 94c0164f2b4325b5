"""Rules for our scripts, and for what the pages let htmx and other sites do."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from portal.web.assets import STATIC, TEMPLATES

SCRIPTS = sorted((STATIC / "js").rglob("*.js"))
PAGES = sorted(TEMPLATES.rglob("*.html"))
FORBIDDEN = {
    "message to any origin": r"postMessage\([^;]*[\"']\*[\"']",
    "trust in who opened the window": r"\bopener\b(?!.*\blost\b)|\.closed\b",
    "text that is run": r"\beval\(|new Function\(|setTimeout\(\s*[\"'`]|document\.write",
    "markup made of text": r"\.(?:inner|outer)HTML\s*=|insertAdjacentHTML",
    "other sites": r"https?://(?!www\.w3\.org/)",
}


def name_of(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_script_has_nothing_forbidden(path: Path) -> None:
    source = path.read_text(encoding="utf-8")

    assert {name for name, rule in FORBIDDEN.items() if re.search(rule, source)} == set()


def test_every_new_window_is_cut_off_from_the_page_that_opens_it() -> None:
    links = [tag for path in PAGES for tag in re.findall(r"<a\b[^>]*target=\"_blank\"[^>]*>", path.read_text("utf-8"))]

    assert len(links) > 5
    assert [tag for tag in links if 'rel="noopener noreferrer"' not in tag] == []


def test_pages_are_neither_framed_nor_kept_by_htmx() -> None:
    found = {str(path): path.read_text("utf-8") for path in PAGES}
    configured = re.findall(r"name=\"htmx-config\" content='([^']+)'", "".join(found.values()))

    assert [name for name, source in found.items() if "<iframe" in source] == []
    assert configured
    for text in configured:
        config = json.loads(unescape(text))
        # Never a copy of a page in the browser's storage, no inline styles, no extension except those named here.
        assert (config["history"], config["includeIndicatorCSS"], config["extensions"]) == ("reload", False, "none")
