"""Linking a GitLab by an access token as a person does it, with and without JavaScript."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlmodel import select

from portal.credentials.models import Credential
from portal.health.checks import check_connection
from tests.access_tokens.drafts import FINE_GRAINED, fine_grained
from tests.browser import walk
from tests.browser.checks import Looker, open_folds
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.support.linked import link, new_token
from tests.support.paired import pair

pytestmark = [
    pytest.mark.browser,
    pytest.mark.parametrize("sandbox_options", [{"with_service_user": True, "version": "19.5.0"}]),
]


def open_token_step(page: Page, site: Site, *, is_scriptless: bool = False) -> None:
    """Steps 1 and 2, choosing the access token."""
    page.goto(site.url + "/connections/new")
    page.get_by_label("Access token").check()
    walk.press_continue(page)
    walk.heading(page, "Where is your GitLab?")
    page.get_by_role("button", name="Use the sandbox").click()
    if is_scriptless:
        page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    walk.press_continue(page)
    walk.heading(page, "Link with an access token")


def is_nothing_stored(site: Site) -> bool:
    with site.runtime.database.reading() as session:
        return session.exec(select(Credential)).first() is None


def test_a_token_is_refused_by_name_then_another_is_tested_and_linked(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    look = Looker()
    open_token_step(page, site)
    lacking = [name for name in FINE_GRAINED if name != "read_merge_request"]
    box = walk.field(page, "Personal access token")
    box.fill("gloas-" + "0" * 64)
    page.get_by_role("button", name="Link account").click()
    expect(page.locator(".gh-summary")).to_be_focused()
    box.fill(fine_grained(site.sandbox, lacking))
    expect(page.locator(".gh-summary, .gh-field-error")).to_have_count(0)
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_role("alert")).to_contain_text("One permission is missing: Merge Request: Read")
    expect(page.get_by_role("button", name="Link account")).to_be_hidden()
    expect(page.get_by_role("button", name="Link without merge requests")).to_be_visible()
    expect(page.locator("#guide details").first).to_have_attribute("open", "")
    open_folds(page)
    look(page, "token-refused")

    box.fill("gloas-" + "0" * 64)
    page.get_by_role("button", name="Test another token").click()
    expect(page.get_by_role("alert")).to_contain_text("the Secret of an OAuth application")
    box.fill(fine_grained(site.sandbox))
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_role("status", name="Result of the test")).to_contain_text("can do everything you chose")
    expect(page.locator("#tested")).to_be_focused()
    expect(page.get_by_text("Make one in GitLab 19.5")).to_be_visible()
    expect(page.locator("#guide details[open]")).to_have_count(0)
    look(page, "token-tested")
    assert is_nothing_stored(site)
    page.get_by_role("button", name="Link account").click()

    walk.heading(page, "Choose repositories")
    assert not is_nothing_stored(site)
    assert look.problems == []


def test_a_token_is_linked_without_what_it_lacks_without_javascript(site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    page = site.sign_in(site.open_context(java_script_enabled=False)).new_page()
    open_token_step(page, site, is_scriptless=True)
    token = fine_grained(site.sandbox, [name for name in FINE_GRAINED if name != "read_work_item"])
    box = walk.field(page, "Personal access token")
    box.fill(token)
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_role("alert")).to_contain_text("One permission is missing: Work Item: Read")
    expect(box).to_have_value("")
    assert is_nothing_stored(site)

    box.fill(token)
    page.get_by_role("button", name="Link without issues").click()

    walk.heading(page, "Choose repositories")


def test_a_token_that_ends_soon_is_rotated_on_its_page_and_the_warning_goes(page: Page, site: Site) -> None:
    look, paired = Looker(), pair(site.runtime, site.sandbox, site.cast.owner.organization_id)
    link(paired, site.cast.owner, new_token(site.sandbox, days=20))
    check_connection(site.runtime, paired.connection_id)
    page.goto(f"{site.url}/members")
    alarms = page.get_by_role("region", name="Alarms")
    expect(alarms).to_contain_text("The access token expires on")
    expect(alarms.get_by_role("link", name="Replace the token")).to_be_visible()

    page.goto(f"{site.url}/connections/gitlab/credential")
    look(page, "credential-of-a-token")
    page.get_by_role("button", name="Rotate before it expires").click()
    expect(page.get_by_role("button", name="Stop automatic rotation")).to_be_visible()
    page.get_by_role("button", name="Rotate now").click()
    expect(page.get_by_text("GitLab issued the next token, and it is in use.")).to_be_visible()
    check_connection(site.runtime, paired.connection_id)
    page.goto(f"{site.url}/connections/gitlab/health")
    expect(page.locator("#check-credential")).to_contain_text("Rotated by")
    assert look.problems == []
