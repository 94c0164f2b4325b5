"""*Create it for me* in a browser: two fields, the list before and after, progress, and how it looks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from portal.connections import checklist, instance, store
from portal.connections.models import Method
from tests.browser import walk
from tests.browser.checks import Looker, open_folds
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.support.walkthrough import principal_of

pytestmark = pytest.mark.browser
TOKEN_LABEL = "Administrator’s token"


def open_create(page: Page, site: Site) -> None:
    """Open the page for a draft whose GitLab was checked."""
    principal = principal_of(site.runtime, site.cast.owner)
    slug = store.create_draft(site.runtime, principal, "GitLab", Method.OAUTH).slug
    instance.save_instance(site.runtime, principal, slug, instance.Entered(site.sandbox.url))
    assert checklist.run_checklist(site.runtime, principal, slug).is_passed
    page.goto(f"{site.url}/connections/{slug}/setup/create")
    walk.heading(page, "Let Gatehouse create it")


def make_calls(page: Page) -> None:
    page.get_by_role("button", name="Make these calls").click()


@pytest.mark.parametrize(
    ("sandbox_options", "scripts"),
    [
        ({"version": "12.10.14"}, True),
        ({"version": "15.11.13"}, False),
        ({"version": "17.11.3"}, True),
        ({"version": "19.5.0"}, True),
    ],
    ids=lambda value: value["version"] if isinstance(value, dict) else "scripts" if value else "no-scripts",
)
def test_two_fields_lead_from_an_empty_gitlab_to_the_authorize_button(site: Site, scripts: bool) -> None:
    details: dict[str, Any] = {} if scripts else {"java_script_enabled": False}
    page = site.sign_in(site.open_context(**details)).new_page()
    typed: list[str] = []

    def fill(label: str, text: str) -> None:
        walk.field(page, label).fill(text)
        typed.append(label)

    walk.begin(page, site)
    fill("Domain", site.sandbox.url)
    walk.press_continue(page)
    if not scripts:
        page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    walk.press_continue(page)
    page.get_by_role("link", name="Create it for me").click()
    walk.heading(page, "Let Gatehouse create it")
    page.wait_for_load_state("domcontentloaded")
    listed = page.locator("#plan code").all_inner_texts()
    fill(TOKEN_LABEL, site.sandbox.token("root"))
    make_calls(page)
    expect(page.get_by_role("heading", level=1, name=re.compile(r"Created in \d+\.\d seconds"))).to_be_visible()
    made = page.locator(".gh-call-how code").all_inner_texts()
    page.get_by_role("link", name="Continue").click()

    expect(page.get_by_role("button", name="Authorize as @gatehouse").first).to_be_visible()
    assert len(typed) == 2
    # What is done was listed before; older versions do not know `/metadata`, and before 15.5 no one could revoke.
    assert {call for call in made if call != "GET /metadata"} <= {*listed, "GET /version"}
    assert "POST /applications" in made


def test_what_is_typed_changes_the_list_and_the_token_is_in_no_address(page: Page, site: Site) -> None:
    open_create(page, site)
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    token = site.sandbox.token("root")
    walk.field(page, TOKEN_LABEL).fill(token)

    page.get_by_role("button", name="Show the groups").click()
    expect(page.get_by_text("Make it Reporter in 7 groups")).to_be_visible()
    for name in ("partners", "security", "research", "platform", "mobile"):
        page.get_by_label(name, exact=True).uncheck()
    walk.field(page, "Service user").fill("robot")
    walk.field(page, "Service user").blur()
    expect(page.get_by_text("Make it Reporter in 2 groups")).to_be_visible()
    expect(page.get_by_text("Create user @robot")).to_be_visible()
    make_calls(page)

    expect(page.get_by_text("Made it Reporter in 2 of 2 groups")).to_be_visible()
    user = site.sandbox.world.user_by_username("robot")
    assert sorted(site.sandbox.world.group_paths_of(user)) == ["data", "web"]
    assert addresses
    assert [address for address in addresses if token in address] == []


def test_a_slow_gitlab_can_be_watched(page: Page, site: Site) -> None:
    open_create(page, site)
    other = page.context.new_page()
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if "/create/progress" in request.url else None)
    site.sandbox.faults.hold("/api/v4/users", "POST")
    try:
        walk.field(page, TOKEN_LABEL).fill(site.sandbox.token("root"))
        page.get_by_role("button", name="Make these calls").click(no_wait_after=True)
        site.sandbox.requests.wait_for("/api/v4/users")
        other.goto(f"{site.url}/connections/gitlab/setup/create")
        walk.heading(other, "Gatehouse is making the calls")
        expect(other.locator("#provisioning-progress")).to_contain_text("Created the application")
        # Playwright waits for the page that waits for the answer to its form: only its requests can be seen.
        while len(polls) < 2:
            other.evaluate("() => new Promise((resume) => setTimeout(resume, 50))")
    finally:
        site.sandbox.faults.release()

    for window in (page, other):
        expect(window.get_by_role("heading", level=1, name=re.compile("Created in"))).to_be_visible()


def test_how_it_looks(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    look = Looker()
    open_create(page, site)
    open_folds(page)
    look(page, "create")
    page.goto(f"{page.url}-own")
    look(page, "create-own", (320,))
    page.get_by_role("link", name="Do it by hand").click()
    page.get_by_role("link", name="Create it for me").click()
    make_calls(page)
    expect(page.locator(".gh-summary")).to_be_focused()
    site.sandbox.faults.add(
        "/api/v4/users", "POST", status=400, body={"message": {"email": ["is not allowed"]}}, times=1
    )
    walk.field(page, TOKEN_LABEL).fill(site.sandbox.token("root"))
    page.get_by_role("button", name="Show the groups").click()
    expect(page.get_by_text("Make it Reporter in 7 groups")).to_be_visible()
    look(page, "create-groups", (1366,))
    make_calls(page)
    expect(page.get_by_role("heading", name="This is how far it got")).to_be_focused()
    look(page, "create-failed", (320,))
    walk.field(page, TOKEN_LABEL).fill(site.sandbox.token("root"))
    make_calls(page)
    expect(page.get_by_role("heading", level=1, name=re.compile("Created in"))).to_be_focused()
    look(page, "create-done")
    page.goto(f"{site.url}/connections/gitlab/application")
    walk.field(page, TOKEN_LABEL).fill(site.sandbox.token("root"))
    page.get_by_role("button", name="Verify application").click()
    expect(page.get_by_role("heading", name=re.compile("What GitLab answered"))).to_be_focused()
    look(page, "application-verified", (1366,))
    assert look.problems == []
