"""What happened in a project, as GitLab's lists tell it: the parts that reports need, and how each list is paged."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import ClassVar

import msgspec

from portal.foreign import PersonName, ShortText, Title
from portal.gitlab.answers import Id, Moment, Page
from portal.gitlab.client import GitLabClient

PER_PAGE = 100


class Author(msgspec.Struct, frozen=True):
    """A user as lists show them."""

    id: Id
    username: PersonName = PersonName()
    name: PersonName = PersonName()


class MergeRequestRow(msgspec.Struct, frozen=True):
    """One of `GET /projects/:id/merge_requests` (api/merge_requests)."""

    always_told: ClassVar[tuple[str, ...]] = ("state", "created_at", "updated_at")

    id: Id
    iid: Id
    project_id: Id
    updated_at: Moment
    created_at: Moment
    state: ShortText
    merged_at: Moment | None = None
    closed_at: Moment | None = None
    draft: bool | None = None
    work_in_progress: bool | None = None
    author: Author | None = None
    reviewers: list[Author] | None = None
    merge_commit_sha: ShortText | None = None


class IssueRow(msgspec.Struct, frozen=True):
    """One of `GET /projects/:id/issues` (api/issues)."""

    always_told: ClassVar[tuple[str, ...]] = ("state", "created_at", "updated_at")

    id: Id
    iid: Id
    project_id: Id
    updated_at: Moment
    created_at: Moment
    state: ShortText
    closed_at: Moment | None = None


class CommitRow(msgspec.Struct, frozen=True):
    """One of `GET /projects/:id/repository/commits` (api/commits)."""

    always_told: ClassVar[tuple[str, ...]] = ()

    id: ShortText
    committed_date: Moment
    authored_date: Moment | None = None
    parent_ids: list[ShortText] | None = None


class NoteOfEvent(msgspec.Struct, frozen=True):
    """What was commented on."""

    noteable_type: ShortText = ShortText()
    noteable_iid: int | None = None


class EventRow(msgspec.Struct, frozen=True):
    """One of `GET /projects/:id/events` (api/events)."""

    always_told: ClassVar[tuple[str, ...]] = ()

    id: Id
    created_at: Moment
    author: Author | None = None
    target_type: ShortText | None = None
    target_iid: int | None = None
    note: NoteOfEvent | None = None


class Environment(msgspec.Struct, frozen=True):
    """Where it was deployed to."""

    name: Title = Title()


class DeploymentRow(msgspec.Struct, frozen=True):
    """One of `GET /projects/:id/deployments` (api/deployments)."""

    always_told: ClassVar[tuple[str, ...]] = ()

    id: Id
    updated_at: Moment
    status: ShortText = ShortText()
    environment: Environment | None = None


Changing = MergeRequestRow | IssueRow | DeploymentRow
# Rows that can be requested by the time of their last change, with what the list needs besides.
CHANGING: dict[type[Changing], tuple[str, dict[str, str]]] = {
    MergeRequestRow: ("merge_requests", {"state": "all"}),
    IssueRow: ("issues", {"state": "all"}),
    DeploymentRow: ("deployments", {"status": "success"}),
}


def changed_page(
    client: GitLabClient, shape: type[Changing], project_id: int | None, since: int, number: int = 1
) -> Page[Changing]:
    """Return a page of what changed at or after `since` (seconds), the oldest change first.

    Without a project it is of everything the user may see, which GitLab has for merge requests and issues (9.5).
    """
    name, query = CHANGING[shape]
    place = f"/projects/{project_id}" if project_id is not None else ""
    scope = {} if project_id is not None else {"scope": "all"}
    order: dict[str, str | int] = {"order_by": "updated_at", "sort": "asc", "updated_after": _iso(since)}
    return client.page(f"{place}/{name}", shape, {**query, **scope, **order, "page": number}, PER_PAGE)


def count_changed(client: GitLabClient, shape: type[Changing], project_id: int, since: int) -> int | None:
    """Return how many rows of a list changed since; None if GitLab does not say."""
    name, query = CHANGING[shape]
    order = {"order_by": "updated_at", "sort": "asc", "updated_after": _iso(since)}
    return client.page(f"/projects/{project_id}/{name}", shape, {**query, **order}, 1).total


def one_changed(client: GitLabClient, shape: type[Changing], project_id: int, iid: int) -> Changing:
    """Return one merge request or issue.

    Raises:
        GitLabNotFound: there is none.
    """
    return client.one(f"/projects/{project_id}/{CHANGING[shape][0]}/{iid}", shape)


def commits_page(client: GitLabClient, project_id: int, since: int, number: int) -> Page[CommitRow]:
    """Return a page of the default branch, the newest commit first."""
    return client.page(
        f"/projects/{project_id}/repository/commits", CommitRow, {"since": _iso(since), "page": number}, PER_PAGE
    )


def events_page(client: GitLabClient, project_id: int, action: str, after: date, number: int) -> Page[EventRow]:
    """Return a page of a project's activity after a day, the oldest first: what is new comes at the end."""
    query: dict[str, str | int] = {"action": action, "after": after.isoformat(), "sort": "asc", "page": number}
    return client.page(f"/projects/{project_id}/events", EventRow, query, PER_PAGE)


def seconds(moment: datetime) -> int:
    """Return whole seconds since 1970."""
    return int(moment.timestamp())


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
