"""A step that someone without an account does: both sides of it, with and without JavaScript."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import walk
from tests.browser.checks import Looker
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.handover.test_links import forget_application
from tests.support.walkthrough import prepare

pytestmark = pytest.mark.browser


def make_link(page: Page, name: str = "Mads Hansen") -> str:
    """Fill in the form of the page that hands over a step; return the link."""
    walk.field(page, "Name").fill(name)
    page.get_by_role("button", name="Make the link").click()
    return page.locator("#copy-one-time-link").inner_text()


def test_people_without_an_account_make_the_application_and_authorize_it(site: Site, watch: Watch) -> None:
    watch.expect_status(404, 422)
    look = Looker()
    prepared = prepare(site.runtime, site.sandbox, site.cast.owner)
    forget_application(site.runtime, prepared)
    setup = f"{site.url}/connections/{prepared.slug}/setup"
    page = site.sign_in(site.open_context()).new_page()
    page.goto(f"{setup}/application")
    page.get_by_role("link", name="Hand over this step").click()
    link = make_link(page)

    letter = site.open_context().new_page()
    letter.goto(link)
    walk.heading(letter, "A request from Olga Owner")
    look(letter, "hand-over-sealed")
    letter.get_by_role("button", name="Open the request").click()
    walk.heading(letter, "Please create an application in GitLab")
    expect(letter.get_by_role("navigation")).to_have_count(0)
    walk.field(letter, "Application ID").fill(prepared.application.uid)
    walk.field(letter, "Secret").fill("wrong-secret-0123456789")
    letter.get_by_role("button", name="Check and send").click()
    expect(letter.locator(".gh-result-fail")).to_be_focused()
    look(letter, "hand-over-refused")
    # By itself: the page asks every few seconds.
    expect(page.locator(".gh-walk-stop")).to_have_count(1)
    look(page, "hand-over-sent")
    walk.field(letter, "Secret").fill(prepared.secret)
    letter.get_by_role("button", name="Check and send").click()
    walk.heading(letter, "Thank you, that is all")
    # By itself again: the page reloads when the link ends.
    walk.heading(page, "Mads Hansen is done")
    letter.goto(link)
    walk.heading(letter, "This link does not work")

    page.goto(f"{setup}/authorize")
    page.get_by_role("link", name="Hand over this step").click()
    letter.goto(make_link(page))
    letter.get_by_role("button", name="Open the request").click()
    popup = walk.start_popup(letter)
    popup.wait_for_url("**/users/sign_in**")
    expect(letter.get_by_text("Waiting for GitLab")).to_be_visible()
    with popup.expect_event("close"):
        popup.get_by_role("button", name="Sign in as root", exact=True).click()
    expect(letter.get_by_role("alert")).to_contain_text("@root was signed in")
    look(letter, "hand-over-wrong-person")
    letter.context.clear_cookies(domain="localhost")
    popup = walk.start_popup(letter)
    popup.get_by_role("button", name="Sign in as gatehouse").click()
    walk.heading(letter, "Thank you, that is all")
    assert look.problems == []


def test_the_link_works_without_javascript(site: Site) -> None:
    page = site.sign_in(site.open_context(java_script_enabled=False)).new_page()
    walk.open_authorize(page, site)
    page.get_by_role("link", name="Hand over this step").click()
    letter = site.open_context(java_script_enabled=False).new_page()
    letter.goto(make_link(page))
    letter.get_by_role("button", name="Open the request").click()
    letter.get_by_role("button", name="Decline").click()
    letter.get_by_role("dialog").get_by_label("Reason").fill("We use another tool.")
    letter.get_by_role("dialog").get_by_role("button", name="Decline").click()
    walk.heading(letter, "You declined")
    page.reload()
    expect(page.get_by_text("We use another tool.")).to_be_visible()
    page.get_by_role("link", name="Make a new link").click()
    letter.goto(make_link(page, "Gro Holm"))
    letter.get_by_role("button", name="Open the request").click()
    letter.get_by_role("button", name="Authorize as @gatehouse").click()
    letter.get_by_role("button", name="Sign in as gatehouse").click()
    letter.get_by_role("link", name="Click here to redirect to the application").click()
    walk.heading(letter, "Thank you, that is all")
