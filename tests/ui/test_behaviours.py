"""The small scripts, one by one, in a browser under the portal's policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

pytestmark = pytest.mark.browser


def test_copy_puts_the_value_on_the_clipboard_and_says_so(page: Page, context: BrowserContext, gallery: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(gallery + "/walkthrough")

    page.get_by_role("button", name="Copy Scopes").click()

    expect(page.locator("[data-copy-said]").nth(2)).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "api read_user read_repository"


def test_copy_selects_the_text_where_there_is_no_clipboard(page: Page, gallery: str) -> None:
    page.goto(gallery + "/walkthrough")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")

    page.get_by_role("button", name="Copy Scopes").click()

    expect(page.locator("[data-copy-said]").nth(2)).to_contain_text("Selected")
    assert page.evaluate("getSelection().toString().trim()") == "api read_user read_repository"


def test_secret_can_be_shown_and_is_hidden_again_when_sent(page: Page, gallery: str) -> None:
    page.goto(gallery + "/sign_in")
    field = page.locator("#password")

    page.get_by_role("button", name="Show Password").click()
    assert field.get_attribute("type") == "text"

    page.evaluate("document.querySelector('form').addEventListener('submit', (event) => event.preventDefault())")
    page.locator("#email").fill("ada@example.com")
    field.fill("secret")
    page.get_by_role("button", name="Sign in").click()
    assert field.get_attribute("type") == "password"


def test_refused_form_is_swapped_in_and_takes_the_focus(page: Page, gallery: str) -> None:
    page.goto(gallery + "/form")
    page.locator("#client_id").fill("wrong")

    page.get_by_role("button", name="Continue").click()

    expect(page.locator(".gh-summary")).to_be_focused()
    expect(page.locator("#client_id")).to_have_value("wrong")
    page.get_by_role("link", name="Application ID: GitLab does not know this Application ID.").click()
    expect(page.locator("#client_id")).to_be_focused()


def test_error_of_a_fragment_is_said_beside_the_button_and_leaves_it(page: Page, gallery: str) -> None:
    page.goto(gallery + "/behaviours")

    page.get_by_role("button", name="Change").click()

    said = page.locator("[data-problem] [role=alert]")
    expect(said).to_be_focused()
    expect(said).to_contain_text("This changed in the meantime")
    expect(page.get_by_role("button", name="Change")).to_be_visible()


def test_undo_bar_and_announcement_arrive_out_of_band_and_the_bar_can_be_closed(page: Page, gallery: str) -> None:
    page.goto(gallery + "/behaviours")

    page.get_by_role("button", name="Do it").click()

    expect(page.locator("#announcements")).to_have_text("3 repositories enabled.")
    expect(page.locator("#announcements")).to_have_attribute("role", "status")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.get_by_role("button", name="Close this message").click()
    expect(page.locator(".gh-toast")).to_have_count(0)


def test_selection_counts_a_shift_range_and_all_that_match(page: Page, gallery: str) -> None:
    page.goto(gallery + "/selection")
    boxes = page.locator("[data-select-row]:not(:disabled)")
    count = page.locator("[data-bulk-count]")
    assert page.get_by_role("button", name="Enable").is_disabled()

    boxes.nth(1).click()
    boxes.nth(4).click(modifiers=["Shift"])
    expect(count).to_have_text("4")

    page.get_by_label("Select all on this page").click()
    expect(count).to_have_text("8")

    page.get_by_label("All 88 that match").check()
    expect(count).to_have_text("88")
    assert page.get_by_role("button", name="Enable").is_enabled()


def test_typed_confirmation_enables_the_button_only_for_the_exact_text(page: Page, gallery: str) -> None:
    page.goto(gallery + "/details")
    page.get_by_role("button", name="Disconnect").first.click()
    dialog = page.get_by_role("dialog")
    field, button = dialog.get_by_role("textbox"), dialog.get_by_role("button", name="Disconnect")
    expect(field).to_be_focused()
    expect(button).to_be_disabled()

    field.fill("example-gitla")
    expect(button).to_be_disabled()
    field.fill("example-gitlab")
    expect(button).to_be_enabled()

    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_popup_opens_in_the_click_tells_the_page_and_closes(page: Page, gallery: str) -> None:
    page.goto(gallery + "/behaviours")

    with page.expect_popup() as opened:
        page.get_by_role("button", name="Authorize").click()

    expect(page.locator("#started")).to_have_text("waiting")
    expect(page.locator("#finished")).to_have_text("finished 1")
    if not opened.value.is_closed():
        opened.value.wait_for_event("close")


def test_blocked_popup_goes_on_in_the_same_tab(page: Page, gallery: str) -> None:
    page.goto(gallery + "/behaviours")
    page.evaluate("window.open = () => null")

    page.get_by_role("button", name="Authorize").click()

    page.wait_for_url("**/popup")
    page.goto(gallery + "/said/who")
    assert page.locator("body").inner_text() == "who no"


def test_popup_can_be_skipped(page: Page, gallery: str) -> None:
    page.goto(gallery + "/behaviours")

    page.get_by_role("button", name="Use this tab instead").click()

    page.wait_for_url("**/popup")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_filters_ask_while_one_types_and_when_a_choice_changes(page: Page, gallery: str) -> None:
    page.goto(gallery + "/selection")

    with page.expect_request(lambda request: "q=led" in request.url and request.headers.get("hx-request") == "true"):
        page.get_by_label("Search repositories").press_sequentially("led")
    with page.expect_request(lambda request: "state=enabled" in request.url):
        page.get_by_label("State", exact=True).select_option("enabled")
