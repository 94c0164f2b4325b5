"""A newcomer with nothing but the screen: from an empty portal to three enabled repositories, with the sandbox."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser import walk
from tests.browser.site import Site

pytestmark = pytest.mark.browser
MOST_CLICKS = 25
MOST_WORDS = 700
# With an access token: read at 250 words a minute, this leaves 36 seconds of two minutes for clicks and for GitLab.
MOST_TOKEN_WORDS = 350
MOST_TOKEN_CLICKS = 12
MOST_TOKEN_FIELDS = 3
COUNT_CLICKS = """document.addEventListener("click", (event) => {
  // What the mouse did: keys and labels cause their own clicks, without a position.
  if (event.isTrusted && event.detail > 0) countClick(location.origin);
}, true)"""


class Newcomer:
    """Counts the clicks in every window, and the words of each step when it is first shown."""

    def __init__(self, context: BrowserContext) -> None:
        self.clicks: list[str] = []
        self.words: dict[str, int] = {}
        context.expose_binding("countClick", lambda _source, origin: self.clicks.append(origin))
        context.add_init_script(COUNT_CLICKS)

    def read(self, page: Page, name: str) -> None:
        """Count a page's words; names of repositories and groups do not count, because people only search them."""
        text = page.evaluate("""() => {
            const seen = document.querySelector("main").cloneNode(true);
            for (const part of seen.querySelectorAll("tbody, .gh-tree, .visually-hidden, dialog")) part.remove();
            seen.querySelectorAll("details:not([open]) > :not(summary)").forEach((folded) => folded.remove());
            return seen.textContent;
        }""")
        self.words[name] = len(re.findall(r"[\w@.:/’'-]*\w[\w@.:/’'-]*", text))


def copy(page: Page, label: str) -> str:
    """Press *Copy* beside a value."""
    page.get_by_role("button", name=f"Copy {label}", exact=True).click()
    return page.locator(f"#copy-{label.lower().replace(' ', '-')}").inner_text()


def opens(page: Page, press: Callable[[], None]) -> Page:
    """Press what opens a tab, and return it."""
    with page.context.expect_page() as opened:
        press()
    return opened.value


@pytest.mark.parametrize("sandbox_options", [{"with_service_user": False}])
def test_newcomer_gets_through_with_few_clicks_and_few_words(
    site: Site, record_property: Callable[[str, Any], None]
) -> None:
    context = site.sign_in(site.open_context(viewport={"width": 1366, "height": 860}))
    newcomer = Newcomer(context)
    page = context.new_page()
    page.goto(site.url)
    page.get_by_role("button", name="Try it with the sandbox").click()

    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    newcomer.read(page, "instance")
    walk.press_continue(page)
    walk.heading(page, "Create the application in GitLab")
    newcomer.read(page, "application")
    gitlab = opens(page, page.get_by_role("link", name="Open the form in GitLab").click)
    gitlab.get_by_role("button", name="Sign in as root", exact=True).click()
    gitlab.get_by_label("Name").fill(copy(page, "Name"))
    gitlab.get_by_label("Redirect URI").fill(copy(page, "Redirect URI"))
    for scope in page.locator("#scopes code").all_inner_texts():
        gitlab.get_by_label(scope, exact=True).check()
    for box in ("Trusted", "Confidential"):
        gitlab.get_by_label(box).check()
    gitlab.get_by_role("button", name="Save application").click()
    for label in ("Application ID", "Secret"):
        gitlab.get_by_role("button", name=f"Copy {label}").click()
        value = walk.field(gitlab, label).input_value()
        walk.field(page, label).fill(value)
    walk.press_continue(page)

    walk.heading(page, "Choose who Gatehouse acts as")
    newcomer.read(page, "service user")
    username = page.locator("#copy-username").inner_text()
    gitlab = opens(page, page.get_by_role("link", name="Create it in GitLab").click)
    gitlab.get_by_label("Name", exact=True).fill(page.locator("#copy-name-in-gitlab").inner_text())
    gitlab.get_by_label("Username").fill(username)
    gitlab.get_by_label("Email").fill(page.locator("#copy-email").inner_text())
    gitlab.get_by_label("Password").fill("a long sandbox password")
    gitlab.get_by_label("data", exact=True).check()
    gitlab.get_by_role("button", name="Create user").click()
    walk.press_continue(page)

    walk.heading(page, f"Authorize as @{username}")
    newcomer.read(page, "authorize")
    gitlab.get_by_role("button", name="Impersonate").click()
    expect(gitlab.get_by_text(f"@{username}").first).to_be_visible()
    page.get_by_role("button", name=f"Authorize as @{username}").click()
    walk.heading(page, f"Authorized as @{username}")
    page.get_by_role("link", name="Continue").click()

    walk.heading(page, "Choose repositories")
    newcomer.read(page, "repositories")
    for path in ("data/data-contracts", "data/pipelines/orchestration", "data/reporting/dashboards"):
        page.get_by_role("button", name=f"Enable {path}", exact=True).click()
        expect(page.get_by_role("button", name=f"Disable {path}", exact=True)).to_be_visible()
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("is connected")
    # People with a GitLab start with this page, which the sandbox's button skips.
    page.goto(f"{site.url}/connections/new")
    newcomer.read(page, "purpose")

    record_property("clicks", len(newcomer.clicks))
    record_property("clicks in the portal", newcomer.clicks.count(site.url))
    record_property("words", newcomer.words)
    print(f"clicks {len(newcomer.clicks)}, in the portal {newcomer.clicks.count(site.url)}; words {newcomer.words}")
    assert len(newcomer.clicks) <= MOST_CLICKS
    assert sum(newcomer.words.values()) <= MOST_WORDS


@pytest.mark.parametrize("sandbox_options", [{"with_service_user": True}])
def test_newcomer_links_a_token_with_few_words_and_two_fields(site: Site) -> None:
    context = site.sign_in(site.open_context(viewport={"width": 1366, "height": 860}))
    newcomer, fields = Newcomer(context), 0
    page = context.new_page()
    page.goto(site.url)
    page.get_by_role("link", name="Connect a GitLab").first.click()
    page.get_by_label("Access token").check()
    newcomer.read(page, "purpose")
    walk.press_continue(page)
    walk.heading(page, "Where is your GitLab?")
    newcomer.read(page, "instance")
    walk.field(page, "Domain").fill(site.sandbox.url)
    fields += 1
    walk.press_continue(page)
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    walk.press_continue(page)
    walk.heading(page, "Link with an access token")
    newcomer.read(page, "token")
    # Before there is a token, no GitLab says its version: what this one has not is said below its link.
    page.locator("summary", has_text="Legacy token").click()
    gitlab = opens(page, page.get_by_role("link", name="Open the filled-in form in GitLab").click)
    gitlab.get_by_role("button", name="Sign in as gatehouse", exact=True).click()
    gitlab.get_by_role("button", name="Create token").click()
    token = gitlab.locator("#created_token").input_value()
    walk.field(page, "Personal access token").fill(token)
    fields += 1
    page.get_by_role("button", name="Link account").click()
    walk.heading(page, "Choose repositories")

    print(f"clicks {len(newcomer.clicks)}, fields {fields}; words {newcomer.words}")
    assert fields <= MOST_TOKEN_FIELDS
    assert len(newcomer.clicks) <= MOST_TOKEN_CLICKS
    assert sum(newcomer.words.values()) <= MOST_TOKEN_WORDS
