"""A portal with nothing to do writes nothing, whatever its periodic jobs are."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from sqlmodel import select

from portal.jobs.models import Job
from portal.jobs.schedule import enqueue_due
from portal.jobs.testing import run_pending
from portal.runtime import Runtime

DAY = 86_400
BEGIN = datetime(2027, 3, 1, 6, 0, tzinfo=UTC)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_idle_portal_makes_no_jobs_but_one_a_day_of_each_daily_kind(runtime: Runtime) -> None:
    daily = {job.name for job in runtime.capabilities.periodic_jobs if job.seconds >= DAY}
    with time_machine.travel(BEGIN, tick=False) as clock:
        for _ in range(3 * 24 * 4):
            enqueue_due(runtime)
            run_pending(runtime)
            clock.shift(timedelta(minutes=15))
        with runtime.database.reading() as session:
            made = Counter(session.exec(select(Job.name)))
            made_in_all = max(session.exec(select(Job.id)))

    # And the job that deletes those of the day before.
    assert set(made) == daily | {"jobs.forget"}
    assert made_in_all <= 3 * (len(daily) + 2)
