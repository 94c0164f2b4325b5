"""The main task, as one person does it in two tabs: connect a GitLab, authorize, choose repositories."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser import walk
from tests.browser.site import Site
from tests.support.people import PASSWORD

pytestmark = pytest.mark.browser
MOST_FIELDS = 5
WITHOUT_SERVICE_USER: dict[str, Any] = {"with_service_user": False}


class Typist:
    """Fills in fields of the portal and counts them."""

    def __init__(self) -> None:
        self.fields = 0

    def type(self, field: Locator, text: str) -> None:
        field.fill(text)
        self.fields += 1


def sign_in_to_portal(page: Page, site: Site) -> None:
    page.goto(site.url)
    walk.field(page, "E-mail").fill(site.cast.owner.email)
    walk.field(page, "Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    walk.heading(page, "Connect your GitLab to the software that needs it")


def make_application_in_gitlab(gitlab: Page, name: str, uri: str, scopes: list[str]) -> None:
    if "sign_in" in gitlab.url:
        gitlab.get_by_role("button", name="Sign in as root", exact=True).click()
        gitlab.get_by_role("link", name="Admin area").click()
        gitlab.get_by_role("link", name="Applications", exact=True).click()
        gitlab.get_by_role("link", name="Add new application").click()
    gitlab.get_by_label("Name").fill(name)
    gitlab.get_by_label("Redirect URI").fill(uri)
    gitlab.get_by_label("Confidential").check()
    for scope in scopes:
        gitlab.get_by_label(scope, exact=True).check()
    gitlab.get_by_role("button", name="Save application").click()
    expect(walk.field(gitlab, "Application ID")).to_be_visible()


def make_user_in_gitlab(gitlab: Page, name: str, username: str, email: str) -> None:
    gitlab.get_by_role("link", name="Users", exact=True).click()
    gitlab.get_by_role("link", name="New user").click()
    gitlab.get_by_label("Name", exact=True).fill(name)
    gitlab.get_by_label("Username").fill(username)
    gitlab.get_by_label("Email").fill(email)
    gitlab.get_by_label("Password").fill("a long sandbox password")
    for group in ("platform", "web", "data"):
        gitlab.get_by_label(group, exact=True).check()
    gitlab.get_by_role("button", name="Create user").click()
    expect(gitlab.get_by_role("heading", name=name)).to_be_visible()


def enable(page: Page, path: str) -> None:
    page.get_by_role("button", name=f"Enable {path}", exact=True).click()
    expect(page.get_by_role("button", name=f"Disable {path}", exact=True)).to_be_visible()


@pytest.mark.parametrize("sandbox_options", [WITHOUT_SERVICE_USER])
def test_a_gitlab_is_connected_and_three_repositories_are_enabled(site: Site) -> None:
    page, hands = site.open_context().new_page(), Typist()
    sign_in_to_portal(page, site)
    page.get_by_role("link", name="Connect a GitLab").click()
    hands.type(walk.field(page, "Display name"), "Example engineering")
    walk.press_continue(page)
    walk.reach_instance(page)
    name, uri, scopes = walk.values_of_application(page)

    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the form in GitLab").click()
    gitlab = opened.value
    make_application_in_gitlab(gitlab, name, uri, scopes)
    application_id = walk.field(gitlab, "Application ID").input_value()
    secret = gitlab.get_by_label("Secret", exact=True).input_value()
    hands.type(walk.field(page, "Application ID"), application_id)
    hands.type(walk.field(page, "Secret"), secret)
    walk.field(page, "Secret").blur()
    expect(page.get_by_text("GitLab accepts both")).to_be_visible()
    walk.press_continue(page)

    walk.heading(page, "Choose who Gatehouse acts as")
    values = [page.locator(f"#{id}").inner_text() for id in ("copy-name-in-gitlab", "copy-username", "copy-email")]
    make_user_in_gitlab(gitlab, *values)
    gitlab.locator("#profile > summary").click()
    gitlab.get_by_role("button", name="Sign out").click()
    walk.press_continue(page)

    popup = walk.start_popup(page)
    popup.get_by_role("button", name="Sign in as gatehouse").click()
    popup.get_by_role("button", name="Authorize Gatehouse").click()
    walk.heading(page, "Authorized as @gatehouse")
    wait_until_closed(page.context, popup)
    page.get_by_role("link", name="Continue").click()

    walk.heading(page, "Choose repositories")
    for path in ("data/data-contracts", "data/pipelines/orchestration", "data/reporting/dashboards"):
        enable(page, path)
    page.get_by_role("button", name="Finish").click()

    walk.heading(page, "Example engineering is connected")
    page.get_by_role("link", name="Open Example engineering").click()
    walk.heading(page, "Example engineering")
    expect(page.locator("#fact-authorization")).to_contain_text("@gatehouse")
    expect(page.locator("#fact-repositories")).to_contain_text(re.compile(r"3\s*of\s*57"))
    page.get_by_role("link", name="Settings").click()
    expect(page.locator("#panel-authorization code")).to_have_text(scopes)
    assert hands.fields <= MOST_FIELDS


def test_a_phone_gets_through_with_a_reload_at_every_step(site: Site) -> None:
    phone = {"viewport": {"width": 390, "height": 760}, "color_scheme": "dark", "has_touch": True, "is_mobile": True}
    page = site.sign_in(site.open_context(**phone)).new_page()
    page.goto(f"{site.url}/connections/new")
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    page.reload()
    walk.field(page, "Display name").fill("Example engineering")
    walk.press_continue(page)
    reload(page, "Where is your GitLab?")
    page.get_by_role("button", name="Use the sandbox").click()
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    reload(page, "Where is your GitLab?")
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    walk.press_continue(page)
    reload(page, "Create the application in GitLab")
    walk.paste_credentials(page, *walk.create_application(page, site))
    reload(page, "Choose who Gatehouse acts as")
    walk.press_continue(page)
    reload(page, "Authorize as @gatehouse")

    popup = walk.start_popup(page)
    popup.wait_for_url("**/users/sign_in**")
    reload(page, "Waiting for GitLab")
    popup.reload()
    popup.get_by_role("button", name="Sign in as gatehouse").click()
    reload(page, "Authorized as @gatehouse")
    page.get_by_role("link", name="Continue").click()

    reload(page, "Choose repositories")
    enable(page, "data/data-contracts")
    page.reload()
    expect(page.get_by_role("button", name="Disable data/data-contracts", exact=True)).to_be_visible()
    page.get_by_role("button", name="Finish").click()
    reload(page, "Example engineering is connected")


def reload(page: Page, title: str) -> None:
    """Reload the step with this heading, which is still there afterwards."""
    walk.heading(page, title)
    page.reload()
    walk.heading(page, title)


def wait_until_closed(context: BrowserContext, popup: Page) -> None:
    if not popup.is_closed():
        popup.wait_for_event("close")
    assert popup not in context.pages
