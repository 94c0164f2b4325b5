"""A site in Chromium: created, filled, connected, changed on both sides, a conflict decided, disconnected."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlmodel import col, select

from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Repository
from tests.browser.checks import Looker, open_folds
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.support.connected import connect
from tests.support.walkthrough import principal_of

pytestmark = pytest.mark.browser
PROJECT = "platform/infrastructure/ansible-playbooks"


def enable(site: Site) -> int:
    """Connect GitLab, enable a repository, and return GitLab's id of it."""
    connection_id = connect(site.runtime, site.sandbox, site.cast.owner)
    read_catalogue(site.runtime, connection_id, "job", lambda *_: None)
    with site.runtime.database.reading() as session:
        found = session.exec(select(Repository).where(col(Repository.path_with_namespace) == PROJECT)).one()
    assert found.id is not None
    set_enabled(site.runtime, principal_of(site.runtime, site.cast.owner), [found.id], enabled=True)
    return found.gitlab_project_id


def add_file(page: Page, path: str, text: str) -> None:
    """Add a text file by hand."""
    page.get_by_role("link", name="Add a file").first.click()
    page.get_by_label("Path").fill(path)
    page.get_by_label("Content").fill(text)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Content of")).to_be_visible()


def sync_now(page: Page) -> None:
    """Have it synced at once: no clock runs in these tests."""
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("button", name="Sync now").click()
    expect(page.get_by_role("group", name="State of the sync")).to_be_visible()


def test_site_from_the_first_file_to_a_decided_conflict(site: Site, watch: Watch) -> None:
    watch.expect_status(422, 409)
    project_id, look = enable(site), Looker()
    page = site.sign_in(site.open_context()).new_page()
    page.goto(f"{site.url}/sites/")
    look(page, "sites-empty")
    page.get_by_role("link", name="New site").click()
    look(page, "site-new")
    page.get_by_label("Name").fill("Handbook")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Handbook")).to_be_visible()
    add_file(page, "index.md", "# Our own first page\n")
    look(page, "site-file")
    page.get_by_role("link", name="Files").click()
    add_file(page, "old-brand.md", "Old.\n")
    look(page, "site-local")

    # Connect: what it does is told first.
    page.get_by_role("link", name="Settings").click()
    look(page, "site-settings")
    page.get_by_role("link", name="Connect Gitlab").click()
    look(page, "site-pick")
    page.get_by_role("link", name=PROJECT).click()
    look(page, "site-target")
    page.get_by_label("Branch").fill("-x")
    page.get_by_role("button", name="Compare the files").click()
    expect(page.locator(".gh-summary")).to_be_visible()
    page.get_by_label("Branch").fill("main")
    page.get_by_role("button", name="Compare the files").click()
    expect(page.get_by_text("newer here")).to_be_visible()
    open_folds(page)
    look(page, "site-preview")
    page.get_by_role("button", name="Replace 1, remove 1, connect").click()
    expect(page.get_by_text("In step").first).to_be_visible()
    expect(page.get_by_role("link", name="README.md")).to_be_visible()
    store = site.sandbox.world.git
    project = site.sandbox.world.project(project_id)
    assert "refs/heads/gatehouse/handbook-before" in store.refs(project)

    # Both sides change the same file, so that no one can tell which is right.
    site.await_jobs()
    store.commit(
        project_id, {"docs/on-call.md": b"# On call\n\n## At night\nCall the platform team first.\nThen write.\n"}
    )
    page.goto(f"{site.url}/sites/handbook/edit?path=docs/on-call.md")
    look(page, "site-edit")
    box = page.get_by_label("Content")
    box.fill(box.input_value().replace("Call the desk first: 555 0142.", "Call the grid desk first: 555 0142."))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Content of")).to_contain_text("grid desk")
    sync_now(page)
    expect(page.get_by_text("was changed in both places")).to_be_visible()
    site.await_jobs()
    look(page, "site-conflict-told")
    page.get_by_role("link", name="Compare and decide").click()
    open_folds(page)
    look(page, "site-conflict")
    page.get_by_role("button", name="Commit to main").click()
    expect(page.get_by_text("Choose a version of every passage first.")).to_be_visible()
    page.locator("input[value=here]").check()
    page.get_by_role("button", name="Commit to main").click()
    expect(page.get_by_text("docs/on-call.md is decided.")).to_be_visible()
    sync_now(page)
    expect(page.get_by_text("In step").first).to_be_visible()
    site.await_jobs()
    assert "grid desk" in store.run(project, "show", "main:docs/on-call.md")
    page.get_by_role("link", name="All changes").click()
    look(page, "site-history")

    # A branch that is protected, and the end of it.
    store.protected[project_id] = {"main": 50}
    page.goto(f"{site.url}/sites/handbook")
    add_file(page, "later.md", "Later.\n")
    sync_now(page)
    expect(page.get_by_role("link", name="merge request")).to_be_visible()
    look(page, "site-proposed")
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("button", name="Disconnect").click()
    look(page, "site-disconnect")
    page.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
    expect(page.get_by_text("is kept here only now")).to_be_visible()
    page.get_by_role("link", name="Files", exact=True).click()
    expect(page.get_by_role("link", name="later.md")).to_be_visible()
    page.goto(f"{site.url}/sites/")
    look(page, "sites")
    assert look.problems == []
