"""What starts a sync: a change here, a push that a webhook reports, and a look at GitLab."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlmodel import select

from portal.db import utc_now
from portal.jobs import JobContext
from portal.jobs.context import Claim
from portal.jobs.models import Job
from portal.jobs.testing import run_pending
from portal.sync import polling
from portal.sync.git import Person
from portal.sync.models import Site, SiteState
from portal.sync.store import HERE
from portal.webhooks.happenings import Event
from tests.sync.synced import Synced


def change(site: Synced, **values: Any) -> None:
    """Change columns of the site."""
    with site.runtime.database.transaction() as session:
        row = session.exec(select(Site).where(Site.slug == site.slug)).one()
        for name, value in values.items():
            setattr(row, name, value)


def tick(site: Synced, work: Callable[[JobContext], None]) -> None:
    """Do what a periodic job does, and the jobs that it starts."""
    with site.runtime.database.transaction() as session:
        job = Job(name="sync.tick", title="Tick", organization_id=None, lane="portal")
        session.add(job)
        session.flush()
        claim = Claim(job.id or 0, job.public_id, None, job.fence, 1)
    work(JobContext(site.runtime, claim))
    with site.runtime.database.transaction() as session:
        session.delete(session.get_one(Job, claim.job_id))
    run_pending(site.runtime)


def push_of(site: Synced, ref: str = "refs/heads/main", project_id: int = 0) -> Event:
    """A push as a webhook reports it."""
    body = {"ref": ref, "after": "0" * 40}
    about = project_id or site.project.id
    return Event(1, site.row.connection_id or 0, utc_now(), about, "push", utc_now(), body)


def test_change_is_sent_after_a_short_pause_together_with_the_next_ones(site: Synced) -> None:
    site.write("one.md", "1\n")
    site.write("two.md", "2\n")
    assert not polling.has_due(site.runtime)
    change(site, due_at=utc_now())
    assert polling.has_due(site.runtime)

    tick(site, polling.start_due)

    assert (site.there("one.md"), site.there("two.md")) == ("1\n", "2\n")
    assert (site.row.due_at, polling.has_due(site.runtime)) == (None, False)


def test_push_starts_the_sync_of_the_sites_of_that_branch_only(site: Synced) -> None:
    site.push({"new.md": "new\n"})
    connection_id = site.row.connection_id or 0
    with site.runtime.database.transaction() as session:
        others = [push_of(site, "refs/heads/other"), push_of(site, "refs/tags/v1"), push_of(site, project_id=9999)]
        polling.on_push(session, connection_id, others)
    assert run_pending(site.runtime) == []

    with site.runtime.database.transaction() as session:
        polling.on_push(session, connection_id, [push_of(site), push_of(site)])
    run_pending(site.runtime)

    assert site.here("new.md") == "new\n"


def test_push_during_a_sync_is_not_lost(site: Synced) -> None:
    demands = site.row.demands
    with site.runtime.database.transaction() as session:
        polling.on_push(session, site.row.connection_id or 0, [push_of(site)])
    # It began before that push, and ends now.
    change(site, state=SiteState.IN_STEP)

    assert site.row.demands == demands + 1
    assert site.row.due_at is not None


def test_branch_that_moved_without_a_webhook_is_noticed_with_one_request(site: Synced) -> None:
    site.push({"new.md": "new\n"})
    change(site, check_at=utc_now() - timedelta(seconds=1))
    assert polling.has_branch_to_check(site.runtime)

    tick(site, polling.check_branches)

    assert site.here("new.md") == "new\n"
    assert site.sandbox.requests.count("/api/v4/projects/*/repository/branches/main") == 1
    assert site.row.check_at > utc_now()


def test_change_that_was_never_noted_is_found_and_sent(site: Synced) -> None:
    own, head = site.own, site.own.head(HERE)
    tree = own.changed_tree(head, {"kept.md": ("100644", own.store_blob(b"kept\n"))})
    person = Person("Priya", "priya@example.com")
    own.move(HERE, own.commit(tree, [head], "Killed before it was noted", person, person), head)
    change(site, check_at=utc_now() - timedelta(seconds=1))

    tick(site, polling.check_branches)

    assert site.there("kept.md") == "kept\n"
    assert site.row.head == site.own.head(HERE)
