"""Background work of the catalogue."""

from __future__ import annotations

from sqlmodel import Session

from portal import audit
from portal.accounts.principal import Principal
from portal.authorization.service.credentials import READ_CATALOGUE
from portal.connections.models import Connection
from portal.gitlab.errors import GitLabError
from portal.jobs.models import Job
from portal.jobs.queue import enqueue
from portal.jobs.registry import JobContext, JobFailed, define
from portal.net import OutboundError
from portal.repositories.catalogue.run import read_catalogue


@define(READ_CATALOGUE)
def run_read_catalogue(context: JobContext, *, connection_id: int) -> str:
    """Read the catalogue of one connection; its end is the sentence people read."""

    def progress(done: int, total: int | None, message: str) -> None:
        context.raise_if_stopped()
        context.progress(done, total, message)

    try:
        count = read_catalogue(context.runtime, connection_id, context.job_public_id, progress)
    except (GitLabError, OutboundError) as error:
        raise JobFailed(error.card()) from error
    return f"{count} repositories read"


def enqueue_catalogue_read(session: Session, principal: Principal, connection: Connection) -> Job:
    """Start a read unless one is already under way; either way return its job."""
    audit.record(
        session,
        action="catalogue.read_requested",
        organization_id=connection.organization_id,
        actor_user_id=principal.user_id,
        object_type="connection",
        object_id=str(connection.id),
    )
    return enqueue(
        session,
        READ_CATALOGUE,
        {"connection_id": connection.id},
        organization_id=connection.organization_id,
        title=f"Read repositories of {connection.display_name}",
        key=f"catalogue-{connection.id}",
        lane=f"connection-{connection.id}",
    )
