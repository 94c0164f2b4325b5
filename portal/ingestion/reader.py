"""Read the lists of one repository, page by page; each page is stored together with where the next one begins.

So a process may be killed anywhere: the next read begins at the page that was not stored, and a page that is stored
twice changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlmodel import Session, SQLModel, col

from portal.db import insert_into, utc_now
from portal.errors import Card
from portal.gitlab.answers import GitLabNotFound, MalformedAnswer, Page
from portal.gitlab.client import GitLabClient
from portal.gitlab.history import (
    Author,
    Changing,
    CommitRow,
    DeploymentRow,
    EventRow,
    IssueRow,
    MergeRequestRow,
    changed_page,
    commits_page,
    count_changed,
    events_page,
    one_changed,
    seconds,
)
from portal.ingestion.figures import count_weeks
from portal.ingestion.models import Deployment, GitCommit, GitLabPerson, Issue, Kind, MergeRequest, Reading, Review
from portal.runtime import Runtime

SHAPES: dict[Kind, type[Changing]] = {
    Kind.MERGE_REQUESTS: MergeRequestRow,
    Kind.ISSUES: IssueRow,
    Kind.DEPLOYMENTS: DeploymentRow,
}
TABLES: dict[Kind, type[SQLModel]] = {
    Kind.MERGE_REQUESTS: MergeRequest,
    Kind.ISSUES: Issue,
    Kind.DEPLOYMENTS: Deployment,
    Kind.COMMITS: GitCommit,
    Kind.REVIEWS: Review,
}
# GitLab stores the time of a change before others can see the change.
OVERLAP = 120
# GitLab moves a project's last activity at most once an hour: until then a push may go unnoticed.
ACTIVITY_LAG = timedelta(hours=1)
# An endless list must not be read forever.
MAX_PAGES = 100_000
# SQLite allows 32,766 variables in a statement.
IDS_PER_STATEMENT = 5_000
# Commits of one push that are looked up.
SHA_LENGTHS = {40, 64}


@dataclass(frozen=True)
class Source:
    """One list of one repository, and how far it is read."""

    reading_id: int
    connection_id: int
    repository_id: int
    kind: Kind
    project_id: int
    begin: int
    cursor: int
    is_complete: bool
    is_empty: bool
    last_activity_at: datetime | None


class SourceGone(Exception):
    """The list is no longer wanted, or its repository is gone: nothing was stored."""


@dataclass
class Store:
    """Where pages are stored: one transaction at a time, as SQLite has one writer."""

    runtime: Runtime
    check: Callable[[], object] = lambda: None
    pages: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, work: Callable[[Session], object]) -> None:
        """Do something in a transaction."""
        self.check()
        with self._lock, self.runtime.database.transaction() as session:
            work(session)

    def store(self, source: Source, page: Page[Any], rows: Callable[[Session], object], **changes: Any) -> None:
        """Store the rows of a page, and how far the list is read now."""

        def work(session: Session) -> None:
            own = update(Reading).where(col(Reading.id) == source.reading_id)
            unreadable = sum(defect.is_left_out for defect in page.defects)
            values = {"is_stale": True, "unreadable": col(Reading.unreadable) + unreadable, **changes}
            if not session.connection().execute(own.values(**values)).rowcount:
                raise SourceGone
            rows(session)

        self.write(work)
        self.pages += 1

    def finish(self, source: Source, began: datetime, **changes: Any) -> None:
        """Record that a list is read until a moment."""
        due = None
        if source.kind in (Kind.COMMITS, Kind.DEPLOYMENTS) and source.last_activity_at:
            due = began + ACTIVITY_LAG if source.last_activity_at > began - ACTIVITY_LAG else None
        own = update(Reading).where(col(Reading.id) == source.reading_id)
        done = {"is_complete": True, "read_at": began, "due_at": due, "card": None, "failures": 0}
        self.write(lambda session: session.execute(own.values(**{**done, **changes})))

    def fail(self, source: Source, card: Card) -> None:
        """Record why a list could not be read, and when to try again: later each time, at last once a day."""

        def work(session: Session) -> None:
            reading = session.get(Reading, source.reading_id)
            if reading is not None:
                reading.failures, reading.card = reading.failures + 1, card.to_json()
                hours = min(24, 2 ** min(reading.failures, 5) / 2)
                reading.due_at = utc_now() + timedelta(hours=hours)

        self.write(work)

    def count(self, repository_ids: Iterable[int]) -> None:
        """Count what is new by week."""
        for repository_id in repository_ids:
            self.write(lambda session, number=repository_id: count_weeks(session, number))  # type: ignore[misc]


def read_source(store: Store, client: GitLabClient, source: Source) -> None:
    """Read one list to its end.

    Raises:
        GitLabError, OutboundError: a page failed; what came before is stored.
        SourceGone: it is no longer wanted.
    """
    began = utc_now()
    if source.kind == Kind.COMMITS:
        try:
            _read_commits(store, client, source)
        except GitLabNotFound:
            # An empty repository has no list of commits in some versions.
            if not source.is_empty:
                raise
    elif source.kind == Kind.REVIEWS:
        _read_reviews(store, client, source)
    else:
        _read_changes(store, client, source)
    # A first read of commits that was interrupted has not seen what was pushed since it began.
    is_continued = source.kind == Kind.COMMITS and not source.is_complete and source.cursor > 0
    store.finish(source, began, **({"due_at": began} if is_continued else {}))


def _read_changes(store: Store, client: GitLabClient, source: Source) -> None:
    """Read by the time of the last change: what changes during the read comes again at the end, and nothing is skipped.

    Each page begins where the one before ended. Only if a whole page changed in the same second, the next is by number.
    """
    shape, since, number = SHAPES[source.kind], _start(source), 1
    for _ in range(MAX_PAGES):
        page = changed_page(client, shape, source.project_id, since, number)
        newest = max((seconds(row.updated_at) for row in page.items), default=since)
        store.store(
            source,
            page,
            lambda session, rows=page.items: store_changed(  # type: ignore[misc]
                session, source.connection_id, {source.project_id: source.repository_id}, rows
            ),
            cursor=max(newest, source.cursor),
        )
        if is_last(page, number):
            return
        since, number = (newest, 1) if newest > since else (since, number + 1)
    raise MalformedAnswer(status=200)


def _start(source: Source) -> int:
    """Return from when on to read: once more what may have become visible late."""
    return max(source.begin, source.cursor - OVERLAP) if source.cursor else source.begin


def is_last(page: Page[Any], number: int) -> bool:
    """Return whether a list ends with a page: a short one alone proves nothing if GitLab counts more rows."""
    if page.count == 0:
        return True
    return page.is_short and (page.total is None or page.total <= (number - 1) * 100 + page.count)


def store_changed(session: Session, connection_id: int, repositories: dict[int, int], rows: Sequence[Changing]) -> None:
    """Insert or update merge requests, issues or deployments; an older state never replaces a newer one."""
    people: dict[int, Author] = {}
    requests: list[dict[str, Any]] = []
    issues: list[dict[str, Any]] = []
    deployments: list[dict[str, Any]] = []
    for row in rows:
        own: dict[str, Any] = {"connection_id": connection_id}
        if isinstance(row, DeploymentRow):
            if row.status == "success" and row.environment is not None:
                environment = str(row.environment.name)[:255]
                own |= {"gitlab_id": row.id, "environment": environment, "updated": seconds(row.updated_at)}
                deployments.append({**own, "repository_id": next(iter(repositories.values()))})
            continue
        own |= {"repository_id": repositories[row.project_id], "iid": row.iid, "state": str(row.state)[:10]}
        own |= {"created": seconds(row.created_at), "updated": seconds(row.updated_at)}
        own["closed"] = seconds(row.closed_at) if row.closed_at and row.state == "closed" else None
        if isinstance(row, IssueRow):
            issues.append(own)
            continue
        reviewers = row.reviewers or []
        people |= {one.id: one for one in [*reviewers, *([row.author] if row.author else [])]}
        # Old rows may be merged without a time (docs/gitlab.md, "Activity").
        merged = seconds(row.merged_at or row.updated_at) if row.state == "merged" else None
        own |= {"merged": merged, "is_draft": bool(row.draft or row.work_in_progress)}
        own |= {"author_id": row.author.id if row.author else None, "reviewer_ids": [one.id for one in reviewers]}
        requests.append({**own, "merge_sha": sha_of(row.merge_commit_sha)})
    store_people(session, connection_id, people.values())
    _upsert(session, MergeRequest, requests, ("repository_id", "iid"))
    _upsert(session, Issue, issues, ("repository_id", "iid"))
    _upsert(session, Deployment, deployments, ("repository_id", "gitlab_id"))


def _upsert(session: Session, table: type[SQLModel], rows: list[dict[str, Any]], key: tuple[str, ...]) -> None:
    # One row each: PostgreSQL changes none twice in a statement.
    rows = list({tuple(row[name] for name in key): row for row in rows}.values())
    if not rows:
        return
    statement = insert_into(session, table)
    own = table.__table__.c  # type: ignore[attr-defined]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in (*key, "connection_id")}
    statement = statement.on_conflict_do_update(
        index_elements=list(key), set_=changed, where=statement.excluded.updated >= own.updated
    )
    session.connection().execute(statement, _complete(table, rows))


def _complete(table: type[SQLModel], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "is_traced": False} for row in rows] if table is MergeRequest else rows


def store_people(session: Session, connection_id: int, people: Iterable[Author]) -> None:
    """Insert people, or update their names."""
    rows = [
        {"connection_id": connection_id, "gitlab_user_id": one.id, "username": one.username, "name": one.name}
        for one in sorted(people, key=lambda one: one.id)
    ]
    if not rows:
        return
    statement = insert_into(session, GitLabPerson)
    names = {name: statement.excluded[name] for name in ("username", "name")}
    own = col(GitLabPerson.username) != statement.excluded.username
    own = own | (col(GitLabPerson.name) != statement.excluded.name)
    keys = ["connection_id", "gitlab_user_id"]
    session.connection().execute(statement.on_conflict_do_update(index_elements=keys, set_=names, where=own), rows)


def sha_of(text: str | None) -> bytes | None:
    """Return a commit's id as bytes; None if it is not one."""
    try:
        return bytes.fromhex(text) if text and len(text) in SHA_LENGTHS else None
    except ValueError:
        return None


def _read_commits(store: Store, client: GitLabClient, source: Source) -> None:
    """Read the default branch from the newest commit back.

    The first read goes to the beginning, by the number of the page: what is pushed during the read moves the rest to
    later pages. Later reads go back until every parent of what is new is known: `since` alone would miss a branch with
    old commits that is merged today.
    """
    number = source.cursor // 100 + 1 if not source.is_complete else 1
    missing: set[bytes] = set()
    for _ in range(MAX_PAGES):
        page = commits_page(client, source.project_id, source.begin, number)
        rows = _commit_rows(source, page.items)
        fresh: set[bytes] = set()
        store.store(
            source,
            page,
            lambda session, rows=rows, fresh=fresh: fresh.update(_store_commits(session, source, rows)),  # type: ignore[misc]
            cursor=number * 100,
        )
        if page.count == 0 or page.is_short:
            return
        if source.is_complete:
            missing |= {parent for row in rows if row["sha"] in fresh for parent in _parents(row)}
            missing -= {row["sha"] for row in rows}
            missing -= _known(store, source, missing)
            if not missing:
                return
        number += 1
    raise MalformedAnswer(status=200)


def _commit_rows(source: Source, items: Iterable[CommitRow]) -> list[dict[str, Any]]:
    rows: dict[bytes, dict[str, Any]] = {}
    for item in items:
        sha = sha_of(item.id)
        if sha is None:
            continue
        rows[sha] = {
            "connection_id": source.connection_id,
            "repository_id": source.repository_id,
            "sha": sha,
            "parents": b"".join(filter(None, (sha_of(parent) for parent in (item.parent_ids or [])[:2]))),
            "authored": seconds(item.authored_date or item.committed_date),
            "committed": seconds(item.committed_date),
        }
    return list(rows.values())


def _parents(row: dict[str, Any]) -> list[bytes]:
    size = len(row["sha"])
    return [row["parents"][at : at + size] for at in range(0, len(row["parents"]), size)]


def _store_commits(session: Session, source: Source, rows: list[dict[str, Any]]) -> set[bytes]:
    """Insert what is new; return the ids of it."""
    if not rows:
        return set()
    fresh = {row["sha"] for row in rows} - _known_in(session, source, [row["sha"] for row in rows])
    new = [row for row in rows if row["sha"] in fresh]
    if new:
        session.connection().execute(insert_into(session, GitCommit).on_conflict_do_nothing(), new)
    return fresh


def _known(store: Store, source: Source, ids: Iterable[bytes]) -> set[bytes]:
    with store.runtime.database.reading() as session:
        return _known_in(session, source, list(ids))


def _known_in(session: Session, source: Source, ids: list[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for begin in range(0, len(ids), IDS_PER_STATEMENT):
        some = col(GitCommit.sha).in_(ids[begin : begin + IDS_PER_STATEMENT])
        own = col(GitCommit.repository_id) == source.repository_id
        found.update(session.execute(select(col(GitCommit.sha)).where(own, some)).scalars())
    return found


def _read_reviews(store: Store, client: GitLabClient, source: Source) -> None:
    """Read approvals and comments from the project's activity: two lists instead of one for each merge request."""
    # GitLab filters by whole days, and leaves out the day that is named.
    after = datetime.fromtimestamp(_start(source), UTC).date() - timedelta(days=1)
    newest = source.cursor
    for action in ("approved", "commented"):
        for number in range(1, MAX_PAGES):
            page = events_page(client, source.project_id, action, after, number)
            newest = max([newest, *(seconds(row.created_at) for row in page.items)])
            # Both lists have to be read before anything newer is looked for.
            is_end = is_last(page, number)
            changes = {"cursor": newest} if is_end and action == "commented" else {}
            store.store(
                source,
                page,
                lambda session, rows=page.items: _store_reviews(session, source, rows),  # type: ignore[misc]
                **changes,
            )
            if is_end:
                break
        else:
            raise MalformedAnswer(status=200)


def _store_reviews(session: Session, source: Source, rows: Sequence[EventRow]) -> None:
    found: dict[tuple[int, int], int] = {}
    people: dict[int, Author] = {}
    for row in rows:
        iid = row.target_iid if row.target_type == "MergeRequest" else None
        if row.note is not None:
            iid = row.note.noteable_iid if row.note.noteable_type == "MergeRequest" else None
        if iid is None or iid < 1 or row.author is None:
            continue
        people[row.author.id] = row.author
        key, at = (iid, row.author.id), seconds(row.created_at)
        found[key] = min(found.get(key, at), at)
    if not found:
        return
    store_people(session, source.connection_id, people.values())
    own = {"connection_id": source.connection_id, "repository_id": source.repository_id}
    values = [{**own, "iid": iid, "gitlab_user_id": who, "first": at} for (iid, who), at in sorted(found.items())]
    statement = insert_into(session, Review)
    statement = statement.on_conflict_do_update(
        index_elements=["repository_id", "iid", "gitlab_user_id"],
        set_={"first": statement.excluded.first},
        where=statement.excluded.first < col(Review.first),
    )
    session.connection().execute(statement, values)


# What was deleted in GitLab: no list says so.


def drop_deleted(store: Store, client: GitLabClient, source: Source) -> int:
    """Look for merge requests or issues that are no longer there; return how many were dropped.

    A list that came back shorter is a doubt, not a proof: each row that is missing from it is asked for alone.
    """
    shape, table = SHAPES[source.kind], TABLES[source.kind]
    own: Any = table.__table__.c  # type: ignore[attr-defined]
    since = source.begin
    with store.runtime.database.reading() as session:
        mine = select(own.iid).where(own.repository_id == source.repository_id, own.updated >= since)
        known = set(session.execute(mine).scalars())
    counted = count_changed(client, shape, source.project_id, since)
    if not known or (counted is not None and counted >= len(known)):
        return 0
    seen: set[int] = set()
    number = 1
    for _ in range(MAX_PAGES):
        store.check()
        page = changed_page(client, shape, source.project_id, since, number)
        seen.update(row.iid for row in page.items if not isinstance(row, DeploymentRow))
        if is_last(page, number):
            break
        newest = max((seconds(row.updated_at) for row in page.items), default=since)
        since, number = (newest, 1) if newest > since else (since, number + 1)
    gone = []
    for iid in sorted(known - seen):
        store.check()
        try:
            one_changed(client, shape, source.project_id, iid)
        except GitLabNotFound:
            gone.append(iid)
    if gone:
        # The project itself must still be there: otherwise everything in it answers 404.
        client.project(source.project_id)

    def drop(session: Session) -> None:
        for begin in range(0, len(gone), IDS_PER_STATEMENT):
            some = gone[begin : begin + IDS_PER_STATEMENT]
            session.execute(delete(table).where(own.repository_id == source.repository_id, own.iid.in_(some)))
            if source.kind == Kind.MERGE_REQUESTS:
                of_them = (col(Review.repository_id) == source.repository_id, col(Review.iid).in_(some))
                session.execute(delete(Review).where(*of_them))
        session.execute(update(Reading).where(col(Reading.id) == source.reading_id).values(is_stale=True))

    if gone:
        store.write(drop)
    return len(gone)
