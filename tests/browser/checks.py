"""What can be measured of a page's look: axe, and the things that axe does not see."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

TESTS = Path(__file__).parents[1]
AXE = (TESTS / "vendor" / "axe-4.14.1.min.js").read_text(encoding="utf-8")
WEAK_EDGES = (TESTS / "ui" / "weak_edges.js").read_text(encoding="utf-8").partition("\n")[2]
FAINT_PLACEHOLDERS = (Path(__file__).parent / "faint_placeholders.js").read_text(encoding="utf-8")
HIDDEN_FOCUS = (Path(__file__).parent / "hidden_focus.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def problems_of(page: Page) -> list[str]:
    """Return what is wrong with the page as it stands, at its present width; empty when nothing is."""
    return [*_axe(page), *_edges(page), *_placeholders(page), *_overflow(page), *_hidden_focus(page)]


def open_folds(page: Page) -> None:
    """Unfold everything that is folded, menus excepted: what is hidden is not measured."""
    page.evaluate("document.querySelectorAll('details:not([data-menu])').forEach((fold) => { fold.open = true; })")


def _axe(page: Page) -> list[str]:
    # Evaluated over the debugger, which the page's policy does not bind.
    page.evaluate(f"window.axe || (() => {{ {AXE} }})()")
    found = page.evaluate("(rules) => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES)
    return [f"axe {rule['id']}: {node['target']}" for rule in found["violations"] for node in rule["nodes"]]


def _edges(page: Page) -> list[str]:
    return [f"edge of {control} has only {ratio:.2f}" for control, ratio in page.evaluate(WEAK_EDGES)]


def _placeholders(page: Page) -> list[str]:
    return [f"placeholder of {field} has only {ratio:.2f}" for field, ratio in page.evaluate(FAINT_PLACEHOLDERS)]


def _overflow(page: Page) -> list[str]:
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    return [f"the page is {wide - seen} px too wide at {seen}"] if wide > seen else []


def _hidden_focus(page: Page) -> list[str]:
    return [f"focus is hidden: {element}" for element in page.evaluate(HIDDEN_FOCUS)]
