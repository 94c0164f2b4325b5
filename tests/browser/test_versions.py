"""Both ways in on one GitLab after the other, up to the first enabled repository."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete

from portal.connections.models import OutboundTry
from tests.access_tokens.drafts import fine_grained, token_draft
from tests.browser import walk
from tests.browser.site import Site
from tests.support.walkthrough import prepare

pytestmark = pytest.mark.browser
VERSIONS = ("9.5.10", "10.8.7", "12.5.9", "12.10.14", "15.11.13", "17.11.6", "18.10.0", "19.5.0")
WITHOUT_READ_API = VERSIONS[:3]
WITH_FINE_GRAINED = VERSIONS[-2:]


def become(site: Site, version: str) -> None:
    """Have the sandbox be another GitLab, which no one has tried yet."""
    site.sandbox.world.settings.version = version
    with site.runtime.database.transaction() as session:
        session.execute(delete(OutboundTry))


def enable_one(page: Page) -> None:
    """Enable a repository on the last step, which only a finished read offers."""
    walk.heading(page, "Choose repositories")
    page.get_by_role("button", name="Enable data/data-contracts", exact=True).click()
    expect(page.get_by_role("button", name="Disable data/data-contracts", exact=True)).to_be_visible()


def test_every_version_is_connected_by_oauth(site: Site, page: Page) -> None:
    for version in VERSIONS:
        become(site, version)
        prepared = prepare(site.runtime, site.sandbox, site.cast.owner, name=version)
        page.goto(f"{site.url}/connections/{prepared.slug}/setup/application")
        to_read = "api" if version in WITHOUT_READ_API else "read_api"
        assert walk.values_of_application(page)[2] == [to_read, "read_user", "read_repository"], version

        page.goto(f"{site.url}/connections/{prepared.slug}/setup/authorize")
        popup = walk.start_popup(page)
        if version == VERSIONS[0]:  # Afterwards the browser is signed in to GitLab.
            popup.get_by_role("button", name="Sign in as gatehouse", exact=True).click()
        walk.heading(page, "Authorized as @gatehouse")
        page.get_by_role("link", name="Continue").click()
        enable_one(page)


def test_every_version_is_connected_by_an_access_token(site: Site, page: Page) -> None:
    for version in VERSIONS:
        become(site, version)
        slug = token_draft(site.runtime, site.sandbox, site.cast.owner, name=version)
        if version in WITH_FINE_GRAINED:
            token = fine_grained(site.sandbox)
        else:
            scopes = ["api"] if version in WITHOUT_READ_API else ["read_api", "read_user", "read_repository"]
            token = site.sandbox.token("gatehouse", *scopes)

        page.goto(f"{site.url}/connections/{slug}/setup/token")
        walk.field(page, "Personal access token").fill(token)
        page.get_by_role("button", name="Test connection").click()
        page.get_by_role("button", name="Link account").click()
        enable_one(page)
