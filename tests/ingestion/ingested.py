"""A connection with a few enabled repositories whose activity is read, and what the sandbox knows about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlmodel import col

from portal.db import utc_now
from portal.ingestion.models import Deployment, GitCommit, Issue, MergeRequest, Reading, Review
from portal.ingestion.run import ReadResult, begin_of, read_activity
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.sandbox.histories import APPROVED, History
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect
from tests.support.people import Actor
from tests.support.walkthrough import principal_of

# Busy ones, with all three ways of merging.
PATHS = ("platform/infrastructure/terraform-modules", "web/shop/checkout/basket", "platform/identity/sign-in-service")


def connect_and_enable(runtime: Runtime, sandbox: RunningSandbox, owner: Actor, paths: tuple[str, ...] = PATHS) -> int:
    """Store a connection, read its list of repositories and enable some; return its id."""
    connection_id = connect(runtime, sandbox, owner)
    read_catalogue(runtime, connection_id, "job", lambda *_: None)
    with runtime.database.reading() as session:
        of_them = col(Repository.path_with_namespace).in_(paths)
        ids = list(session.execute(select(col(Repository.id)).where(of_them)).scalars())
    assert len(set_enabled(runtime, principal_of(runtime, owner), ids, enabled=True).changed) == len(paths)
    return connection_id


def read(runtime: Runtime, connection_id: int, check: Callable[[], object] = lambda: None) -> ReadResult:
    """Read what is due."""
    return read_activity(runtime, connection_id, lambda *_: None, check)


def stored(runtime: Runtime) -> dict[str, dict[int, set[Any]]]:
    """Return what is stored by GitLab's id of each project."""
    found: dict[str, dict[int, set[Any]]] = {}
    columns: dict[str, tuple[Any, ...]] = {
        "merge_requests": (MergeRequest.iid, MergeRequest.state, MergeRequest.created, MergeRequest.merged),
        "first_commits": (MergeRequest.iid, MergeRequest.first_commit),
        "reviews": (Review.iid, Review.gitlab_user_id, Review.first),
        "issues": (Issue.iid, Issue.state, Issue.created, Issue.closed),
        "commits": (GitCommit.sha, GitCommit.committed),
        "deployments": (Deployment.gitlab_id, Deployment.updated),
    }
    tables: dict[str, Any] = {
        "merge_requests": MergeRequest,
        "first_commits": MergeRequest,
        "reviews": Review,
        "issues": Issue,
    }
    tables |= {"commits": GitCommit, "deployments": Deployment}
    with runtime.database.reading() as session:
        for name, wanted in columns.items():
            own = col(tables[name].repository_id)
            statement = select(col(Repository.gitlab_project_id), *wanted).join(Repository, col(Repository.id) == own)
            for project_id, *values in session.execute(statement).all():
                rows = found.setdefault(name, {}).setdefault(project_id, set())
                assert tuple(values) not in rows
                rows.add(tuple(values))
    return found


def expected(sandbox: RunningSandbox, paths: tuple[str, ...] = PATHS) -> dict[str, dict[int, set[Any]]]:
    """Return what should be stored, from the histories."""
    found: dict[str, dict[int, set[Any]]] = {}
    begin = begin_of(24, utc_now())
    for path in paths:
        project = sandbox.world.project(path)
        history = sandbox.world.histories.of(project)
        requests = [row for row in history.merge_requests.values() if row.updated >= begin]
        first_commits = known_first_commits(history, begin)
        told: dict[str, set[Any]] = {
            "merge_requests": {(row.iid, row.state, row.created, row.merged) for row in requests},
            "first_commits": {(row.iid, first_commits.get(row.iid)) for row in requests},
            "reviews": reviews_of(history, begin),
            "issues": {
                (row.iid, row.state, row.created, row.closed) for row in history.issues.values() if row.updated >= begin
            },
            "commits": {
                (bytes.fromhex(row.id), row.committed)
                for row in [*history.mainline, *history.branches]
                if row.committed >= begin
            },
            "deployments": {
                (row.id, row.at) for row in history.deployments if row.status == "success" and row.at >= begin
            },
        }
        for name, rows in told.items():
            if rows:
                found.setdefault(name, {})[project.id] = rows
    return found


def known_first_commits(history: History, begin: int) -> dict[int, int]:
    """Return when the first commit of each merged branch was written, if what is read includes where it began."""
    main = [one for one in history.mainline if one.committed >= begin]
    # The oldest of them says what is before it.
    places = {one.id for one in main} | set(main[0].parents[:1] if main else ())
    found = {}
    for row in history.merge_requests.values():
        is_read = all(one.committed >= begin for one in row.commits) and bool(row.commits)
        # Without a parent it is the first there can be.
        begins = is_read and (not row.commits[0].parents or places.intersection(row.commits[0].parents))
        if row.merged and row.first_commit and begins:
            found[row.iid] = row.first_commit
    return found


def reviews_of(history: History, begin: int) -> set[tuple[int, int, int]]:
    """Return who first said something about a merge request, and when."""
    first: dict[tuple[int, int], int] = {}
    for row in history.merge_requests.values():
        for note in row.notes:
            if (not note.system or note.body == APPROVED) and note.at >= begin:
                key = (row.iid, note.author_id)
                first[key] = min(first.get(key, note.at), note.at)
    return {(*key, at) for key, at in first.items()}


def count_rows(runtime: Runtime) -> int:
    """Return how many rows there are in all."""
    tables = (MergeRequest, Review, Issue, GitCommit, Deployment, Reading)
    with runtime.database.reading() as session:
        return sum(session.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
