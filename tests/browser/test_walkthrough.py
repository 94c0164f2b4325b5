"""The walkthrough beyond its steps: back, cancel, resume, reload, keyboard, order, refused input."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import walk
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.support.walkthrough import prepare

pytestmark = pytest.mark.browser
STEPS = ("instance", "application", "service-user", "authorize", "repositories")
MOST_TABS = 60


def open_step(page: Page, site: Site, slug: str, step: str) -> None:
    page.goto(f"{site.url}/connections/{slug}/setup/{step}")


def press_by_keyboard(page: Page, name: str) -> None:
    """Tab to a button or link and press Enter."""
    tab_to(page, name)
    page.keyboard.press("Enter")


def tab_to(page: Page, name: str) -> None:
    """Tab until the element with this visible text, or the field with this id, has the focus."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        at = page.evaluate("[document.activeElement.id, document.activeElement.innerText?.trim()]")
        if name in at:
            return
    raise AssertionError(f"{name} is not reached by Tab")


def test_back_keeps_what_was_entered(page: Page, site: Site) -> None:
    prepared = prepare(site.runtime, site.sandbox, site.cast.owner, expected="robot")
    open_step(page, site, prepared.slug, "authorize")
    back = page.get_by_role("link", name="Back")

    back.click()
    expect(walk.field(page, "Service user")).to_have_value("robot")
    back.click()
    assert walk.values_of_application(page)[1] == prepared.application.redirect_uri
    expect(walk.field(page, "Application ID")).to_have_value(prepared.application.uid)
    expect(walk.field(page, "Secret")).to_have_value("")
    expect(page.locator("#secret-hint")).to_contain_text("Leave empty to keep the stored value")
    walk.field(page, "Application ID").fill("only typed")
    back.click()
    expect(walk.field(page, "Domain")).to_have_value(site.sandbox.url)
    walk.press_continue(page)
    expect(walk.field(page, "Application ID")).to_have_value("only typed")
    walk.field(page, "Application ID").fill(prepared.application.uid)
    back.click()
    back.click()
    expect(walk.field(page, "Display name")).to_have_value("GitLab")

    for title in ("Where is your GitLab", "Create the application", "Choose who", "Authorize"):
        walk.press_continue(page)
        expect(page.get_by_role("heading", level=1)).to_contain_text(title)


def test_cancel_asks_and_discards_the_draft(page: Page, site: Site) -> None:
    walk.begin(page, site, "Short-lived")
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Discard this draft?")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()
    walk.heading(page, "Where is your GitLab?")

    page.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Discard draft").click()

    walk.heading(page, "Connect your GitLab to the software that needs it")
    expect(page.locator("#alerts")).to_contain_text("Short-lived")
    expect(page.get_by_role("list", name="Connections")).to_have_count(0)


def test_cancel_asks_and_discards_without_javascript(site: Site) -> None:
    page = site.sign_in(site.open_context(java_script_enabled=False)).new_page()
    walk.begin(page, site, "Short-lived")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_contain_text("Discard this draft?")

    page.get_by_role("button", name="Discard draft").click()

    walk.heading(page, "Connect your GitLab to the software that needs it")
    expect(page.get_by_role("list", name="Connections")).to_have_count(0)


def test_a_draft_is_resumed_from_the_list_where_it_was_left(page: Page, site: Site) -> None:
    walk.paste_credentials(page, *walk.to_credentials(page, site))
    walk.heading(page, "Choose who Gatehouse acts as")
    page.get_by_role("link", name="Save and close").click()
    expect(page.get_by_text("Step 4 of 6:")).to_be_visible()

    page.get_by_role("link", name="Resume").click()

    walk.heading(page, "Choose who Gatehouse acts as")


def test_a_reload_shows_every_step_as_it_was(page: Page, site: Site) -> None:
    prepared = walk.authorized_connection(site)
    open_step(page, site, prepared.slug, "repositories")
    expect(page.locator("#catalogue progress")).to_have_count(0)

    for step in STEPS:
        open_step(page, site, prepared.slug, step)
        before = page.locator("main").inner_text()
        page.reload()
        assert page.locator("main").inner_text() == before, step


def test_steps_one_to_four_need_no_mouse(page: Page, site: Site) -> None:
    page.goto(site.url + "/connections/new")
    press_by_keyboard(page, "Continue")
    walk.heading(page, "Where is your GitLab?")
    expect(walk.field(page, "Domain")).to_be_focused()
    page.keyboard.type(site.sandbox.url)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    press_by_keyboard(page, "Continue")
    walk.heading(page, "Create the application in GitLab")
    application_id, secret = walk.create_application(page, site)
    tab_to(page, "application_id")
    page.keyboard.type(application_id)
    page.keyboard.press("Tab")
    page.keyboard.type(secret)
    page.keyboard.press("Enter")
    walk.heading(page, "Choose who Gatehouse acts as")
    press_by_keyboard(page, "Continue")
    walk.heading(page, "Authorize as @gatehouse")


def test_no_step_can_be_skipped(page: Page, site: Site) -> None:
    walk.begin(page, site)
    for step in STEPS[1:]:
        open_step(page, site, "gitlab", step)
        walk.heading(page, "Where is your GitLab?")

    walk.reach_instance(page)
    for step in STEPS[2:]:
        open_step(page, site, "gitlab", step)
        walk.heading(page, "Create the application in GitLab")


def test_the_rail_links_only_to_steps_that_can_be_opened(page: Page, site: Site) -> None:
    prepared = prepare(site.runtime, site.sandbox, site.cast.owner)
    open_step(page, site, prepared.slug, "application")
    links = page.get_by_role("navigation", name="Steps of the walkthrough").get_by_role("link")

    assert links.all_inner_texts() == ["Purpose", "Instance", "Service user", "Authorize"]
    for address in [link.get_attribute("href") for link in links.all()]:
        answer = page.request.get(site.url + str(address))
        assert answer.ok, address


def test_a_refused_address_is_explained_and_kept(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    walk.begin(page, site)
    domain, summary = walk.field(page, "Domain"), page.locator(".gh-summary")
    for typed in ("", "https://user:secret@gitlab.example.com", "ftp://gitlab.example.com", "git lab"):
        domain.fill(typed)
        with page.expect_response("**/setup/instance"):
            walk.press_continue(page)

        expect(summary).to_be_focused()
        expect(domain).to_have_value(typed)
        expect(domain).to_have_attribute("aria-invalid", "true")
        summary.get_by_role("link").first.click()
        expect(domain).to_be_focused()


def test_refused_credentials_keep_the_id_and_never_the_secret(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    walk.to_credentials(page, site)
    walk.paste_credentials(page, "", "some-secret-value-0123456789")

    expect(page.locator(".gh-summary")).to_be_focused()
    expect(walk.field(page, "Secret")).to_have_value("")
    assert "some-secret-value-0123456789" not in page.content()


def test_a_name_is_needed_and_hostile_ones_are_only_text(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    page.goto(site.url + "/connections/new")
    walk.field(page, "Display name").fill("  ")
    walk.press_continue(page)
    expect(page.locator(".gh-summary")).to_be_focused()

    hostile = '<img src=x onerror=alert(1)>"{{7*7}}'
    walk.field(page, "Display name").fill(hostile)
    walk.press_continue(page)
    walk.heading(page, "Where is your GitLab?")
    expect(page.locator(".gh-setup-name")).to_have_text(f"Connect “{hostile}”")
