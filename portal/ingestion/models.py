"""Tables of what happened in repositories: how far each list is read, its rows, and their figures by week.

Times of GitLab's rows are whole seconds since 1970: they are compared and subtracted, never shown as they are stored.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from portal.db import BigId, UTCDateTime

MONTHS = 24


class Kind(StrEnum):
    """What is read of a repository; stored in `reading.kind`."""

    COMMITS = "commits"
    MERGE_REQUESTS = "merge_requests"
    # Comments and approvals, from the project's activity.
    REVIEWS = "reviews"
    ISSUES = "issues"
    DEPLOYMENTS = "deployments"


class Ingestion(SQLModel, table=True):
    """How a connection is read. No row until its first read.

    Attributes:
        months: how far back it is read, and how long what was read is kept.
        has_initials: whether reports show people's initials instead of their names.
        merge_requests_until, issues_until: GitLab's time of the newest change that the lists of everything showed.
        read_at: when the last read began that came to its end.
        compared_at: when a read last looked for what was deleted in GitLab.
    """

    __tablename__ = "ingestion"

    connection_id: int = Field(foreign_key="connection.id", primary_key=True, ondelete="CASCADE", sa_type=BigId)
    months: int = MONTHS
    has_initials: bool = False
    merge_requests_until: int | None = Field(default=None, sa_type=BigInteger)
    issues_until: int | None = Field(default=None, sa_type=BigInteger)
    read_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    compared_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    row_version: int = 1


class Reading(SQLModel, table=True):
    """How far one list of one repository is read.

    Attributes:
        begin: nothing older is read.
        cursor: where the next page begins: GitLab's time of the newest row that is stored. Of commits, how many of the
            first read are stored.
        is_complete: whether everything since `begin` was read once.
        read_at: until when everything is known.
        due_at: when it is read next; null if only a change makes it due.
        card: why it could not be read last time, a Card as JSON; null if it could.
        failures: how often in a row that was.
        is_stale: whether the figures by week do not have everything yet.
        unreadable: how many rows GitLab sent that could not be used.
    """

    __tablename__ = "reading"
    __table_args__ = (
        UniqueConstraint("repository_id", "kind"),
        Index("ix_reading_due", "connection_id", "due_at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    kind: str = Field(max_length=20)
    begin: int = Field(sa_type=BigInteger)
    cursor: int = Field(default=0, sa_type=BigInteger)
    is_complete: bool = False
    read_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    due_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    failures: int = 0
    is_stale: bool = False
    unreadable: int = 0


class GitLabPerson(SQLModel, table=True):
    """Someone who wrote or reviewed something, by GitLab's id: names change, and addresses prove nothing."""

    __tablename__ = "gitlab_person"
    __table_args__ = (UniqueConstraint("connection_id", "gitlab_user_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    gitlab_user_id: int = Field(sa_type=BigInteger)
    username: str = Field(max_length=255)
    name: str = Field(default="", max_length=255)


class MergeRequest(SQLModel, table=True):
    """A merge request, without any text of it.

    Attributes:
        merge_sha: of the merge commit, as bytes; null if there is none.
        first_commit: when the first commit of its branch was written; null if GitLab no longer has the branch's
            commits, or they were not looked for.
        is_traced: whether they were looked for.
    """

    __tablename__ = "merge_request"
    __table_args__ = (
        UniqueConstraint("repository_id", "iid"),
        Index("ix_merge_request_open", "repository_id", "state", "created"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    iid: int = Field(sa_type=BigInteger)
    state: str = Field(max_length=10)
    is_draft: bool = False
    author_id: int | None = Field(default=None, sa_type=BigInteger)
    reviewer_ids: list[int] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    created: int = Field(sa_type=BigInteger)
    updated: int = Field(sa_type=BigInteger)
    merged: int | None = Field(default=None, sa_type=BigInteger)
    closed: int | None = Field(default=None, sa_type=BigInteger)
    merge_sha: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    first_commit: int | None = Field(default=None, sa_type=BigInteger)
    is_traced: bool = False


class Review(SQLModel, table=True):
    """When someone first commented on a merge request or approved it; its author may be among them."""

    __tablename__ = "review"
    __table_args__ = (UniqueConstraint("repository_id", "iid", "gitlab_user_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    iid: int = Field(sa_type=BigInteger)
    gitlab_user_id: int = Field(sa_type=BigInteger)
    first: int = Field(sa_type=BigInteger)


class Issue(SQLModel, table=True):
    """An issue, without any text of it."""

    __tablename__ = "issue"
    __table_args__ = (UniqueConstraint("repository_id", "iid"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    iid: int = Field(sa_type=BigInteger)
    state: str = Field(max_length=10)
    created: int = Field(sa_type=BigInteger)
    updated: int = Field(sa_type=BigInteger)
    closed: int | None = Field(default=None, sa_type=BigInteger)


class GitCommit(SQLModel, table=True):
    """A commit of the default branch: its id, its parents and two times; no author, no text, no code."""

    __tablename__ = "git_commit"
    __table_args__ = (UniqueConstraint("repository_id", "sha"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    sha: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    # One behind the other.
    parents: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    authored: int = Field(sa_type=BigInteger)
    committed: int = Field(sa_type=BigInteger)


class Deployment(SQLModel, table=True):
    """A deployment that succeeded."""

    __tablename__ = "deployment"
    __table_args__ = (UniqueConstraint("repository_id", "gitlab_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    gitlab_id: int = Field(sa_type=BigInteger)
    environment: str = Field(max_length=255)
    updated: int = Field(sa_type=BigInteger)


class FigureBlock(SQLModel, table=True):
    """What happened in a repository in the weeks of half a year, counted from the rows above.

    Reports read nothing else about the past: a few rows for each repository, whose bytes are added up as they are.

    Attributes:
        block: which half-year: `portal.ingestion.figures.block_of`.
        lanes: for each of its weeks the numbers that `portal.ingestion.figures.LANES` names, 64 bits each.
        cycles: of each merge request that was merged: how long it took, as `portal.ingestion.figures.packed_length`
            writes it, 32 bits each, in order.
        deliveries: the same, of the time from its merge to the next deployment to production.
    """

    __tablename__ = "figure_block"
    __table_args__ = (UniqueConstraint("repository_id", "block"), Index("ix_figure_block_connection", "connection_id"))

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    block: int = Field(sa_type=BigInteger)
    lanes: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    cycles: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    deliveries: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class ReviewerBlock(SQLModel, table=True):
    """What one person reviewed in a repository in half a year.

    Attributes:
        answers: of each merge request of others that they first said something about: the time since it was opened,
            as in `FigureBlock`.
    """

    __tablename__ = "reviewer_block"
    __table_args__ = (UniqueConstraint("repository_id", "block", "gitlab_user_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    repository_id: int = Field(foreign_key="repository.id", ondelete="CASCADE", sa_type=BigId)
    block: int = Field(sa_type=BigInteger)
    gitlab_user_id: int = Field(sa_type=BigInteger)
    answers: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class OpenWork(SQLModel, table=True):
    """What is open in a repository now; times are packed, 64 bits each.

    Attributes:
        opened: when each open merge request was opened, drafts left out.
        waiting: the same, of those that no one but the author has said anything about.
        asked: reviewers who have not answered: GitLab's id of the person, and when the merge request was opened.
    """

    __tablename__ = "open_work"

    repository_id: int = Field(foreign_key="repository.id", primary_key=True, ondelete="CASCADE", sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", index=True, ondelete="CASCADE", sa_type=BigId)
    opened: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    waiting: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    asked: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    drafts: int = 0
    issues: int = 0
