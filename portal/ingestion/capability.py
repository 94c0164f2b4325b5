"""What reading activity brings to the portal; it is read by the clock, and when webhooks hear of something."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session, col

from portal.capability import Capability, JobDefinition, PeriodicJob
from portal.credentials import AccessUnavailable
from portal.db import delete_of_connection, utc_now
from portal.gitlab.answers import GitLabError
from portal.ingestion.models import (
    Deployment,
    FigureBlock,
    GitCommit,
    GitLabPerson,
    Ingestion,
    Issue,
    Kind,
    MergeRequest,
    OpenWork,
    Reading,
    Review,
    ReviewerBlock,
)
from portal.ingestion.run import READ, connections_due, enqueue_read, read_activity
from portal.jobs import JobContext, RetryLater
from portal.net import OutboundError
from portal.repositories.jobs import PAUSES_SECONDS
from portal.repositories.models import Repository

LOOK_SECONDS = 5
# What a delivery of a kind makes due. It is a hint: the rows come from GitLab's lists.
KINDS = {
    "push": (Kind.COMMITS, Kind.DEPLOYMENTS),
    "merge_request": (Kind.MERGE_REQUESTS, Kind.REVIEWS),
    "note": (Kind.MERGE_REQUESTS, Kind.REVIEWS),
    "issue": (Kind.ISSUES,),
    "work_item": (Kind.ISSUES,),
}
# After a delivery: what follows it within this time is read together.
GATHER = timedelta(seconds=30)


def run_read(context: JobContext, *, connection_id: int) -> None:
    """Read what is due of one connection."""
    pause = PAUSES_SECONDS[min(context.attempt, len(PAUSES_SECONDS)) - 1]
    try:
        result = read_activity(context.runtime, connection_id, context.progress, context.raise_if_stopped)
    except (GitLabError, OutboundError) as error:
        asked = getattr(error, "retry_after_seconds", None) or 0.0
        raise RetryLater(error.card(), after_seconds=max(asked, pause)) from error
    except AccessUnavailable as error:
        if error.is_passing:
            raise RetryLater(error.card, after_seconds=max(error.after_seconds or 0.0, pause)) from error
        raise
    told = f"{result.repositories:,} repositories read"
    told += f"; {result.failed:,} lists could not be read" if result.failed else ""
    told += f"; {result.dropped:,} rows are gone in GitLab" if result.dropped else ""
    context.progress(result.repositories, result.repositories, told)


def start_reads(context: JobContext) -> None:
    """Start the reads that are due."""
    for connection in connections_due(context.runtime):
        with context.transaction() as session:
            enqueue_read(session, connection)


def use_events(session: Session, connection_id: int, events: list[Any]) -> None:
    """Have the lists read that deliveries are about."""
    due = utc_now() + GATHER
    for kinds in sorted({KINDS[event.kind] for event in events}):
        ids = {event.project_id for event in events if KINDS[event.kind] == kinds and event.project_id}
        own = (col(Repository.connection_id) == connection_id, col(Repository.gitlab_project_id).in_(ids))
        mine = col(Reading.repository_id).in_(select(col(Repository.id)).where(*own))
        waiting = (mine, col(Reading.kind).in_(kinds), col(Reading.due_at).is_(None))
        changed = update(Reading).where(*waiting).values(due_at=due)
        session.execute(changed.execution_options(synchronize_session=False))


CAPABILITY = Capability(
    name="ingestion",
    tables=(
        *(
            Ingestion,
            Reading,
            GitLabPerson,
            MergeRequest,
            Review,
            Issue,
            GitCommit,
            Deployment,
            FigureBlock,
            ReviewerBlock,
            OpenWork,
        ),
    ),
    jobs=(
        JobDefinition(READ, run_read),
        PeriodicJob(
            "ingestion.start",
            start_reads,
            "Start reads of activity",
            LOOK_SECONDS,
            lambda runtime: bool(connections_due(runtime)),
        ),
    ),
    erases_in_batches=(
        FigureBlock,
        ReviewerBlock,
        GitCommit,
        Review,
        MergeRequest,
        Issue,
        Deployment,
        Reading,
        GitLabPerson,
    ),
    erases=delete_of_connection(OpenWork, Ingestion),
    event_kinds=frozenset(KINDS),
    on_events=use_events,
)
