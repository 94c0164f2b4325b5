"""What can be measured about the look: accessibility, contrast of edges, narrow screens, focus, the policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.checks import Looker
from tests.support.axe import axe_findings
from tests.ui.gallery import PAGES

pytestmark = pytest.mark.browser
ADDRESSES = [f"/{name}" for name in PAGES] + ["/error/404", "/error/502"]
HIDDEN_FOCUS = """() => {
  const box = document.activeElement.getBoundingClientRect();
  if (!box.width || document.activeElement === document.body) return null;
  const at = document.elementFromPoint(box.left + box.width / 2, Math.max(1, box.top + box.height / 2));
  const bar = at && at.closest(".gh-bulk, .gh-topbar, .gh-setup-bar");
  return bar && !bar.contains(document.activeElement) ? document.activeElement.outerHTML.slice(0, 120) : null;
}"""


def test_every_page_reads_well_in_every_look(page: Page, gallery: str) -> None:
    look = Looker()
    for address in ADDRESSES:
        page.goto(gallery + address)
        look(page, address)

    assert look.problems == []


def test_open_dialog_menu_and_refused_form_read_well_in_every_look(page: Page, gallery: str) -> None:
    look = Looker()
    page.goto(gallery + "/details")
    page.locator(".gh-person > summary").click()
    look(page, "menu", (1280,))
    page.get_by_role("button", name="Disconnect").first.click()
    page.get_by_role("dialog").wait_for()
    look(page, "dialog", (1280,))
    page.goto(gallery + "/form")
    page.get_by_role("button", name="Continue").click()
    page.locator(".gh-summary").wait_for()
    look(page, "refused form", (1280,))

    assert look.problems == []


def test_menu_on_a_phone_opens_and_has_no_finding(page: Page, gallery: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(gallery + "/details")

    page.get_by_role("button", name="Menu", exact=True).click()
    page.get_by_role("link", name="Audit log").wait_for()

    assert axe_findings(page) == []


@pytest.mark.parametrize(("address", "width"), [("/selection", 1280), ("/selection", 390), ("/walkthrough", 390)])
def test_focus_is_never_under_a_sticky_bar(address: str, width: int, page: Page, gallery: str) -> None:
    page.set_viewport_size({"width": width, "height": 600})
    page.goto(gallery + address)
    if address == "/selection":
        page.locator("[data-select-row]").first.check()

    hidden = []
    for _ in range(60):
        page.keyboard.press("Tab")
        if found := page.evaluate(HIDDEN_FOCUS):
            hidden.append(found)

    assert hidden == []


def test_theme_auto_follows_the_system(page: Page, gallery: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(gallery + "/empty")

    assert page.locator("html").get_attribute("data-bs-theme") == "dark"


def test_pages_work_without_scripts(context: BrowserContext, gallery: str) -> None:
    assert context.browser
    plain = context.browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 800})
    page = plain.new_page()
    page.goto(gallery + "/details")

    page.get_by_role("button", name="Disconnect").first.click()

    assert page.get_by_role("dialog").is_visible()
    assert page.get_by_role("dialog").get_by_role("button", name="Disconnect").is_enabled()
    plain.close()
