"""What can be measured of a page's look: axe, and the things that axe does not see."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page

from tests.support.axe import COLOUR_RULES, axe_findings

TESTS = Path(__file__).parents[1]
WEAK_EDGES = (TESTS / "ui" / "weak_edges.js").read_text(encoding="utf-8").partition("\n")[2]
FAINT_PLACEHOLDERS = (Path(__file__).parent / "faint_placeholders.js").read_text(encoding="utf-8")
HIDDEN_FOCUS = (Path(__file__).parent / "hidden_focus.js").read_text(encoding="utf-8")

WIDTHS = (1366, 320)
# Where to leave pictures of every page, for people to look at; none by default.
PICTURES = os.environ.get("GATEHOUSE_TEST_PICTURES")

# Colours change over a moment: a value measured before the end is neither of the two.
USE_THEME = """async (theme) => {
  document.documentElement.dataset.bsTheme = theme;
  // Chromium keeps inherited light-dark() colours in folds until these are laid out again; people load a page instead.
  document.body.style.display = "none";
  document.body.getBoundingClientRect();
  document.body.style.display = "";
  await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
  const changes = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
  await Promise.allSettled(changes.map((change) => change.finished));
}"""


class Looker:
    """Checks pages in light, dark and forced colours, and at other widths in light; one run reports everything wrong.

    Colours do not depend on the width: what only a phone shows is checked at that width first.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, page: Page, name: str, widths: tuple[int, ...] = WIDTHS) -> None:
        for width in widths:
            page.set_viewport_size({"width": width, "height": 860 if width > 400 else 760})
            # Light comes last: its checks move the focus.
            for look in ("forced", "dark", "light") if width == widths[0] else ("light",):
                if look != "light":
                    page.emulate_media(forced_colors="active" if look == "forced" else "none")
                page.evaluate(USE_THEME, "dark" if look == "dark" else "light")
                if PICTURES:
                    picture = f"{name.replace('/', '_')}-{look}-{width}.png"
                    page.screenshot(path=Path(PICTURES) / picture, full_page=True)
                found = problems_of(page) if look == "light" else colour_problems_of(page, look)
                self.problems += [f"{name} at {width}, {look}: {problem}" for problem in found]
        page.set_viewport_size({"width": WIDTHS[0], "height": 860})


def colour_problems_of(page: Page, look: str) -> list[str]:
    """Return what is wrong with the colours; with forced colours the browser takes care of edges and placeholders."""
    axe = [f"axe {finding}" for finding in axe_findings(page, COLOUR_RULES)]
    return axe if look == "forced" else [*axe, *_edges(page), *_placeholders(page)]


def problems_of(page: Page) -> list[str]:
    """Return what is wrong with the current page at its current width; empty if nothing is."""
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
