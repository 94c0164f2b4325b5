"""Every browser test ends with a search for secrets (see `site`); this proves that the search finds them."""

from __future__ import annotations

import logging

import pytest
from playwright.sync_api import Page

from portal.connections.models import Connection
from portal.credentials import demand_access
from portal.db import utc_now
from tests.browser import walk
from tests.browser.canaries import Canaries
from tests.browser.site import Site
from tests.support.paired import Paired

pytestmark = pytest.mark.browser
RENEWALS = 15
PAGES = ("", "/credential", "/health", "/disconnect", "/setup/instance", "/setup/credentials", "/setup/authorize")


def test_thirty_secrets_of_a_long_life_are_found_nowhere(page: Page, site: Site) -> None:
    prepared = walk.authorized_connection(site)
    paired = Paired(site.runtime, site.sandbox, prepared.connection.id, prepared.application.id)
    for _ in range(RENEWALS):
        paired.make_due()
        demand_access(site.runtime, paired.connection_id, reason="test")

    for path in PAGES:
        page.goto(f"{site.url}/connections/{prepared.slug}{path}")

    assert len(Canaries(site.runtime, site.sandbox).lasting()) >= 2 * RENEWALS
    assert paired.credential.expires_at > utc_now()


def test_search_finds_a_token_in_a_page_a_column_and_the_log(site: Site) -> None:
    prepared = walk.authorized_connection(site)
    canaries = Canaries(site.runtime, site.sandbox)
    # A text of the same value that was never one of this process's Secrets, or the log would redact it.
    token = site.sandbox.world.oauth.create_token(prepared.application.id, 1, ("api",)).access_token

    with site.runtime.database.transaction() as session:
        session.get_one(Connection, prepared.connection.id).service_username = token
    planted = canaries.watching(lambda environ, start: [token.encode()])
    planted({"PATH_INFO": "/"}, lambda *_: None)
    with canaries.listening():
        logging.getLogger("test").warning("planted %s", token)

    assert [finding.partition(":")[0] for finding in canaries.findings()] == ["log", "page", "column"]
    with site.runtime.database.transaction() as session:
        session.get_one(Connection, prepared.connection.id).service_username = "gatehouse"
