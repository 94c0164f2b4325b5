"""Background work of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from portal.connections.models import Connection, ConnectionState, Method, need_attention
from portal.credentials import AccessUnavailable
from portal.db import utc_now
from portal.errors import UpstreamFailed
from portal.gitlab.answers import GitLabError, GitLabRateLimited, GitLabUnavailable, MalformedAnswer, NotGitLab
from portal.jobs import JobContext, RetryLater
from portal.jobs.models import Job, JobState
from portal.net import AnswerBroken, ConnectFailed, DeadlinePassed, NameNotResolved, OutboundError, ProxyFailed
from portal.repositories.catalogue.findings import card_of
from portal.repositories.catalogue.run import (
    READ_CATALOGUE,
    UpdatesUnavailable,
    connections_to_read,
    enqueue_catalogue_read,
    enqueue_updates_read,
    read_catalogue,
    read_updates,
)
from portal.repositories.models import RunKind
from portal.repositories.rules import apply_rules
from portal.runtime import Runtime

# GitLab, or the way to it, is down or busy: the connection itself is unaffected, and the read is tried again.
PASSING = (
    GitLabUnavailable,
    GitLabRateLimited,
    AnswerBroken,
    ConnectFailed,
    DeadlinePassed,
    NameNotResolved,
    ProxyFailed,
)
# Something else answered, or half of GitLab: that may pass, and if it does not, a person has to check.
DOUBTFUL = (NotGitLab, MalformedAnswer)
DOUBTFUL_ATTEMPTS = 3
# Before each further attempt: an outage of a few minutes does not end a read.
PAUSES_SECONDS = (2.0, 15.0, 60.0, 240.0)
# A read that failed despite that is started again this often, for a day.
TAKE_UP_SECONDS = 600
TAKE_UP_DAYS = 1


def run_read_catalogue(context: JobContext, *, connection_id: int) -> None:
    """Read the catalogue of one connection."""
    pause = PAUSES_SECONDS[min(context.attempt, len(PAUSES_SECONDS)) - 1]

    def progress(done: int, total: int | None, message: str) -> None:
        context.raise_if_stopped()
        context.progress(done, total, message)

    with _told(context, connection_id, pause):
        run = read_catalogue(context.runtime, connection_id, context.public_id, progress)
    # Projects that come and go during a read look like lost rows.
    if not run.complete and context.attempt == 1 and (found := card_of(run)):
        raise RetryLater(found, after_seconds=pause)
    # Also after an incomplete read: what arrived is there, and nothing is disabled because a row is missing.
    applied = apply_rules(context.runtime, connection_id)
    read = f"{run.projects_seen:,} repositories read"
    if applied.enabled or applied.disabled:
        read += f"; rules enabled {applied.enabled:,} and disabled {applied.disabled:,}"
    lost = f"; {run.projects_lost:,} are gone" if run.projects_lost else ""
    context.progress(run.projects_seen, run.projects_seen, f"{read}{lost}" if run.complete else f"Incomplete: {read}")


def run_read_updates(context: JobContext, *, connection_id: int) -> None:
    """Read what GitLab has updated since the last read of one connection."""

    def progress(done: int, total: int | None, message: str) -> None:
        context.raise_if_stopped()
        context.progress(done, total, message)

    with _told(context, connection_id, PAUSES_SECONDS[min(context.attempt, len(PAUSES_SECONDS)) - 1]):
        try:
            seen, changed = read_updates(context.runtime, connection_id, context.public_id, progress)
        except UpdatesUnavailable:
            context.progress(0, 0, "This GitLab cannot say what it has updated")
            return
    if changed:
        apply_rules(context.runtime, connection_id)
    context.progress(seen, seen, f"{seen:,} updated, {changed:,} changed here")


def read_again(context: JobContext) -> None:
    """Start the reads that are due by the clock."""
    due = connections_to_read(context.runtime)
    for kind, connections in due.items():
        for connection in connections:
            with context.transaction() as session:
                if kind == RunKind.COMPLETE:
                    enqueue_catalogue_read(session, connection)
                else:
                    enqueue_updates_read(session, connection)


@contextmanager
def _told(context: JobContext, connection_id: int, pause: float) -> Iterator[None]:
    """Try a read again later if its failure passes; otherwise say on the connection what failed."""
    try:
        yield
    except PASSING as error:
        asked = getattr(error, "retry_after_seconds", None) or 0.0
        raise RetryLater(error.card(), after_seconds=max(asked, pause)) from error
    except AccessUnavailable as error:
        if error.is_passing:
            raise RetryLater(error.card, after_seconds=max(error.after_seconds or 0.0, pause)) from error
        raise
    except (GitLabError, OutboundError) as error:
        if isinstance(error, DOUBTFUL) and context.attempt < DOUBTFUL_ATTEMPTS:
            raise RetryLater(error.card(), after_seconds=pause) from error
        card = error.card()
        with context.runtime.database.transaction() as session:
            connection = session.get_one(Connection, connection_id)
            if connection.method != Method.OAUTH:
                card = card.of(connection.method)  # The page of a job does not know its connection.
            need_attention(session, connection_id, card)
        raise UpstreamFailed(card) from error


def run_apply_rules(context: JobContext, *, connection_id: int, confirmed: int) -> None:
    """Apply the rules of one connection after they were saved."""

    def progress(done: int, total: int) -> None:
        context.raise_if_stopped()
        context.progress(done, total, "Applying rules")

    done = apply_rules(context.runtime, connection_id, confirmed=confirmed, progress=progress)
    context.progress(1, 1, f"{done.enabled:,} enabled, {done.disabled:,} disabled")


def reads_to_take_up(runtime: Runtime) -> list[Connection]:
    """Return the connections whose newest read failed only because GitLab, or the way to it, was down."""
    now, codes = utc_now(), {kind.code for kind in PASSING}
    with runtime.database.reading() as session:
        newer = aliased(Job)
        failed = (
            col(Job.name) == READ_CATALOGUE,
            col(Job.state) == JobState.FAILED,
            ~exists().where(col(newer.key) == col(Job.key), col(newer.id) > col(Job.id)),
            col(Job.finished_at) <= now - timedelta(seconds=TAKE_UP_SECONDS),
            col(Job.finished_at) > now - timedelta(days=TAKE_UP_DAYS),
        )
        jobs = [job for job in session.exec(select(Job).where(*failed)) if (job.failure or {}).get("code") in codes]
        found = [session.get(Connection, job.args["connection_id"]) for job in jobs]
        return [item for item in found if item is not None and item.state == ConnectionState.CONNECTED]


def take_up_reads(context: JobContext) -> None:
    """Start failed reads again."""
    for connection in reads_to_take_up(context.runtime):
        with context.transaction() as session:
            enqueue_catalogue_read(session, connection)
