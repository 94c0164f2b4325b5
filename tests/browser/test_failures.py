"""What a page does when its session has ended, the network is gone, or the portal refuses."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from portal.accounts.models import Membership
from tests.accounts.support import let_time_pass
from tests.browser import walk
from tests.browser.site import Site
from tests.browser.watching import Watch

pytestmark = pytest.mark.browser
# From the pressed control to the message about it.
NEAR_PIXELS = 160


def sign_in(page: Page | Locator, site: Site) -> None:
    walk.field(page, "E-mail").fill(site.cast.owner.email)
    walk.field(page, "Password").fill(site.cast.owner.password)
    page.get_by_role("button", name="Sign in").click()


def is_beside(said: Locator, pressed: Locator) -> bool:
    box, control = said.bounding_box(), pressed.bounding_box()
    assert box is not None
    assert control is not None
    return -NEAR_PIXELS < box["y"] - control["y"] - control["height"] < NEAR_PIXELS


def test_form_that_is_sent_after_the_session_is_over_is_taken_up_again(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(401)
    page.goto(f"{site.url}/connections/new")
    walk.field(page, "Display name").fill("Halden Energy")
    page.get_by_label("Webhooks").check()
    let_time_pass(site.app, minutes=31)

    walk.press_continue(page)
    walk.heading(page, "Welcome back")
    expect(page.locator("main")).to_contain_text("You were signed out after 30 minutes without use.")
    sign_in(page, site)

    walk.heading(page, "What is it for?")
    expect(walk.field(page, "Display name")).to_have_value("Halden Energy")
    expect(page.get_by_label("Webhooks")).to_be_checked()
    walk.press_continue(page)
    walk.heading(page, "Where is your GitLab?")


def test_failures_of_a_press_are_said_beside_it(page: Page, context: BrowserContext, site: Site, watch: Watch) -> None:
    watch.expect_status(401, 404, 502)
    watch.expect_cut_off()
    prepared = walk.authorized_connection(site)
    site.await_jobs()
    page.goto(f"{site.url}/repositories/?connection={prepared.slug}")
    button = page.locator("#listing tbody button").last
    name = button.get_attribute("aria-label") or ""
    button.scroll_into_view_if_needed()

    context.set_offline(True)
    button.click()
    said = page.get_by_role("alert").filter(has_text="Gatehouse cannot be reached.")
    expect(said).to_be_in_viewport()
    assert is_beside(said, button)
    expect(button).to_be_focused()
    context.set_offline(False)

    page.route("**/repositories/enable", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"), times=1)
    button.click()
    said = page.get_by_role("alert").filter(has_text="the error 502")
    assert is_beside(said, button)
    expect(page.get_by_text("Bad gateway")).to_have_count(0)

    let_time_pass(site.app, minutes=31)
    button.click()
    dialog = page.get_by_role("dialog", name="You are signed out")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    button.click()
    expect(walk.field(dialog, "E-mail")).to_be_focused()
    sign_in(dialog, site)
    expect(page.locator(".gh-toast")).to_contain_text("You are signed in again.")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=name.replace("Enable", "Disable"))).to_be_visible()
    expect(page.locator("[data-problem]")).to_have_count(0)

    with site.runtime.database.transaction() as session:
        session.get_one(Membership, site.cast.owner.membership_id).role = "auditor"
    button = page.locator("#listing tbody button").last
    button.click()
    said = page.locator("[data-problem] [role=alert]")
    expect(said).to_be_focused()
    expect(said).to_be_in_viewport()
    assert is_beside(said, button)


def test_a_question_for_the_password_can_be_put_off_and_answered(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(401)
    page.goto(f"{site.url}/members")
    let_time_pass(site.app, minutes=6)
    page.locator("#content details summary").first.click()
    page.get_by_role("button", name="Save role").first.click()
    expect(page.locator("main")).to_contain_text("asks for your password again before changing a role")

    page.get_by_role("link", name="Cancel").click()

    walk.heading(page, "Members")
