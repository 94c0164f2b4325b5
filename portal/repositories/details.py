"""What a connection's pages show about repositories: how many are enabled, the last read, what can no longer be
read.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlmodel import col

from portal.actor import Principal, Right
from portal.authorization.keep import catalogue_key
from portal.connections import panels
from portal.connections.models import Connection
from portal.jobs.models import Job, JobState
from portal.repositories.catalogue.findings import notices_of
from portal.repositories.catalogue.run import latest_run
from portal.repositories.models import Enablement, Repository
from portal.repositories.selection import StateFilter, View, count_by_state
from portal.repositories.visibility import visible_to
from portal.runtime import Runtime


def repositories_panels(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return the facts, and what needs a person; nothing before the first authorization."""
    if connection.authorized_at is None:
        return []
    with runtime.database.reading() as session:
        counts = count_by_state(session, principal, View(connection=connection.slug))
        newest = select(Job).where(col(Job.key) == catalogue_key(connection)).order_by(col(Job.id).desc()).limit(1)
        job = session.execute(newest).scalars().first()
        run = latest_run(session, connection.id or 0)
    needs = counts[StateFilter.NEEDS_ATTENTION]
    facts = {
        "counts": {"enabled": counts[StateFilter.ENABLED], "total": counts[StateFilter.ALL]},
        "job": job,
        "is_reading": job is not None and not job.is_finished,
        "failure": job is not None and job.state == JobState.FAILED,
    }
    found = [panels.Panel(panels.Place.FACT, "repositories/_fact.html", facts)]
    if needs:
        found.append(panels.Panel(panels.Place.NEEDS, "repositories/_needs.html", {"needs": needs}))
    # The most urgent problem is already shown above, as the connection's own sentence.
    if principal.may(Right.MANAGE_CONNECTIONS) and (notices := [item for item in notices_of(run) if item.points]):
        found.append(panels.Panel(panels.Place.NEEDS, "repositories/_notices.html", {"notices": notices}))
    return found


def counts_by_connection(runtime: Runtime, principal: Principal) -> dict[int, tuple[int, int]]:
    """Return how many repositories of each connection are enabled, and how many there are, as this person sees them."""
    with runtime.database.reading() as session:
        statement = (
            select(col(Repository.connection_id), func.count(col(Enablement.id)), func.count())
            .join(Connection, col(Connection.id) == col(Repository.connection_id))
            .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
            .where(visible_to(principal))
            .group_by(col(Repository.connection_id))
        )
        return {key: (enabled, total) for key, enabled, total in session.execute(statement)}
