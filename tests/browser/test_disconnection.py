"""Disconnecting and authorizing again as people do it: by keyboard, while GitLab answers or not, at every width."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlmodel import select

from portal.repositories.models import Repository
from tests.browser import walk
from tests.browser.checks import Looker, open_folds
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.support.visitor import Visitor

pytestmark = pytest.mark.browser
# The panel polls every ten seconds while GitLab does not answer.
POLL_MILLISECONDS = 10_500


def in_use(site: Site) -> str:
    """Authorize a connection, have its catalogue read, enable some repositories; return its address."""
    prepared = walk.authorized_connection(site)
    site.await_jobs()
    with site.runtime.database.reading() as session:
        found = session.exec(select(Repository.id).where(Repository.unavailable_reason == "").limit(12)).all()
    Visitor(site.app).sign_in(site.cast.owner).post("/repositories/enable", {"repository_id": [str(i) for i in found]})
    return f"{site.url}/connections/{prepared.slug}"


def confirm(page: Page, label: str = "Disconnect") -> None:
    """Type the name and press the button, by keyboard alone."""
    page.get_by_label("Type GitLab to confirm").focus()
    page.keyboard.type("GitLab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=label, exact=True)).to_be_focused()
    page.keyboard.press("Enter")


def test_disconnecting_by_keyboard_ends_with_a_revoked_token(site: Site, page: Page) -> None:
    page.goto(in_use(site) + "/settings")
    page.get_by_role("link", name="Disconnect…").click()
    walk.heading(page, "Disconnect GitLab?")

    confirm(page)

    panel = page.locator("#panel-disconnection")
    expect(panel.get_by_text("Revoked", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Connect again")).to_be_visible()
    assert all(token.is_revoked for token in site.sandbox.world.oauth.tokens())


def test_erasing_is_followed_to_its_end_on_the_same_page(site: Site, page: Page) -> None:
    page.goto(in_use(site) + "/disconnect")
    page.get_by_text("Erase everything Gatehouse stores about it").click()

    confirm(page)

    expect(page.get_by_text("It is erased")).to_be_visible()
    page.get_by_role("link", name="Go to connections").click()
    expect(page.get_by_text("Connect your GitLab to the software that needs it")).to_be_visible()


def test_button_works_only_once_the_name_is_typed(site: Site, page: Page) -> None:
    page.goto(in_use(site) + "/disconnect")
    field = page.get_by_label("Type GitLab to confirm")

    field.fill("GitLa")
    expect(page.get_by_role("button", name="Disconnect", exact=True)).to_be_disabled()
    field.fill("GitLab")
    expect(page.get_by_role("button", name="Disconnect", exact=True)).to_be_enabled()


def test_ticks_of_the_services_tell_at_once_which_scopes_they_need(site: Site, page: Page) -> None:
    page.goto(in_use(site) + "/setup/services")
    expect(page.locator("#narrowing .gh-notice")).to_have_count(0)

    page.get_by_label("Repositories").uncheck()
    expect(page.get_by_text("Granted but no longer needed")).to_be_visible()
    page.get_by_label("Webhooks").check()
    expect(page.get_by_text("Needed, but not granted yet")).to_be_visible()


def test_its_pages_at_every_width_in_every_look(site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    page = site.sign_in(site.open_context(is_kept=False)).new_page()
    look, address = Looker(), in_use(site)
    page.clock.install()
    page.goto(address + "/reauthorize")
    open_folds(page)
    look(page, "reauthorize")
    page.goto(address + "/disconnect")
    look(page, "disconnect")
    page.get_by_label("Type GitLab to confirm").fill("x")
    page.locator("form[data-confirm]").evaluate("form => form.submit()")
    expect(page.locator(".gh-summary")).to_be_focused()
    look(page, "disconnect-refused")
    site.sandbox.faults.add("/oauth/revoke", status=503, html=True)
    page.get_by_label("Type GitLab to confirm").fill("")
    confirm(page)
    expect(page.get_by_text("Revocation pending")).to_be_visible()
    open_folds(page)
    look(page, "disconnect-pending")
    site.sandbox.faults.clear()
    # The panel polls by itself; what someone has unfolded stays unfolded.
    page.locator("#by-hand").evaluate("fold => { fold.open = true; }")
    for _ in range(2):  # The second question is asked after the first answer is on the page.
        with page.expect_event("response", lambda answer: answer.url.endswith("/disconnection")):
            page.clock.fast_forward(POLL_MILLISECONDS)
    expect(page.get_by_role("button", name="Stop trying, erase the token here")).to_be_visible()
    page.get_by_role("button", name="Try again now").click()
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()
    look(page, "disconnected")
    page.goto(f"{site.url}/connections/")
    look(page, "connections-disconnected")
    page.goto(f"{site.url}/repositories/?state=enabled")
    look(page, "repositories-disconnected")
    page.goto(address + "/disconnect")
    look(page, "erase")
    assert look.problems == []
