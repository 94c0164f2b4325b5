"""The way in by OAuth on one GitLab after the other: what step 3 asks for, the popup, the first enabled repository."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete

from portal.connections.models import OutboundTry
from tests.browser import walk
from tests.browser.site import Site
from tests.support.walkthrough import prepare

pytestmark = pytest.mark.browser
VERSIONS = ("9.5.10", "10.8.7", "12.5.9", "12.10.14", "15.11.13", "17.11.6", "18.10.0", "19.5.0")
FIRST_WITH_READ_API = "12.10.14"


def test_every_version_is_connected_read_and_its_repositories_enabled(site: Site, page: Page) -> None:
    for number, version in enumerate(VERSIONS):
        site.sandbox.world.settings.version = version
        with site.runtime.database.transaction() as session:  # People try fewer GitLabs a minute.
            session.execute(delete(OutboundTry))
        prepared = prepare(site.runtime, site.sandbox, site.cast.owner, name=version)
        page.goto(f"{site.url}/connections/{prepared.slug}/setup/application")
        to_read = "read_api" if number >= VERSIONS.index(FIRST_WITH_READ_API) else "api"
        assert walk.values_of_application(page)[2] == [to_read, "read_user", "read_repository"], version

        page.goto(f"{site.url}/connections/{prepared.slug}/setup/authorize")
        popup = walk.start_popup(page)
        if not number:  # Afterwards the browser is signed in to GitLab.
            popup.get_by_role("button", name="Sign in as gatehouse", exact=True).click()
        walk.heading(page, "Authorized as @gatehouse")
        page.get_by_role("link", name="Continue").click()
        page.get_by_role("button", name="Enable data/data-contracts", exact=True).click()
        expect(page.get_by_role("button", name="Disable data/data-contracts", exact=True)).to_be_visible()
