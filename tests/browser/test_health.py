"""The health page in Chromium: checking again, an outage, its banner, its end."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from portal.health.checks import check_connection
from tests.browser.checks import Looker, open_folds
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.health.conftest import Watched
from tests.support.connected import connect

pytestmark = pytest.mark.browser


@pytest.fixture
def connection_id(site: Site) -> int:
    return connect(site.runtime, site.sandbox, site.cast.owner)


def check_again(page: Page) -> None:
    """Press the button and wait until the new results have replaced the old ones."""
    page.get_by_role("button", name="Check again").click()
    expect(page.locator("#announcements")).to_have_text("The checks are done.")


def test_check_again_shows_how_far_it_is_and_replaces_what_was_there(
    site: Site, page: Page, connection_id: int
) -> None:
    page.goto(f"{site.url}/connections/gitlab/health")
    expect(page.get_by_role("heading", name="Not checked yet")).to_be_visible()

    check_again(page)

    expect(page.get_by_role("heading", name="Everything works")).to_be_visible()
    expect(page.locator("#check-token")).to_contain_text("Passed")
    expect(page.locator("#health-progress progress")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("button", name="Support bundle").click()
    assert json.loads(download.value.path().read_text())["watch"]["state"] == "pass"


def test_outage_is_on_every_page_and_goes_away_by_itself(site: Site, page: Page, connection_id: int) -> None:
    watched = Watched(site.runtime, connection_id)
    watched.look()
    site.sandbox.faults.add("*", drop="before")
    watched.look(2)

    page.goto(f"{site.url}/jobs")
    alarms = page.get_by_role("region", name="Alarms")
    expect(alarms).to_contain_text("the credentials are kept")
    alarms.get_by_role("link", name=re.compile("See what to do")).click()
    expect(page.locator("#check-gitlab")).to_contain_text("Failed since")

    site.sandbox.faults.clear()
    watched.look(2)
    page.goto(f"{site.url}/jobs")
    expect(alarms).to_have_count(0)


def test_sixth_check_in_a_minute_is_refused_on_the_page(
    site: Site, page: Page, connection_id: int, watch: Watch
) -> None:
    watch.expect_status(429)
    page.goto(f"{site.url}/connections/gitlab/health")
    for _ in range(5):
        page.evaluate("document.getElementById('announcements').textContent = ''")
        check_again(page)
    page.get_by_role("button", name="Check again").click()

    expect(page.locator("[data-problem]")).to_contain_text("five times in the last minute")


def test_health_page_reads_well_at_every_width_in_every_look(site: Site, page: Page, connection_id: int) -> None:
    for path in ("/oauth/token/info", "/api/v4/user"):
        site.sandbox.faults.add(path, status=503)
    for _ in range(2):
        check_connection(site.runtime, connection_id)
    watched = Watched(site.runtime, connection_id)
    watched.change(lambda connection: setattr(connection, "hooks_wanted", True))
    check_connection(site.runtime, connection_id)
    look = Looker()
    for path in ("/connections/gitlab/health", "/connections/gitlab"):
        page.goto(site.url + path)
        open_folds(page)
        look(page, path)

    assert look.problems == []
