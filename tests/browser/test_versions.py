"""Both ways in on one GitLab after the other, up to the first enabled repository."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete

from portal.connections import checklist, instance, store
from portal.connections.models import Method, OutboundTry
from tests.access_tokens.drafts import fine_grained, token_draft
from tests.browser import walk
from tests.browser.site import Site
from tests.support.walkthrough import prepare, principal_of

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


def test_every_version_has_it_created_without_javascript(site: Site) -> None:
    page = site.sign_in(site.open_context(java_script_enabled=False)).new_page()
    principal = principal_of(site.runtime, site.cast.owner)
    for version in VERSIONS:
        become(site, version)
        slug = store.create_draft(site.runtime, principal, version, Method.OAUTH).slug
        instance.save_instance(site.runtime, principal, slug, instance.Entered(site.sandbox.url))
        assert checklist.run_checklist(site.runtime, principal, slug).is_passed
        page.goto(f"{site.url}/connections/{slug}/setup/create")
        walk.field(page, "Administrator’s token").fill(site.sandbox.token("root"))
        page.get_by_role("button", name="Make these calls").click()

        if version == VERSIONS[0]:
            expect(
                page.get_by_text("This GitLab cannot create applications through its API; that came with 10.5.")
            ).to_be_visible()
            continue
        expect(page.get_by_role("heading", level=1)).to_contain_text("Created in")
        page.get_by_role("link", name="Continue").click()
        expect(page.get_by_role("button", name="Authorize as @gatehouse").first).to_be_visible()
