"""What happened in projects: commits, merge requests, reviews, issues, activity and deployments, from `histories`.

https://docs.gitlab.com/api/commits/, …/merge_requests/, …/notes/, …/merge_request_approvals/, …/issues/, …/events/,
…/deployments/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import answer, bad_request, forbidden, not_found
from portal.sandbox.api.merge_requests import proposals
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import find_project, level_of, may_read_code
from portal.sandbox.api.timestamps import stamp_of
from portal.sandbox.api.users import basic_user
from portal.sandbox.bearer import Caller, caller
from portal.sandbox.groups import GUEST
from portal.sandbox.histories import APPROVED, COMMENT, Commit, Deployment, Event, Issue, MergeRequest, Note
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

Row = TypeVar("Row", MergeRequest, Issue)
STATES = frozenset({"all", "opened", "closed", "locked", "merged"})
ORDERS = frozenset({"created_at", "updated_at"})
SCOPES = frozenset({"created_by_me", "assigned_to_me", "all"})
# The word of a filter, and the one that rows have.
ACTIONS = {"approved": "approved", "commented": "commented on", "pushed": "pushed to", "merged": "accepted"}
ACTIONS |= {"created": "opened", "closed": "closed"}
TARGETS = {"merge_request": "MergeRequest", "issue": "Issue", "note": "Note"}
SHORT = 8


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""
    _add_lists(blueprint, world)
    _add_merge_requests(blueprint, world)

    @blueprint.get("/projects/<project_id>/repository/commits")
    def list_commits(project_id: str) -> Response:
        project = _readable(world, project_id)
        history = world.histories.of(project)
        if params.text("ref_name") not in ("", "HEAD", project.default_branch):
            raise not_found("Commit")
        since, until = params.moment("since"), params.moment("until")
        found = [*history.mainline, *history.branches]
        if params.flag("all"):
            found += [one for row in history.merge_requests.values() if row.state == "opened" for one in row.commits]
        kept = [one for one in found if (since is None or one.committed >= since)]
        kept = [one for one in kept if until is None or one.committed <= until]
        kept.sort(key=lambda one: -one.committed)
        rows, headers = offset_page(world, kept)
        # GitLab does not count commits (api/commits).
        headers = {name: value for name, value in headers.items() if not name.startswith("X-Total")}
        with_stats = bool(params.flag("with_stats"))
        return answer([_commit(world, project, one, with_stats=with_stats) for one in rows], headers=headers)

    @blueprint.get("/projects/<project_id>/events")
    def list_events(project_id: str) -> Response:
        who = caller(world)
        project = find_project(world, who, project_id)
        found: Sequence[Event] = world.histories.of(project).events
        if not may_read_code(world, who, project):
            found = [one for one in found if one.target_type == "Issue"]
        if action := params.choice("action", frozenset({"", *ACTIONS}), ""):
            found = [one for one in found if one.action == ACTIONS[action]]
        if target := params.choice("target_type", frozenset({"", *TARGETS}), ""):
            found = [one for one in found if one.target_type == TARGETS[target]]
        after, before = _day("after"), _day("before")
        found = [one for one in found if after is None or _date(one.at) > after]
        found = [one for one in found if before is None or _date(one.at) < before]
        is_up = params.choice("sort", frozenset({"asc", "desc"}), "desc") == "asc"
        rows, headers = offset_page(world, sorted(found, key=lambda one: (one.at, one.id), reverse=not is_up))
        return answer([_event(world, project, one) for one in rows], headers=headers)

    @blueprint.get("/projects/<project_id>/deployments")
    def list_deployments(project_id: str) -> Response:
        project = _readable(world, project_id)
        found: Iterable[Deployment] = world.histories.of(project).deployments
        if status := params.text("status"):
            found = [one for one in found if one.status == status]
        if environment := params.text("environment"):
            found = [one for one in found if one.environment == environment]
        order = params.choice("order_by", ORDERS | {"id", "iid", "finished_at"}, "id")
        if (updated_after := params.moment("updated_after")) is not None:
            if order != "updated_at":
                raise bad_request("`updated_at` filter requires `updated_at` sort")
            found = [one for one in found if one.at >= updated_after]
        is_down = params.choice("sort", frozenset({"asc", "desc"}), "asc") == "desc"
        rows, headers = offset_page(world, sorted(found, key=lambda one: (one.at, one.id), reverse=is_down))
        return answer([describe_deployment(world, project, one) for one in rows], headers=headers)


def _add_lists(blueprint: Blueprint, world: World) -> None:
    """Lists of merge requests and issues: of a project, and of everything that the caller is a member of."""

    def merge_requests(who: Caller, project: Project) -> Iterable[MergeRequest]:
        return world.histories.of(project).merge_requests.values() if may_read_code(world, who, project) else ()

    def issues(_: Caller, project: Project) -> Iterable[Issue]:
        return world.histories.of(project).issues.values()

    def everything(who: Caller, rows_of: Callable[[Caller, Project], Iterable[Row]]) -> list[tuple[Project, Row]]:
        if params.choice("scope", SCOPES, "created_by_me") != "all":
            found = [(project, row) for project in mine(who) for row in rows_of(who, project)]
            return [(project, row) for project, row in found if row.author_id == who.user.id]
        since = params.moment("updated_after")
        touched = (one for one in mine(who) if since is None or world.histories.updated_since(one, since))
        return [(project, row) for project in touched for row in rows_of(who, project)]

    def mine(who: Caller) -> Iterable[Project]:
        return (one for one in world.projects.rows if who.acts_as_admin or level_of(world, who, one) >= GUEST)

    @blueprint.get("/merge_requests")
    def list_all_merge_requests() -> Response:
        return _list(world, everything(caller(world), merge_requests), _merge_request)

    @blueprint.get("/issues")
    def list_all_issues() -> Response:
        return _list(world, everything(caller(world), issues), _issue)

    @blueprint.get("/projects/<project_id>/merge_requests")
    def list_merge_requests(project_id: str) -> Response:
        project = _readable(world, project_id)
        if source := params.text("source_branch"):
            made = proposals(world, project, source, params.text("target_branch"), params.text("state"))
            page, headers = offset_page(world, made)
            return answer(page, headers=headers)
        rows = world.histories.of(project).merge_requests.values()
        return _list(world, [(project, row) for row in rows], _merge_request)

    @blueprint.get("/projects/<project_id>/issues")
    def list_issues(project_id: str) -> Response:
        project = find_project(world, caller(world), project_id)
        return _list(world, [(project, row) for row in world.histories.of(project).issues.values()], _issue)

    @blueprint.get("/projects/<project_id>/issues/<int:iid>")
    def show_issue(project_id: str, iid: int) -> Response:
        project = find_project(world, caller(world), project_id)
        found = world.histories.of(project).issues.get(iid)
        if found is None:
            raise not_found()
        return answer(_issue(world, project, found))


def _add_merge_requests(blueprint: Blueprint, world: World) -> None:
    address = "/projects/<project_id>/merge_requests/<int:iid>"

    def find(project_id: str, iid: int) -> tuple[Project, MergeRequest]:
        project = _readable(world, project_id)
        found = world.histories.of(project).merge_requests.get(iid)
        if found is None:
            raise not_found()
        return project, found

    @blueprint.get(address)
    def show_merge_request(project_id: str, iid: int) -> Response:
        if made := [one for one in proposals(world, _readable(world, project_id)) if one["iid"] == iid]:
            return answer(made[0])
        project, found = find(project_id, iid)
        return answer(_merge_request(world, project, found) | {"changes_count": str(len(found.commits))})

    @blueprint.get(f"{address}/commits")
    def list_merge_request_commits(project_id: str, iid: int) -> Response:
        project, found = find(project_id, iid)
        rows, headers = offset_page(world, found.commits[::-1])
        return answer([_commit(world, project, one) for one in rows], headers=headers)

    @blueprint.get(f"{address}/notes")
    def list_merge_request_notes(project_id: str, iid: int) -> Response:
        _, found = find(project_id, iid)
        is_up = params.choice("sort", frozenset({"asc", "desc"}), "desc") == "asc"
        notes = sorted(found.notes, key=lambda note: (note.at, note.id), reverse=not is_up)
        rows, headers = offset_page(world, notes)
        return answer([_note(world, found, note) for note in rows], headers=headers)

    @blueprint.get(f"{address}/approvals")
    def show_approvals(project_id: str, iid: int) -> Response:
        _, found = find(project_id, iid)
        given = [note for note in found.notes if note.body == APPROVED]
        approved_by = [{"user": _user(world, note.author_id), "approved_at": stamp_of(note.at)} for note in given]
        told = {"approved": bool(given), "user_has_approved": False, "user_can_approve": False}
        return answer({**told, "approved_by": approved_by})


def _readable(world: World, project_id: str) -> Project:
    who = caller(world)
    project = find_project(world, who, project_id)
    if not may_read_code(world, who, project):
        raise forbidden()
    return project


def _list(
    world: World, found: list[tuple[Project, Row]], write: Callable[[World, Project, Row], dict[str, Any]]
) -> Response:
    """Answer a page of merge requests or issues: filtered, in order, by offset."""
    state = params.choice("state", STATES, "all")
    after, before = params.moment("updated_after"), params.moment("updated_before")
    since, until = params.moment("created_after"), params.moment("created_before")
    kept = [
        (project, row)
        for project, row in found
        if (state == "all" or row.state == state)
        and (after is None or row.updated >= after)
        and (before is None or row.updated <= before)
        and (since is None or row.created >= since)
        and (until is None or row.created <= until)
    ]
    by_update = params.choice("order_by", ORDERS, "created_at") == "updated_at"
    is_down = params.choice("sort", frozenset({"asc", "desc"}), "desc") == "desc"
    kept.sort(key=lambda pair: (pair[1].updated if by_update else pair[1].created, pair[1].id), reverse=is_down)
    rows, headers = offset_page(world, kept)
    return answer([write(world, project, row) for project, row in rows], headers=headers)


def _merge_request(world: World, project: Project, row: MergeRequest) -> dict[str, Any]:
    ender = _user(world, row.ended_by)
    return {
        "id": row.id,
        "iid": row.iid,
        "project_id": project.id,
        "title": row.title,
        "description": "",
        "state": row.state,
        "created_at": stamp_of(row.created),
        "updated_at": stamp_of(row.updated),
        "merged_by": ender if row.merged else None,
        "merge_user": ender if row.merged else None,
        "merged_at": _stamp(row.merged),
        "closed_by": ender if row.closed else None,
        "closed_at": _stamp(row.closed),
        "prepared_at": stamp_of(row.created),
        "target_branch": project.default_branch,
        "source_branch": f"change-{row.iid}",
        "user_notes_count": sum(not note.system for note in row.notes),
        "upvotes": 0,
        "downvotes": 0,
        "author": _user(world, row.author_id),
        "assignees": [],
        "assignee": None,
        "reviewers": [_user(world, one) for one in row.reviewers],
        "source_project_id": project.id,
        "target_project_id": project.id,
        "labels": [],
        "draft": row.draft,
        "work_in_progress": row.draft,
        "milestone": None,
        "merge_status": "can_be_merged",
        "detailed_merge_status": "mergeable" if row.state == "opened" else "not_open",
        "sha": row.head,
        "merge_commit_sha": row.merge_commit,
        "squash_commit_sha": row.squash_commit,
        "squash": row.method == "squash",
        "has_conflicts": False,
        "web_url": f"{_web(world, project)}/-/merge_requests/{row.iid}",
    }


def _issue(world: World, project: Project, row: Issue) -> dict[str, Any]:
    return {
        "id": row.id,
        "iid": row.iid,
        "project_id": project.id,
        "title": row.title,
        "description": "",
        "state": row.state,
        "created_at": stamp_of(row.created),
        "updated_at": stamp_of(row.updated),
        "closed_at": _stamp(row.closed),
        "closed_by": _user(world, row.closed_by),
        "labels": [],
        "milestone": None,
        "assignees": [],
        "author": _user(world, row.author_id),
        "type": "ISSUE",
        "issue_type": "issue",
        "user_notes_count": len(row.notes),
        "merge_requests_count": 0,
        "upvotes": 0,
        "downvotes": 0,
        "due_date": None,
        "confidential": False,
        "web_url": f"{_web(world, project)}/-/issues/{row.iid}",
    }


def _commit(world: World, project: Project, row: Commit, *, with_stats: bool = False) -> dict[str, Any]:
    user = world.user(row.author_id)
    name, email = (user.name, user.email) if user else ("Someone", "someone@example.com")
    committed = stamp_of(row.committed)
    lines = row.committed % 97 + 1
    stats = {"stats": {"additions": lines, "deletions": lines // 3, "total": lines + lines // 3}}
    return {
        "id": row.id,
        "short_id": row.id[:SHORT],
        "created_at": committed,
        "parent_ids": list(row.parents),
        "title": row.title,
        "message": row.title,
        "author_name": name,
        "author_email": email,
        "authored_date": stamp_of(row.authored),
        "committer_name": name,
        "committer_email": email,
        "committed_date": committed,
        "trailers": {},
        "extended_trailers": {},
        "web_url": f"{_web(world, project)}/-/commit/{row.id}",
        **(stats if with_stats else {}),
    }


def _note(world: World, about: MergeRequest, row: Note) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": None,
        "body": row.body,
        "author": _user(world, row.author_id),
        "created_at": stamp_of(row.at),
        "updated_at": stamp_of(row.at),
        "system": row.system,
        "noteable_id": about.id,
        "noteable_type": "MergeRequest",
        "noteable_iid": about.iid,
        "resolvable": False,
        "confidential": False,
        "internal": False,
    }


def _event(world: World, project: Project, row: Event) -> dict[str, Any]:
    history = world.histories.of(project)
    kind = row.target_type
    if row.note is not None:
        kind = "MergeRequest" if row.note.body != COMMENT else "Issue"
    about = history.issues.get(row.iid) if kind == "Issue" else history.merge_requests.get(row.iid)
    author = _user(world, row.author_id) or {}
    shown = {
        "id": row.id,
        "project_id": project.id,
        "action_name": row.action,
        "target_id": row.note.id if row.note else about.id if about else None,
        "target_iid": row.note.id if row.note else row.iid or None,
        "target_type": row.target_type or None,
        "author_id": row.author_id,
        "target_title": about.title if about else None,
        "created_at": stamp_of(row.at),
        "author": author,
        "imported": False,
        "author_username": author.get("username"),
    }
    if row.note:
        told = {"id": row.note.id, "body": row.note.body, "author": author, "created_at": stamp_of(row.at)}
        shown["note"] = {**told, "system": False, "noteable_type": kind, "noteable_iid": row.iid}
    if row.action == "pushed to":
        shown["push_data"] = {
            "commit_count": 1,
            "action": "pushed",
            "ref_type": "branch",
            "ref": project.default_branch,
        }
    return shown


def describe_deployment(world: World, project: Project, row: Deployment) -> dict[str, Any]:
    """Return a deployment as GitLab shows it."""
    return {
        "id": row.id,
        "iid": row.iid,
        "ref": project.default_branch,
        "sha": row.sha,
        "created_at": stamp_of(row.at),
        "updated_at": stamp_of(row.at),
        "status": row.status,
        "user": _user(world, row.user_id),
        "environment": {"id": project.id, "name": row.environment, "external_url": None},
        "deployable": None,
    }


def _user(world: World, user_id: int | None) -> dict[str, Any] | None:
    user = world.user(user_id) if user_id else None
    return basic_user(world, user) if user else None


def _stamp(seconds: int | None) -> str | None:
    return None if seconds is None else stamp_of(seconds)


def _web(world: World, project: Project) -> str:
    return f"{world.settings.external_url}/{world.projects.full_path(project)}"


def _date(seconds: int) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()


def _day(name: str) -> date | None:
    text = params.text(name)
    try:
        return date.fromisoformat(text[:10]) if text else None
    except ValueError:
        raise params.refused(name) from None
