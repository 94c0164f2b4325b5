"""What a connection's pages show about repositories: how many are enabled, the last read, and what needs a person."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlmodel import col

from portal.actor import Principal, Right
from portal.connections import panels
from portal.connections.models import Connection
from portal.jobs.models import JobState
from portal.repositories.availability import role_name
from portal.repositories.catalogue.findings import Notice, notices_of
from portal.repositories.catalogue.run import latest_run
from portal.repositories.models import Namespace, visible_namespaces
from portal.repositories.selection import Row, StateFilter, count_by_state, latest_read
from portal.runtime import Runtime


def repositories_panels(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return the facts, and what needs a person; nothing before the first authorization."""
    if connection.authorized_at is None:
        return []
    with runtime.database.reading() as session:
        counts = count_by_state(session, principal, connection.slug)
        job = latest_read(session, connection)
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
    if notices := [item for item in load_notices(runtime, principal, connection) if item.points]:
        found.append(panels.Panel(panels.Place.NEEDS, "repositories/_notices.html", {"notices": notices}))
    return found


def load_notices(runtime: Runtime, principal: Principal, connection: Connection | None) -> list[Notice]:
    """Return what those who manage connections should know about the last read; nothing for everyone else."""
    if connection is None or not principal.may(Right.MANAGE_CONNECTIONS):
        return []
    with runtime.database.reading() as session:
        return notices_of(latest_run(session, connection.id or 0))


def counts_by_connection(runtime: Runtime, principal: Principal) -> dict[int, tuple[int, int]]:
    """Return how many repositories of each connection are enabled, and how many there are, as this person sees them."""
    with runtime.database.reading() as session:
        statement = (
            select(col(Namespace.connection_id), func.sum(col(Namespace.enabled)), func.sum(col(Namespace.total)))
            .join(Connection, col(Connection.id) == col(Namespace.connection_id))
            .where(*visible_namespaces(principal))
            .group_by(col(Namespace.connection_id))
        )
        return {key: (enabled, total) for key, enabled, total in session.execute(statement)}


# The columns of an exported list.
COLUMNS = (
    "connection",
    "path",
    "name",
    "gitlab_project_id",
    "state",
    "reason",
    "visibility",
    "role",
    "role_source",
    "last_activity_at",
    "enabled_at",
    "web_url",
)


def export_row(row: Row) -> dict[str, object]:
    """Return a repository as a row of an exported list."""
    repository, active = row.repository, row.repository.last_activity_at
    return {
        "connection": row.connection.slug,
        "path": repository.path_with_namespace,
        "name": repository.name,
        "gitlab_project_id": repository.gitlab_project_id,
        "state": row.state,
        "reason": row.reason,
        "visibility": repository.visibility,
        "role": "" if repository.access_level is None else role_name(repository.access_level),
        "role_source": repository.role_source,
        "last_activity_at": active.isoformat() if active else "",
        "enabled_at": row.enablement.enabled_at.isoformat() if row.enablement else "",
        "web_url": repository.web_url,
    }
