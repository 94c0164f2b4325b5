"""A child that starts a read of the repositories together with the others, and works until it has ended."""

from __future__ import annotations

import time
from multiprocessing.synchronize import Barrier

from sqlmodel import select

from portal import build_runtime
from portal.actor import Actor
from portal.connections.models import Connection
from portal.jobs.models import Job
from portal.jobs.testing import running_worker
from portal.repositories.catalogue.run import READ_CATALOGUE, enqueue_catalogue_read
from portal.settings import Settings

SECONDS = 45


def read(everyone: Barrier, connection_id: int, actor: Actor) -> None:
    """Run as a child."""
    runtime = build_runtime(Settings.from_environ())
    with running_worker(runtime):
        everyone.wait()
        with runtime.database.transaction() as session:
            enqueue_catalogue_read(session, session.get_one(Connection, connection_id), actor)
        open_ones = select(Job.id).where(Job.name == READ_CATALOGUE, Job.finished_at == None)  # noqa: E711
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with runtime.database.reading() as session:
                if session.exec(open_ones.limit(1)).first() is None:
                    return
            time.sleep(0.05)
    raise TimeoutError("the read has not ended")
