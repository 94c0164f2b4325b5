"""A sync is killed at each of its steps, on both databases: nothing is lost, nothing is done twice."""

from __future__ import annotations

import pytest
from sqlmodel import col, select

from portal.crash_points import POINTS
from portal.db import utc_now
from portal.jobs import Job
from portal.jobs.runner import locked, requeue
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.sync.models import Site, SiteState
from portal.sync.store import HERE
from portal.sync.syncing import SYNC, enqueue_sync
from tests.support.children import DIED, run_child
from tests.support.people import Cast
from tests.sync.synced import Synced, synced

CHILD = "tests.crash.run_jobs"
SYNC_POINTS = [point for point in POINTS if point.startswith("sync:")]


@pytest.fixture
def sandbox() -> RunningSandbox:
    """A simulated GitLab for this test alone."""
    with RunningSandbox(with_service_user=True, project_count=40) as running:
        yield running


def test_sync_killed_at_each_step_loses_no_commit(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    site = synced(runtime, sandbox, cast)
    made: list[str] = []
    for number, point in enumerate(SYNC_POINTS, start=1):
        sandbox.world.git.protected[site.project.id] = {"main": 50 if point == "sync:proposed" else 30}
        site.write("both.md", f"here {number}\n")
        site.write(f"here-{number}.md", "here\n")
        made += [
            site.own.head(HERE) or "",
            site.push({"both.md": f"there {number}\n", f"there-{number}.md": "there\n"}),
        ]
        queue(site)

        assert run_child(runtime, sandbox, CHILD, {}, crash_at=f"{point}:1") == DIED, point
        with runtime.database.transaction() as session:
            job = session.exec(select(Job).where(Job.name == SYNC, col(Job.finished_at).is_(None))).one()
            requeue(session, locked(session, job.public_id))  # As the sweeper does for a worker that is silent.
        run_pending(runtime)

        assert site.row.state == (SiteState.PROPOSED if point == "sync:proposed" else SiteState.IN_STEP), point
        assert [row.number for row in site.conflicts()] == list(range(1, number + 1)), point
        assert (site.here(f"there-{number}.md"), site.here(f"here-{number}.md")) == ("there\n", "here\n"), point
        head = site.own.head(HERE) or ""
        assert all(site.own.is_ancestor(commit, head) for commit in made), point
        if point != "sync:proposed":
            assert len(set(site.heads())) == 1, point
        assert list(site.own.path.rglob("*.lock")) == [], point
    assert len(sandbox.world.git.proposals[site.project.id]) == 1


def queue(site: Synced) -> None:
    """Have it synced by whoever comes next."""
    with site.runtime.database.transaction() as session:
        row = session.exec(select(Site).where(Site.slug == site.slug)).one()
        row.due_at = utc_now()
        enqueue_sync(session, row)
