"""Start background work: one of our rows and one of the engine's, in the caller's own transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from portal.actor import SYSTEM, Actor
from portal.jobs.models import Job
from portal.jobs.store import hand_over
from portal.requestinfo import current_request_info

# Someone else's job with the same key may finish between our insert and our look at it; then we try again.
KEY_TRIES = 5


def enqueue(
    session: Session,
    name: str,
    args: Mapping[str, Any] | None = None,
    *,
    organization_id: int | None,
    title: str,
    key: str | None = None,
    subject: str = "",
    lane: str | None = None,
    actor: Actor = SYSTEM,
) -> Job:
    """Add a job in the caller's transaction: if that rolls back, the job never existed.

    Args:
        session: of `Database.transaction()`.
        name: what the function was registered as with `define`; it need not be known in this process.
        args: the function's keyword arguments: ids and plain JSON, never a secret.
        organization_id: whose job it is; None for the portal's own work.
        title: what people read, such as "Read the projects of ACME GitLab".
        key: while a job with this key is unfinished, it is returned instead of a second one. Include an id that belongs
            to one organization (`catalogue:<connection id>`).
        subject: what it is about, as `noun:id`.
        lane: jobs of one lane share a limit; `connection:<id>` for work that asks a GitLab instance. By default
            that of the organization.
        actor: who asked for it; they see its items besides those who may see everything, and may stop it.
    """
    job = Job(
        name=name,
        title=title[:300],
        args=json.loads(json.dumps(dict(args or {}))),  # Refuses what is not JSON now, not in the worker.
        organization_id=organization_id,
        actor_kind=actor.kind.value,
        actor_id=actor.id,
        actor_name=actor.name,
        key=key,
        subject=subject or "",
        lane=lane or (f"organization:{organization_id}" if organization_id is not None else "portal"),
        request_id=current_request_info().request_id,
    )
    if key is None:
        session.add(job)
        session.flush()
    elif existing := _add_or_find(session, job, key):
        return existing
    hand_over(session, job)
    session.flush()
    return job


def find_unfinished(session: Session, key: str) -> Job | None:
    """Return the unfinished job with this key, if there is one."""
    statement = select(Job).where(col(Job.key) == key, col(Job.finished_at).is_(None))
    return session.exec(statement).one_or_none()


def _add_or_find(session: Session, job: Job, key: str) -> Job | None:
    for _ in range(KEY_TRIES):
        if existing := find_unfinished(session, key):
            return existing
        try:
            with session.begin_nested():
                session.add(job)
            return None
        except IntegrityError:
            continue  # A concurrent transaction was first; on PostgreSQL we waited here for it to end.
    raise RuntimeError(f"the job {key} is enqueued and finished faster than it can be looked at")
