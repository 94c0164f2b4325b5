"""Read the projects that deliveries are about: one request for each, whatever happened in it and how often.

A delivery stays `reading` until a read that began after it is stored, also if a worker dies in between.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import String, cast, exists, literal, literal_column, update
from sqlmodel import Session, col, select

from portal.connections.models import Connection, ConnectionState
from portal.connections.store import open_host_session
from portal.credentials import AccessSource, AccessUnavailable
from portal.db import utc_now
from portal.gitlab.answers import GitLabError, GitLabNotFound
from portal.gitlab.client import GitLabClient
from portal.jobs import Job, JobContext, RetryLater, enqueue
from portal.net import OutboundError, Purpose
from portal.repositories.catalogue.rows import repository_row, write_repositories
from portal.repositories.catalogue.run import enqueue_catalogue_read
from portal.repositories.jobs import PASSING, PAUSES_SECONDS
from portal.repositories.models import Repository
from portal.repositories.rules import apply_rules
from portal.runtime import Runtime
from portal.webhooks.models import Delivery, Verdict

READ_PROJECTS = "webhooks.read_projects"
# The job is tried five times.
LAST_ATTEMPT = 5
# Deliveries that one read settles.
IDS = 1000
# Not a bound parameter: with one, neither database could know that the index of these deliveries has the answer.
IS_READING = col(Delivery.verdict) == literal_column(f"'{Verdict.READING}'")


def enqueue_projects_read(session: Session, connection: Connection) -> Job:
    """Read the projects that deliveries of a connection are about; if that is being done, return the job."""
    return enqueue(
        session,
        READ_PROJECTS,
        {"connection_id": connection.id},
        organization_id=connection.organization_id,
        title=f"Read repositories of {connection.display_name} after webhooks",
        key=f"projects:{connection.id}",
        subject=f"connection:{connection.id}",
        lane=f"connection:{connection.id}",
    )


def connections_to_ask(runtime: Runtime) -> list[Connection]:
    """Return the connections with such deliveries, and without a job that reads."""
    key = literal("projects:").concat(cast(col(Connection.id), String))
    statement = select(Connection).where(
        col(Connection.state).in_((ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION)),
        exists().where(col(Delivery.connection_id) == col(Connection.id), IS_READING),
        ~exists().where(col(Job.key) == key, col(Job.finished_at).is_(None)),
    )
    with runtime.database.reading() as session:
        return list(session.exec(statement))


def run_read_projects(context: JobContext, *, connection_id: int) -> None:
    """Read the projects of one connection that deliveries are about, until none is left."""
    try:
        done = _read_all(context, connection_id)
    except (GitLabError, OutboundError, AccessUnavailable) as error:
        is_passing = error.is_passing if isinstance(error, AccessUnavailable) else isinstance(error, PASSING)
        if context.attempt >= LAST_ATTEMPT or not is_passing:
            # The clock has the whole list read.
            with context.transaction() as session:
                _settle(session, "project_unread", col(Delivery.connection_id) == connection_id, IS_READING)
        card = error.card if isinstance(error, AccessUnavailable) else error.card()
        asked = getattr(error, "retry_after_seconds", None) or getattr(error, "after_seconds", None) or 0.0
        pause = PAUSES_SECONDS[min(context.attempt, len(PAUSES_SECONDS)) - 1]
        raise RetryLater(card, after_seconds=max(asked, pause)) from error
    context.progress(done, done, f"{done:,} repositories read")


def _read_all(context: JobContext, connection_id: int) -> int:
    runtime, done, is_changed = context.runtime, 0, False
    mine = (col(Delivery.connection_id) == connection_id, IS_READING)
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    with open_host_session(runtime, connection, is_background=True, purpose=Purpose.WEBHOOKS) as http:
        client = GitLabClient(http, AccessSource(runtime, connection_id, "read after a webhook"))
        while True:
            context.raise_if_stopped()
            with runtime.database.reading() as session:
                first = select(Delivery.gitlab_project_id).where(*mine).order_by(col(Delivery.id)).limit(1)
                project_id = session.exec(first).first()
                if project_id is None:
                    break
                # Those that come while GitLab answers are not among them: they need another read.
                about = select(Delivery.id).where(*mine, col(Delivery.gitlab_project_id) == project_id)
                ids = session.exec(about.limit(IDS)).all()
                of_project = (Repository.connection_id == connection_id, Repository.gitlab_project_id == project_id)
                known = session.exec(select(Repository.access_level).where(*of_project)).first()
            try:
                project = client.project(project_id)
            except GitLabNotFound:
                with context.transaction() as session:
                    _settle(session, "project_gone", col(Delivery.id).in_(ids))
                    enqueue_catalogue_read(session, connection)
            else:
                # If it names no role, as for a group that was invited, the last read of the list knows better.
                row = repository_row(connection_id, project, project.access_level or known, frozenset())
                is_changed = write_repositories(runtime.database, [row]) > 0 or is_changed
                with context.transaction() as session:
                    _settle(session, "project_read", col(Delivery.id).in_(ids))
            done += 1
            context.progress(done)
    if is_changed:
        apply_rules(runtime, connection_id)
    return done


def _settle(session: Session, effect: str, *which: Any) -> None:
    values = {"verdict": Verdict.APPLIED, "effect": effect, "applied_at": utc_now()}
    session.connection().execute(update(Delivery).where(*which).values(**values))
