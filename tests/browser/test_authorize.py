"""Step 5 and its window: everything that may happen between the button and the result."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect
from sqlmodel import select

from portal.credentials.models import Credential
from tests.browser import walk
from tests.browser.site import Site
from tests.browser.watching import Watch

pytestmark = pytest.mark.browser
TOKEN = "/oauth/token"
BLOCK_WINDOWS = "window.open = () => null;"


def credentials(site: Site) -> list[Credential]:
    with site.runtime.database.reading() as session:
        return list(session.exec(select(Credential)))


def expect_authorized(page: Page, site: Site, username: str = "gatehouse") -> None:
    walk.heading(page, f"Authorized as @{username}")
    expect(page.get_by_role("link", name="Continue")).to_be_visible()
    assert [found.gitlab_username for found in credentials(site)] == [username]


def expect_phase(page: Page, title: str) -> None:
    walk.heading(page, title)


def sign_in_as(window: Page, username: str) -> None:
    window.get_by_role("button", name=f"Sign in as {username}", exact=True).click()


def sign_out_of_gitlab(context: BrowserContext, site: Site) -> None:
    tab = context.new_page()
    tab.goto(site.sandbox.url)
    tab.locator("#profile > summary").click()
    tab.get_by_role("button", name="Sign out").click()
    # Closed while it is being left, a window may keep both the session and the browser.
    tab.wait_for_url("**/users/sign_in")
    tab.close()


def authorize_address(site: Site, page: Page) -> str:
    """Start an attempt as the page's button does, up to the address of GitLab that its window would open."""
    token = page.locator("#authorization [name=csrf_token]").first.input_value()
    slug = urlsplit(page.url).path.split("/")[2]
    answer = page.request.post(
        f"{site.url}/connections/{slug}/authorization",
        form={"csrf_token": token},
        headers={"Origin": site.url},
        max_redirects=0,
    )
    assert answer.status == 303
    go = page.request.get(site.url + answer.headers["location"].removesuffix("leave") + "go", max_redirects=0)
    return go.headers["location"]


def test_the_wrong_person_is_turned_away_and_the_right_one_gets_in(
    page: Page, context: BrowserContext, site: Site
) -> None:
    walk.open_authorize(page, site)
    sign_in_as(walk.start_popup(page), "root")

    expect_phase(page, "@root was signed in, not @gatehouse")
    panel = page.locator("#authorization")
    expect(panel).to_contain_text("Nothing was stored")
    expect(panel.locator(".gh-who strong")).to_have_text(["@gatehouse", "@root"])
    # An administrator cannot be made the expected user.
    expect(page.get_by_role("button", name="Make @root the expected user")).to_have_count(0)
    assert credentials(site) == []
    assert site.sandbox.requests.count("/oauth/revoke") == 1
    assert [token for token in site.sandbox.world.oauth.tokens() if not token.is_revoked] == []

    sign_out_of_gitlab(context, site)
    sign_in_as(walk.start_popup(page), "gatehouse")
    expect_authorized(page, site)


def test_another_user_can_be_made_the_expected_one(page: Page, site: Site) -> None:
    walk.open_authorize(page, site)
    sign_in_as(walk.start_popup(page), "dev")

    page.get_by_role("button", name="Make @dev the expected user").click()
    expect(page.get_by_role("button", name="Authorize as @dev")).to_be_visible()
    assert credentials(site) == []

    walk.start_popup(page, "Authorize as @dev")
    expect_authorized(page, site, "dev")


def test_denial_is_told_and_can_be_repeated(page: Page, site: Site) -> None:
    walk.open_authorize(page, site, trusted=False)
    popup = walk.start_popup(page)
    sign_in_as(popup, "gatehouse")
    popup.get_by_role("button", name="Deny").click()

    expect_phase(page, "The authorization was denied")
    assert credentials(site) == []

    popup = walk.start_popup(page)
    popup.get_by_role("button", name="Authorize Gatehouse").click()
    expect_authorized(page, site)


def test_a_wrong_secret_is_told_before_the_popup(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    application_id, secret = walk.to_credentials(page, site)
    walk.paste_credentials(page, application_id, "not-the-secret-0123456789")

    expect(page.locator(".gh-result-fail")).to_be_visible()
    walk.heading(page, "Create the application in GitLab")
    expect(walk.field(page, "Application ID")).to_have_value(application_id)

    walk.field(page, "Secret").fill(secret)
    walk.press_continue(page)
    walk.heading(page, "Choose who Gatehouse acts as")


def test_a_wrong_redirect_uri_shows_gitlabs_error_and_works_once_it_is_mended(page: Page, site: Site) -> None:
    prepared = walk.open_authorize(page, site)
    right = prepared.application.redirect_uri
    prepared.application.redirect_uri = right + "/"
    popup = walk.start_popup(page)
    sign_in_as(popup, "gatehouse")

    expect(popup.get_by_role("heading", name="An error has occurred")).to_be_visible()
    expect_phase(page, "Waiting for GitLab")
    expect(page.get_by_role("link", name="Copy the redirect URI")).to_be_visible()

    prepared.application.redirect_uri = right
    walk.start_popup(page, "Start again")
    expect_authorized(page, site)


def test_the_page_waits_from_the_press_on_however_slow_the_window_is(
    page: Page, context: BrowserContext, site: Site
) -> None:
    walk.open_authorize(page, site)
    held: list[Route] = []
    context.route("**/connections/gitlab/authorization", lambda route: held.append(route))
    popup = walk.start_popup(page)
    expect_phase(page, "Waiting for GitLab")
    again = page.get_by_role("button", name="Start again")
    again.focus()
    for _ in range(2):
        with page.expect_response("**/authorization/status**") as asked:
            pass
        assert asked.value.status == 204
    expect_phase(page, "Waiting for GitLab")
    # The small window has the keyboard focus now; what counts is where it is when the person comes back.
    assert again.evaluate("button => button === document.activeElement")

    held[0].continue_()
    sign_in_as(popup, "gatehouse")
    expect_authorized(page, site)
    done = page.get_by_role("status").filter(has_text="Authorized as @gatehouse")
    assert done.evaluate("title => title === document.activeElement")


def test_a_blocked_popup_goes_on_in_the_same_tab(page: Page, context: BrowserContext, site: Site) -> None:
    page.add_init_script(BLOCK_WINDOWS)
    walk.open_authorize(page, site)

    page.get_by_role("button", name="Authorize as @gatehouse").click()
    sign_in_as(page, "gatehouse")

    expect_authorized(page, site)
    assert len(context.pages) == 1


def test_after_a_closed_popup_a_new_start_kills_the_old_state(page: Page, site: Site, watch: Watch) -> None:
    watch.expect_status(400)
    walk.open_authorize(page, site)
    popup = walk.start_popup(page)
    popup.wait_for_url("**/users/sign_in**")
    old = site.sandbox.requests.last("/oauth/authorize").query["state"]
    popup.close()
    expect_phase(page, "Waiting for GitLab")

    popup = walk.start_popup(page, "Start again")
    popup.wait_for_url("**/users/sign_in**")
    asked = site.sandbox.requests.count(TOKEN)
    stale = page.context.new_page()
    stale.goto(f"{site.url}/oauth/callback/gitlab?code=anything&state={old}")
    assert site.sandbox.requests.count(TOKEN) == asked
    stale.close()

    sign_in_as(popup, "gatehouse")
    expect_authorized(page, site)


def test_gitlab_may_cut_its_windows_off(page: Page, site: Site) -> None:
    site.sandbox.world.settings.coop_same_origin = True
    walk.open_authorize(page, site)
    popup = walk.start_popup(page)
    sign_in_as(popup, "gatehouse")

    expect_authorized(page, site)
    if not popup.is_closed():
        popup.wait_for_event("close")


def test_everything_works_without_javascript(site: Site) -> None:
    page = site.sign_in(site.open_context(java_script_enabled=False)).new_page()
    walk.begin(page, site)
    page.get_by_role("button", name="Use the sandbox").click()
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    walk.press_continue(page)
    walk.paste_credentials(page, *walk.create_application(page, site))
    walk.press_continue(page)
    page.get_by_role("button", name="Authorize as @gatehouse").click()
    sign_in_as(page, "gatehouse")
    page.get_by_role("link", name="Click here to redirect to the application").click()
    expect_authorized(page, site)

    page.get_by_role("link", name="Continue").click()
    row = page.get_by_role("button", name="Enable data/data-contracts")
    reload_until_visible(page, row)
    row.click()
    expect(page.get_by_role("button", name="Disable data/data-contracts")).to_be_visible()
    page.get_by_role("button", name="Finish").click()
    walk.heading(page, "GitLab is connected")


def reload_until_visible(page: Page, wanted: Locator) -> None:
    for _ in range(1000):
        if wanted.count():
            return
        page.reload()
    raise AssertionError("the rows never came")


def test_this_tab_may_be_used_on_purpose_and_its_callback_be_reloaded(
    page: Page, context: BrowserContext, site: Site
) -> None:
    walk.open_authorize(page, site)
    asked = site.sandbox.requests.count(TOKEN)
    callbacks: list[str] = []
    page.on("request", lambda request: callbacks.append(request.url) if "/oauth/callback/" in request.url else None)
    page.get_by_role("button", name="Use this tab, without a window").click()
    sign_in_as(page, "gatehouse")
    expect_authorized(page, site)
    assert len(context.pages) == 1

    page.goto(callbacks[0])

    expect_authorized(page, site)
    assert "code=" not in page.url
    assert site.sandbox.requests.count(TOKEN) == asked + 1


def test_a_state_of_another_browser_is_refused_without_asking_gitlab(
    page: Page, context: BrowserContext, site: Site, watch: Watch
) -> None:
    watch.expect_status(400)
    walk.open_authorize(page, site)
    asked = site.sandbox.requests.count(TOKEN)
    callback = f"{site.url}/oauth/callback/gitlab?code=stolen&state="

    state = parse_qs(urlsplit(authorize_address(site, page)).query)["state"][0]
    answers = [site.sign_in(site.open_context()).new_page().goto(callback + state)]
    # And another person's, even in the same browser.
    state = parse_qs(urlsplit(authorize_address(site, page)).query)["state"][0]
    site.sign_in(context, site.cast.administrator)
    answers.append(page.goto(callback + state))

    assert [answer.status for answer in answers] == [400, 400]
    assert site.sandbox.requests.count(TOKEN) == asked
    assert credentials(site) == []
