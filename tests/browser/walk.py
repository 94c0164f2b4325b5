"""The walkthrough as a person does it, step by step, and shortcuts to where a test begins."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.site import Site
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, prepare


def heading(page: Page, text: str) -> None:
    """Wait for a page by its heading."""
    expect(page.get_by_role("heading", level=1, name=text)).to_be_visible()


def field(page: Page | Locator, label: str) -> Locator:
    """Find a field by its label, with or without the star of required ones."""
    return page.get_by_label(re.compile(rf"^{label}(\s*\*)?$"))


def press_continue(page: Page) -> None:
    """Press the step's *Continue*."""
    page.get_by_role("button", name="Continue").click()


def begin(page: Page, site: Site, name: str = "") -> None:
    """Step 1, from the empty list; ends on step 2."""
    page.goto(site.url + "/connections/")
    page.get_by_role("link", name="Connect a GitLab").first.click()
    if name:
        field(page, "Display name").fill(name)
    press_continue(page)
    heading(page, "Where is your GitLab?")


def reach_instance(page: Page) -> None:
    """Step 2 with the sandbox; ends on step 3."""
    page.get_by_role("button", name="Use the sandbox").click()
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    press_continue(page)
    heading(page, "Create the application in GitLab")


def values_of_application(page: Page) -> tuple[str, str, list[str]]:
    """Return name, redirect URI and scopes as step 3 shows them."""
    name = page.locator("#copy-name").inner_text()
    page.wait_for_load_state("domcontentloaded")  # The scopes follow.
    uri = page.locator("#copy-redirect-uri").inner_text()
    return name, uri, page.locator("#scopes code").all_inner_texts()


def create_application(page: Page, site: Site, *, trusted: bool = True, uri: str = "") -> tuple[str, str]:
    """Create in the sandbox what step 3 shows; return Application ID and Secret."""
    name, shown, scopes = values_of_application(page)
    made, secret = site.sandbox.world.oauth.create_application(name, uri or shown, tuple(scopes), trusted=trusted)
    return made.uid, str(secret)


def paste_credentials(page: Page, application_id: str, secret: str) -> None:
    """Fill in the boxes of step 3 and continue."""
    field(page, "Application ID").fill(application_id)
    field(page, "Secret").fill(secret)
    press_continue(page)


def to_credentials(page: Page, site: Site, *, trusted: bool = True, uri: str = "") -> tuple[str, str]:
    """Steps 1 to 3, up to the boxes; return Application ID and Secret."""
    begin(page, site)
    reach_instance(page)
    return create_application(page, site, trusted=trusted, uri=uri)


def start_popup(page: Page, button: str = "Authorize as @gatehouse") -> Page:
    """Press the button of step 5; return the small window, wherever it has got to."""
    with page.expect_popup() as opened:
        page.get_by_role("button", name=button).click()
    return opened.value


def open_authorize(page: Page, site: Site, *, trusted: bool = True, expected: str = "gatehouse") -> Prepared:
    """Open step 5 of a connection whose earlier steps are done."""
    prepared = prepare(site.runtime, site.sandbox, site.cast.owner, trusted=trusted, expected=expected)
    page.goto(f"{site.url}/connections/{prepared.slug}/setup/authorize")
    return prepared


def authorized_connection(site: Site) -> Prepared:
    """Create an authorized connection; reading its repositories has started."""
    prepared = prepare(site.runtime, site.sandbox, site.cast.owner)
    answer = authorize(Visitor(site.app).sign_in(site.cast.owner), site.sandbox, prepared.slug)
    assert answer.status_code == 303
    return prepared
