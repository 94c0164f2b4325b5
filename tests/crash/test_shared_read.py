"""Eight workers, each with someone who starts the same read at the same moment: there is one read."""

from __future__ import annotations

import pytest
from sqlmodel import col, func, select

from portal.jobs import JobState
from portal.jobs.models import Job
from portal.repositories.catalogue.run import READ_CATALOGUE, read_catalogue
from portal.repositories.models import CatalogueRun, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.crash.read_together import read
from tests.support.children import CHILD_SECONDS, FORKING, Forked, environment_of
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.walkthrough import principal_of

WORKERS = 8


@pytest.mark.parametrize("backend", [pytest.param("postgresql", marks=pytest.mark.postgresql)])
def test_workers_share_one_read_however_many_people_start_it(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    connection_id = connect(runtime, sandbox, cast.owner)
    people = [principal_of(runtime, one).actor for one in (cast.owner, cast.administrator)]
    everyone = FORKING.Barrier(WORKERS, timeout=CHILD_SECONDS)
    environment = environment_of(runtime, sandbox)
    sandbox.requests.clear()

    children = [Forked(read, environment, everyone, connection_id, people[n % 2]) for n in range(WORKERS)]
    ended = [(child.communicate(), child.returncode) for child in children]

    assert [code for _, code in ended] == [0] * WORKERS, ended
    together = sandbox.requests.count("/api/v4/projects")
    with runtime.database.reading() as session:
        jobs = session.exec(select(Job).where(Job.name == READ_CATALOGUE)).all()
        runs = session.exec(select(CatalogueRun)).all()
        found = session.exec(select(func.count(col(Repository.id)))).one()
    # Whoever came after the read had ended began another; no two ran at once.
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert len(runs) == len(jobs) < WORKERS
    sandbox.requests.clear()
    read_catalogue(runtime, connection_id, "alone", lambda *_: None)
    # Where ranges of ids are divided depends on what answers first, so a read may need one request more.
    assert together < 2 * len(runs) * sandbox.requests.count("/api/v4/projects")
    assert found == runs[-1].projects_counted
