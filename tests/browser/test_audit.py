from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from portal import audit
from portal.actor import SYSTEM
from tests.browser.site import Site

pytestmark = pytest.mark.browser
PHONE = {"width": 320, "height": 640}


def add(site: Site, count: int, name: str) -> None:
    with site.runtime.database.transaction() as session:
        for number in range(count):
            target = audit.Target(1, "test", number, audit.Foreign(f"{name} {number} " + "long" * 20))
            audit.record(session, SYSTEM, "connection.revocation_tried_again", target)


def test_log_is_searched_paged_opened_and_exported(site: Site, page: Page) -> None:
    add(site, 60, "Payments")
    page.goto(f"{site.url}/audit")

    steps = page.evaluate("history.length")
    page.get_by_role("searchbox", name="Search the audit log").press_sequentially("payments 1", delay=300)
    expect(page.locator(".gh-event")).to_have_count(11)
    assert page.evaluate("history.length") == steps
    assert "q=payments" in page.url
    page.get_by_role("searchbox", name="Search the audit log").fill("payments")
    expect(page.locator(".gh-event")).to_have_count(50)
    page.get_by_role("link", name="Show older").click()
    expect(page.locator(".gh-event")).to_have_count(10)
    page.get_by_role("link", name="Show newer").click()
    expect(page.locator(".gh-event")).to_have_count(50)

    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as started:
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text(), newline="")))
    assert len(rows) == 60
    with page.expect_download():
        page.get_by_role("button", name="JSON lines").click()

    first = page.locator(".gh-event").first
    expect(first.get_by_text("From GitLab")).to_be_hidden()
    first.locator("summary").press("Enter")
    expect(first.get_by_text("From GitLab")).to_be_visible()
    first.get_by_role("link", name="Link to this event").click()
    expect(page.get_by_text("From GitLab")).to_be_visible()
    page.get_by_role("link", name="Audit log").last.click()
    expect(page.get_by_role("searchbox", name="Search the audit log")).to_have_value("payments")


def test_verifying_shows_its_result_in_place(site: Site, page: Page) -> None:
    add(site, 3, "Payments")
    page.goto(f"{site.url}/audit")

    page.get_by_role("button", name="Verify now").click()

    expect(page.get_by_text("None changed or missing")).to_be_visible()
    assert page.url == f"{site.url}/audit"


def test_log_fits_a_phone(site: Site, page: Page) -> None:
    add(site, 3, "Payments")
    page.set_viewport_size(PHONE)

    for path in ("/audit", "/audit/1"):
        page.goto(site.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
