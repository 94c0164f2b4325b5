"""Axe, the checker of accessibility, run in a page of a test's browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

AXE = (Path(__file__).parents[1] / "vendor" / "axe-4.14.1.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Only problems are returned: the whole report is large. The rules that depend on a page's colours; all others give the
# same result in every theme.
COLOUR_RULES = ["color-contrast"]
RUN = """async (rules) => {
  const found = await axe.run(document, {runOnly: rules, resultTypes: ["violations"]});
  return found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.target}`));
}"""


def axe_findings(page: Page, rules: list[str] = RULES) -> list[str]:
    """Return what axe finds on the current page, as `rule: element`; empty if there is nothing."""
    # Sent once to each document: it is half a megabyte, via the debugger, to which the page's policy does not apply.
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(f"() => {{ {AXE} }}")
    return [str(finding) for finding in page.evaluate(RUN, rules)]
