"""Every page at two widths, light, dark and in forced colours: contrast, focus, names, no scrolling sideways."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from portal.accounts.first_run import ensure_setup_link
from portal.accounts.models import Organization
from portal.ingestion.run import read_activity
from tests.accounts.support import let_time_pass
from tests.browser import walk
from tests.browser.checks import Looker, open_folds
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.support.connected import connect

pytestmark = pytest.mark.browser


def test_the_walkthrough(site: Site, watch: Watch) -> None:
    watch.expect_status(403, 422)
    look = Looker()
    page = site.sign_in(site.open_context()).new_page()
    page.goto(site.url + "/connections/")
    look(page, "connections-empty")
    page.get_by_role("link", name="Connect a GitLab").click()
    look(page, "step-1")
    walk.press_continue(page)
    walk.heading(page, "Where is your GitLab?")
    open_folds(page)
    look(page, "step-2")
    walk.press_continue(page)
    expect(page.locator(".gh-summary")).to_be_visible()
    look(page, "step-2-refused")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    look(page, "cancel-dialog")
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Use the sandbox").click()
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    look(page, "step-2-checked")
    walk.press_continue(page)
    walk.heading(page, "Create the application in GitLab")
    open_folds(page)
    look(page, "step-3")
    pair = walk.create_application(page, site)
    walk.paste_credentials(page, pair[0], "wrong-secret-0123456789")
    expect(page.locator(".gh-result-fail")).to_be_focused()
    look(page, "step-3-wrong-secret")
    walk.field(page, "Secret").fill(pair[1])
    walk.field(page, "Secret").blur()
    expect(page.get_by_text("GitLab accepts both")).to_be_visible()
    look(page, "step-3-accepted")
    walk.press_continue(page)
    walk.heading(page, "Choose who Gatehouse acts as")
    open_folds(page)
    look(page, "step-4")
    walk.press_continue(page)
    walk.heading(page, "Authorize as @gatehouse")
    look(page, "step-5")
    popup = walk.start_popup(page)
    popup.wait_for_url("**/users/sign_in**")
    walk.heading(page, "Waiting for GitLab")
    look(page, "step-5-waiting")
    popup.get_by_role("button", name="Sign in as root", exact=True).click()
    walk.heading(page, "@root was signed in, not @gatehouse")
    look(page, "step-5-wrong-person")
    with site.runtime.database.transaction() as session:
        session.get_one(Organization, site.cast.owner.organization_id).plan = "basic"
    page.goto(site.url + "/connections/new")
    look(page, "not-in-plan")
    assert look.problems == []


def test_the_small_window(site: Site) -> None:
    look = Looker()
    context = site.sign_in(site.open_context())
    page = context.new_page()
    walk.open_authorize(page, site)
    # A response without content keeps the page on the way to GitLab in place, so that it can be checked.
    page.route("**/go", lambda route: route.fulfill(status=204))
    with page.expect_request("**/go"):
        page.get_by_role("button", name="Use this tab, without a window").click()
    page.get_by_role("link", name="Go to GitLab").wait_for()
    look(page, "popup-leave", (720, 320))
    public_id = page.url.split("/")[-2]
    page.unroute("**/go")
    page.get_by_role("link", name="Go to GitLab").click()
    page.get_by_role("button", name="Sign in as gatehouse").click()
    walk.heading(page, "Authorized as @gatehouse")
    page.goto(f"{site.url}/connections/gitlab/authorization/{public_id}")
    look(page, "popup-done", (720, 320))
    assert look.problems == []


def test_an_authorized_connection(site: Site, page: Page) -> None:
    look = Looker()
    prepared = walk.authorized_connection(site)
    setup = f"{site.url}/connections/{prepared.slug}/setup"
    page.goto(f"{setup}/authorize")
    look(page, "step-5-authorized")
    page.goto(f"{setup}/services")
    look(page, "services")
    site.await_jobs()
    for name in ("", "settings", "activity", "credential"):
        page.goto(f"{site.url}/connections/{prepared.slug}/{name}".rstrip("/"))
        look(page, name or "overview")
    page.goto(f"{site.url}/connections/{prepared.slug}/health/upgrade")
    open_folds(page)
    look(page, "upgrade")
    page.goto(f"{site.url}/connections/{prepared.slug}/budget")
    expect(page.get_by_role("heading", name="What they were used for")).to_be_visible()
    look(page, "budget")
    page.goto(f"{site.url}/connections/")
    look(page, "connections")
    # The portal does not know that this GitLab is its sandbox, so it is one over plain HTTP.
    object.__setattr__(site.runtime.settings, "sandbox_origin", None)
    page.goto(f"{site.url}/connections/{prepared.slug}")
    expect(page.locator("#in-clear")).to_contain_text("unencrypted")
    look(page, "details-in-clear")
    assert look.problems == []


def test_a_missing_repository(site: Site, page: Page) -> None:
    look = Looker()
    walk.authorized_connection(site)
    site.await_jobs()
    page.goto(f"{site.url}/repositories/missing")
    page.locator("#which").fill("no/such-project")
    page.get_by_role("button", name="Find out").click()
    expect(page.get_by_role("heading", name="GitLab shows @gatehouse neither")).to_be_visible()
    look(page, "missing")
    page.locator("#which").fill("data/data-contracts")
    page.get_by_role("button", name="Find out").click()
    expect(page.get_by_role("heading", name="data/data-contracts is in the list")).to_be_visible()
    look(page, "missing-not")
    assert look.problems == []


def test_what_a_person_has_to_decide(site: Site, page: Page) -> None:
    look = Looker()
    prepared = walk.authorized_connection(site)
    site.await_jobs()
    auditor = site.sign_in(site.open_context(), site.cast.auditor).new_page()
    auditor.goto(f"{site.url}/repositories/?connection={prepared.slug}&q=data-contracts")
    auditor.get_by_role("link", name="Ask for data/data-contracts").click()
    walk.heading(auditor, "Ask for data/data-contracts")
    look(auditor, "ask")
    auditor.get_by_label("What is it needed for?").fill("The search team indexes it.")
    auditor.get_by_role("button", name="Ask", exact=True).click()
    expect(auditor.get_by_role("button", name="Withdraw data/data-contracts")).to_be_visible()
    page.goto(f"{site.url}/repositories/requests")
    expect(page.get_by_role("button", name="Enable it: data/data-contracts")).to_be_visible()
    look(page, "requests")
    world = site.sandbox.world
    old = world.project("data/data-contracts")
    page.get_by_role("button", name="Enable it: data/data-contracts").click()
    page.goto(f"{site.url}/repositories/?connection={prepared.slug}")
    page.get_by_role("button", name="Enable data/warehouse/dbt-models", exact=True).click()
    expect(page.locator(".gh-toast")).to_be_visible()
    world.delete_project(old.id)
    world.add_project("data/data-contracts")
    page.get_by_role("button", name="Read again").first.click()
    site.await_jobs()
    page.goto(f"{site.url}/repositories/review")
    page.get_by_label("Due", exact=True).select_option("3")
    page.get_by_role("button", name="Set how often a review is due").click()
    page.get_by_role("link", name="Show all").click()
    page.locator("[data-select-row]").first.check()
    look(page, "review")
    user = world.user_by_username("gatehouse")
    for group, _ in world.memberships_of(user)[:4]:
        world.add_group_member(group.id, user.id, 0)
    page.goto(f"{site.url}/repositories/?connection={prepared.slug}")
    page.get_by_role("button", name="Read again").first.click()
    page.get_by_role("link", name="Decide").click()
    expect(page.get_by_role("heading", name=re.compile("The last read no longer saw"))).to_be_visible()
    look(page, "unseen")
    assert look.problems == []


def test_rules(site: Site, page: Page) -> None:
    look = Looker()
    prepared = walk.authorized_connection(site)
    site.await_jobs()
    page.goto(f"{site.url}/connections/{prepared.slug}/rules")
    written = (("exclude", "**/legacy-*"), ("enable", "data/**"), ("exclude", "data/warehouse/*"))
    for number, (action, pattern) in enumerate(written):
        page.get_by_role("button", name="Add a rule").click()
        page.locator(f"#rule-{number}-action").select_option(action)
        path = page.locator(f"#rule-{number}-pattern")
        path.fill(pattern)
        expect(page.locator(".gh-rule.is-open code").first).to_have_text(pattern)
        expect(page.locator(".gh-rule.is-open .gh-rule-verb")).to_have_text(action.capitalize())
        expect(path).to_be_focused()
    expect(page.get_by_text("Never decides: rule 2 takes all 2 first")).to_be_visible()
    look(page, "rules")
    changes = page.locator("#rules details")
    expect(changes).not_to_have_attribute("open", "")
    changes.locator("summary").click()
    page.get_by_role("button", name="Move above 2").click()
    expect(page.get_by_text("Never decides")).to_have_count(0)
    expect(changes).to_have_attribute("open", "")
    save = page.get_by_role("button", name="Save: enable")
    wanted = int(save.inner_text().split()[2].strip(","))
    save.click()
    expect(page.get_by_text("Rules saved.")).to_be_visible()
    site.await_jobs()
    page.goto(f"{site.url}/repositories/?connection={prepared.slug}&state=enabled")
    expect(page.get_by_text("enabled by rule 3")).to_have_count(wanted)
    assert look.problems == []


def test_repositories(site: Site, page: Page) -> None:
    look = Looker()
    prepared = walk.authorized_connection(site)
    site.await_jobs()
    page.goto(f"{site.url}/connections/{prepared.slug}/setup/repositories")
    look(page, "step-6")
    page.get_by_role("button", name="Enable data/data-contracts").click()
    expect(page.locator(".gh-toast")).to_be_visible()
    page.locator("[data-select-row]").nth(1).check()
    page.locator("[data-select-row]").nth(2).check()
    look(page, "step-6-chosen")
    page.get_by_role("button", name="Finish").click()
    walk.heading(page, "GitLab is connected")
    look(page, "finished")
    page.goto(f"{site.url}/repositories/?state=unavailable")
    page.locator("#listing summary").first.click()
    look(page, "repositories-unavailable")
    page.goto(f"{site.url}/repositories/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    look(page, "repositories-keys")
    page.goto(f"{site.url}/repositories/?q=nothing-like-this")
    look(page, "repositories-nothing")
    read_activity(site.runtime, prepared.connection.id or 0, lambda *_: None)
    page.goto(f"{site.url}/reports?weeks=26")
    expect(page.get_by_text("1 of 1 complete")).to_be_visible()
    page.locator(".gh-disclosure").evaluate_all("folds => folds.forEach((fold) => { fold.open = true; })")
    look(page, "reports")
    assert look.problems == []


def test_changes_of_repositories_and_their_jobs(site: Site, page: Page) -> None:
    look = Looker()
    walk.authorized_connection(site)
    site.await_jobs()
    page.goto(f"{site.url}/repositories/change?do=enable")
    look(page, "repositories-change")
    page.get_by_role("button", name=re.compile("Enable [0-9]+ repositories")).click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    look(page, "repositories-changing")
    page.goto(f"{site.url}/repositories/?state=enabled")
    page.locator("#listing a.gh-path").first.click()
    expect(page.get_by_role("heading", name="Services")).to_be_visible()
    look(page, "repository")
    page.goto(f"{site.url}/jobs")
    look(page, "jobs")
    page.locator("main a[href^='/jobs/']").first.click()
    look(page, "job")
    assert look.problems == []


def test_people_and_errors(site: Site, watch: Watch) -> None:
    watch.expect_status(404, 422)
    look = Looker()
    page = site.sign_in(site.open_context()).new_page()
    page.goto(f"{site.url}/members")
    look(page, "members")
    page.locator("#content details summary").first.click()
    page.get_by_role("button", name="Remove").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    look(page, "members-dialog")
    connect(site.runtime, site.sandbox, site.cast.owner, enqueue=True)
    site.await_jobs()
    page.goto(f"{site.url}/members/invitations")
    look(page, "invite")
    page.goto(f"{site.url}/members/{site.cast.lead.membership_id}/groups")
    look(page, "groups-of-a-lead", (320,))
    page.goto(f"{site.url}/profile")
    look(page, "profile")
    page.goto(f"{site.url}/audit")
    with page.expect_response("**/audit/verification"):
        page.get_by_role("button", name="Verify now").click()
    site.await_jobs()
    page.reload()
    page.locator(".gh-event > summary").first.click()
    look(page, "audit")
    page.locator(".gh-person > summary").click()
    look(page, "menu", (1366,))
    page.goto(f"{site.url}/jobs")
    page.set_viewport_size({"width": 390, "height": 760})
    page.get_by_role("button", name="Menu", exact=True).click()
    expect(page.get_by_role("dialog", name="Navigation")).to_be_visible()
    look(page, "menu-phone", (320,))
    page.goto(f"{site.url}/no-such-page")
    look(page, "error-404")
    lead = site.sign_in(site.open_context(), site.cast.lead).new_page()
    lead.goto(f"{site.url}/repositories/")
    walk.heading(lead, "Repositories")
    look(lead, "repositories-without-groups")
    assert look.problems == []


def test_questions_and_refusals(site: Site, page: Page, watch: Watch) -> None:
    watch.expect_status(401, 409)
    look = Looker()
    walk.authorized_connection(site)
    site.await_jobs()
    page.goto(f"{site.url}/members")
    let_time_pass(site.app, minutes=6)
    page.locator("#content details summary").first.click()
    page.get_by_role("button", name="Save role").first.click()
    expect(page.get_by_role("heading", name="Please confirm it is you")).to_be_visible()
    look(page, "password-again")
    page.goto(f"{site.url}/repositories/")
    let_time_pass(site.app, minutes=31)
    page.get_by_role("button", name="Enable ").nth(1).click()
    expect(page.get_by_role("dialog", name="You are signed out")).to_be_visible()
    look(page, "signed-out-dialog")
    page.goto(f"{site.url}/jobs")
    walk.heading(page, "Welcome back")
    look(page, "welcome-back")
    assert look.problems == []


def test_before_anybody_is_signed_in(site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    look = Looker()
    page = site.open_context().new_page()
    page.goto(f"{site.url}/sign-in")
    look(page, "sign-in")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".gh-summary")).to_be_visible()
    look(page, "sign-in-refused")
    assert look.problems == []


class TestFirstRun:
    @pytest.fixture
    def cast(self) -> None:
        """There are no users yet."""

    def test_the_first_run(self, site: Site) -> None:
        look = Looker()
        page = site.open_context().new_page()
        link = ensure_setup_link(site.runtime)
        assert link is not None
        page.goto(link)
        look(page, "first-run")
        walk.field(page, "Organization").fill("Example Corp")
        walk.field(page, "Your name").fill("Olga Owner")
        walk.field(page, "E-mail").fill("olga@example.com")
        walk.field(page, "Password").fill("quiet lantern over marsh")
        page.get_by_role("button", name="Create organization").click()
        walk.heading(page, "Connect your GitLab to the software that needs it")
        assert look.problems == []
