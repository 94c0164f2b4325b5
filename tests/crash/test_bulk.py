"""A job that changes twenty repositories is killed at each of them: every one of them is changed exactly once."""

from __future__ import annotations

from sqlmodel import col, func, select

from portal.audit.models import AuditEvent
from portal.jobs import JobState
from portal.jobs.runner import locked, requeue
from portal.jobs.testing import run_pending
from portal.repositories.bulk import BATCH, load_page, start
from portal.repositories.models import Enablement, ItemResult
from portal.repositories.selection import Filters
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.repositories.catalogue_rows import add_connection
from tests.support.children import DIED, run_child
from tests.support.people import Cast
from tests.support.walkthrough import principal_of

COUNT = 20
CHILD = "tests.crash.run_jobs"
POINTS = [f"bulk:item_changed:{number}" for number in range(1, COUNT + 1)] + [
    f"bulk:batch_stored:{number}" for number in range(1, COUNT // BATCH + 2)
]


def test_job_killed_at_each_item_changes_every_repository_exactly_once(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    """Every second round disables what the one before has enabled."""
    add_connection(runtime, cast, "first", COUNT)
    owner, is_enabled, done = (
        principal_of(runtime, cast.owner),
        False,
        {"repository.enabled": 0, "repository.disabled": 0},
    )
    for point in POINTS if runtime.database.is_sqlite else POINTS[::6]:
        is_enabled = not is_enabled
        job, _ = start(runtime, owner, Filters(connection="first"), enabled=is_enabled, matching=COUNT, changing=COUNT)
        assert run_child(runtime, sandbox, CHILD, {}, crash_at=point) == DIED, point
        with runtime.database.transaction() as session:
            requeue(session, locked(session, job.public_id))  # As the sweeper does for a worker that is silent.
        (job,) = run_pending(runtime)

        done["repository.enabled" if is_enabled else "repository.disabled"] += COUNT
        assert (job.state, job.done, job.attempts) == (JobState.SUCCEEDED, COUNT, 2), point
        assert load_page(runtime, owner, job.public_id).results == {ItemResult.CHANGED: COUNT}, point
        with runtime.database.reading() as session:
            events = (
                select(AuditEvent.action, func.count())
                .where(col(AuditEvent.action).in_(done))
                .group_by(AuditEvent.action)
            )
            assert {**dict.fromkeys(done, 0), **dict(session.exec(events).all())} == done, point
            assert session.exec(select(func.count()).select_from(Enablement)).one() == COUNT * is_enabled, point
