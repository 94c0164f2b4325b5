"""In forced colours (Windows contrast themes), selected things look selected: axe does not check images (WCAG
1.4.11).
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Locator

pytestmark = pytest.mark.browser
PAIRS = ("checkbox", "radio", "switch", "choice", "row", "group", "tab", "page", "pressed button")


def pictures(pair: Locator) -> list[bytes]:
    return [pair.locator(":scope > *").nth(number).screenshot() for number in range(2)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_chosen_differs_from_what_is_not(chromium: Browser, gallery: str, scheme: str) -> None:
    context = chromium.new_context(forced_colors="active", color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(gallery + "/chosen")

    found = {name: pictures(page.locator(f"[data-pair='{name}']")) for name in (*PAIRS, "nothing")}
    context.close()

    assert [name for name in PAIRS if found[name][0] == found[name][1]] == []
    assert found["nothing"][0] == found["nothing"][1]
