"""The environments of a repository in Chromium: created, stopped, deleted, and a version promoted."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from sqlmodel import col, select

from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Repository
from portal.sandbox.people import SERVICE_USER_ID
from tests.browser.checks import Looker
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.support.connected import connect
from tests.support.walkthrough import principal_of

pytestmark = pytest.mark.browser
PROJECT = "platform/infrastructure/terraform-modules"


def test_environments_and_a_promotion(site: Site, watch: Watch) -> None:
    watch.expect_status(422)
    world, look = site.sandbox.world, Looker()
    project = world.project(PROJECT)
    world.add_project_member(project.id, SERVICE_USER_ID, 40)
    image = "service: gateway\nimage: registry.example.com/platform/gateway:{}\nreplicas: 6\n"
    files = {"deploy/staging.yaml": image.format("4.19.0"), "deploy/production.yaml": image.format("4.18.2")}
    world.git.commit(project.id, {path: text.encode() for path, text in files.items()})
    connection_id = connect(site.runtime, site.sandbox, site.cast.owner)
    read_catalogue(site.runtime, connection_id, "job", lambda *_: None)
    with site.runtime.database.reading() as session:
        found = session.exec(select(Repository.id).where(col(Repository.path_with_namespace) == PROJECT)).one()
    assert found is not None
    set_enabled(site.runtime, principal_of(site.runtime, site.cast.owner), [found], enabled=True)

    page = site.sign_in(site.open_context()).new_page()
    page.goto(f"{site.url}/repositories/{found}")
    page.get_by_role("link", name="Show them").click()
    expect(page.get_by_role("heading", name="All environments")).to_be_visible()
    page.get_by_role("link", name="New environment").click()
    page.get_by_label("Name").fill("review/metrics/")
    page.get_by_role("button", name="Create").click()
    expect(page.locator(".gh-summary")).to_be_visible()
    look(page, "environment-new", (1366,))
    page.get_by_label("Name").fill("testing")
    page.get_by_role("button", name="Create").click()
    row = page.get_by_role("row", name="testing")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(row.get_by_text("Stopped")).to_be_visible()
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("testing is deleted.")).to_be_visible()
    expect(row).to_have_count(0)

    page.get_by_role("link", name="Bring 4.19.0 here").click()
    expect(page.get_by_role("heading", name="Bring 4.19.0 to production")).to_be_visible()
    look(page, "environments")
    page.get_by_role("button", name="Open the merge request").click()
    expect(page.get_by_text("The merge request for 4.19.0 is open.")).to_be_visible()
    expect(page.get_by_role("link", name="Merge request for 4.19.0")).to_be_visible()
    assert [one.title for one in world.git.proposals[project.id]] == ["Bring 4.19.0 to production"]
    assert look.problems == []
