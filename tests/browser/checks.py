"""What can be measured of a page's look: axe, and the things that axe does not see."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

from tests.support.axe import axe_findings

TESTS = Path(__file__).parents[1]
WEAK_EDGES = (TESTS / "ui" / "weak_edges.js").read_text(encoding="utf-8").partition("\n")[2]
FAINT_PLACEHOLDERS = (Path(__file__).parent / "faint_placeholders.js").read_text(encoding="utf-8")
HIDDEN_FOCUS = (Path(__file__).parent / "hidden_focus.js").read_text(encoding="utf-8")


def problems_of(page: Page) -> list[str]:
    """Return what is wrong with the page as it stands, at its present width; empty when nothing is."""
    axe = [f"axe {finding}" for finding in axe_findings(page)]
    # The last one moves the focus, and edges then change their colour for a moment.
    return [*axe, *_edges(page), *_placeholders(page), *_overflow(page), *_hidden_focus(page)]


def open_folds(page: Page) -> None:
    """Unfold everything that is folded, menus excepted: what is hidden is not measured."""
    page.evaluate("document.querySelectorAll('details:not([data-menu])').forEach((fold) => { fold.open = true; })")


def _edges(page: Page) -> list[str]:
    return [f"edge of {control} has only {ratio:.2f}" for control, ratio in page.evaluate(WEAK_EDGES)]


def _placeholders(page: Page) -> list[str]:
    return [f"placeholder of {field} has only {ratio:.2f}" for field, ratio in page.evaluate(FAINT_PLACEHOLDERS)]


def _overflow(page: Page) -> list[str]:
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    return [f"the page is {wide - seen} px too wide at {seen}"] if wide > seen else []


def _hidden_focus(page: Page) -> list[str]:
    return [f"focus is hidden: {element}" for element in page.evaluate(HIDDEN_FOCUS)]
