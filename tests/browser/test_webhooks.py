"""The pages about webhooks in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlmodel import col, select

from portal.connections.models import Connection
from portal.db import utc_now
from portal.errors import Card
from portal.repositories.models import Enablement, Repository
from portal.webhooks.counts import hour_of
from portal.webhooks.desired import fingerprint_of
from portal.webhooks.models import Delivery, DeliveryCount, Hook, HookPlan, HookStatus, Outcome
from tests.browser.checks import Looker
from tests.browser.site import Site
from tests.support.connected import connect

pytestmark = pytest.mark.browser
PAGE = "/connections/gitlab/webhooks"


def store_hooks(site: Site) -> None:
    """Store one hook of each kind, as a comparison leaves them; no other is due."""
    now = utc_now()
    refused = Card("hook_url_refused", {"host": "gatehouse.example.com", "name": "gatehouse.example.com"}).to_json()
    states: dict[str, dict[str, Any]] = {
        "mobile/field-tools": {"status": HookStatus.REFUSED, "card": refused},
        "platform/identity": {"repaired_at": now, "repairs": ["secret", "disabled"]},
        "data/contracts": {"last_delivery_at": now - timedelta(minutes=3), "verified_by": "signature"},
        "data/pipelines/ingest/event-collector": {"status": HookStatus.WANTED},
    }
    connection_id = connect(site.runtime, site.sandbox, site.cast.owner)
    with site.runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        for number, (path, values) in enumerate(states.items(), start=1):
            about: dict[str, Any] = {
                "gitlab_project_id": number,
                "name": path,
                "namespace_path": path.rpartition("/")[0],
            }
            repository = Repository(connection_id=connection_id, path_with_namespace=path, **about)
            session.add(repository)
            session.flush()
            if "last_delivery_at" in values:
                session.add(Enablement(repository_id=repository.id, connection_id=connection_id))
            details: dict[str, Any] = {"status": HookStatus.ACTIVE, "events": ["push_events", "note_events"]} | values
            session.add(Hook(connection_id=connection_id, subject_id=number, repository_id=repository.id, **details))
        connection.hooks_wanted = True
        session.flush()
        fingerprint = fingerprint_of(site.runtime, session, connection)
        session.add(HookPlan(connection_id=connection_id, fingerprint=fingerprint, compared_at=now))


def store_deliveries(site: Site) -> None:
    """Store one delivery of each verdict that stays, and an hour in which some were refused."""
    effects = {"applied": "activity", "ignored": "unused", "poison": "other_project"}
    push = {"kind": "push", "ref": "main", "commits": 3}
    with site.runtime.database.transaction() as session:
        hook = session.exec(select(Hook)).first()
        assert hook is not None
        for verdict, effect in effects.items():
            about = {"connection_id": hook.connection_id, "hook_id": hook.id, "verified_by": "signature"}
            at = {"received_at": utc_now() - timedelta(minutes=4)}
            at |= {"applied_at": at["received_at"] + timedelta(milliseconds=400)}
            details = {"verdict": verdict, "effect": effect, "happening": push, "copies": int(verdict == "applied")}
            session.add(Delivery(key=verdict, event="Push Hook", copied_at=utc_now(), **details, **about, **at))
        for hours in range(24):
            counted = {"connection_id": hook.connection_id, "hook_id": hook.id, "number": 3 + hours % 5}
            hour = hour_of(utc_now()) - timedelta(hours=hours)
            kinds = (Outcome.RECEIVED, Outcome.WRONG_TOKEN) if hours == 1 else (Outcome.RECEIVED,)
            for outcome in kinds:
                session.add(DeliveryCount(hour=hour, outcome=outcome, first_at=hour, last_at=hour, **counted))


def logged() -> Iterator[dict[str, Any]]:
    """Yield rows of GitLab's log: arrived, arrived after GitLab gave up, refused, and answered by something else."""
    rows = (("applied", "200"), ("ignored", "internal error"), ("unknown-1", "401"), ("unknown-2", "502"))
    for number, (key, status) in enumerate(rows, start=1):
        headers = {"X-Gitlab-Event": "Push Hook", "Idempotency-Key": key}
        yield {
            "id": number,
            "url": "https://gatehouse.example.com/webhooks/gitlab/[REDACTED]",
            "trigger": "push_hooks",
            "request_headers": headers,
            "response_body": "Bad Gateway" if status == "502" else "",
            "execution_duration": 10.0 if status == "internal error" else 0.2,
            "response_status": status,
        }


def test_pages_about_webhooks_read_well_at_every_width_in_every_look(site: Site, page: Page) -> None:
    store_hooks(site)
    store_deliveries(site)
    look = Looker()

    page.goto(site.url + PAGE)
    look(page, "hooks")
    page.get_by_role("link", name="mobile/field-tools").click()
    expect(page.get_by_role("button", name="Set it up by hand")).to_be_visible()
    look(page, "hook")
    page.get_by_role("button", name="Set it up by hand").click()
    expect(page.get_by_text("The secrets are shown only now")).to_be_visible()
    look(page, "by-hand")
    page.goto(f"{site.url}{PAGE}/deliveries")
    expect(page.get_by_text("push to main, 3 commits").first).to_be_visible()
    look(page, "deliveries")
    with site.runtime.database.reading() as session:
        left = session.exec(select(Hook).where(col(Hook.last_delivery_at).is_not(None))).one()
    page.goto(f"{site.url}/repositories/{left.repository_id}")
    expect(page.get_by_role("link", name="Deliveries")).to_be_visible()
    look(page, "hook-of-repository")
    with site.runtime.database.transaction() as session:
        session.get_one(Hook, left.id).card = Card("hook_left_hidden").to_json()
        session.get_one(Hook, left.id).status = HookStatus.RETIRING
    page.goto(f"{site.url}{PAGE}/{left.id}")
    expect(page.get_by_role("link", name="Open its webhooks in GitLab")).to_be_visible()
    look(page, "hook-left")
    site.sandbox.faults.add("/api/v4/projects/*/hooks/*/events", body=list(logged()))
    with site.runtime.database.transaction() as session:
        hook = session.exec(select(Hook)).first()
        assert hook is not None
        hook.gitlab_hook_id = 7
    page.goto(f"{site.url}{PAGE}/{hook.id}")
    expect(page.get_by_text("GitLab gave up waiting, but it arrived.")).to_be_visible()
    look(page, "hook-log")
    page.goto(f"{site.url}{PAGE}/deliveries?verdict=ignored")
    page.get_by_role("link", name="push to main").click()
    expect(page.get_by_text("Both are right.")).to_be_visible()
    page.get_by_text("Headers").click()
    look(page, "delivery")

    assert look.problems == []
