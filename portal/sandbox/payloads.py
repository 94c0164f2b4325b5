"""Bodies of deliveries, with GitLab's members and both of its formats of time.

https://docs.gitlab.com/user/project/integrations/webhook_events/, https://docs.gitlab.com/administration/system_hooks/.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from portal.sandbox.groups import Group
from portal.sandbox.people import User
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

COMMITS_SENT = 20
# What bodies say instead of an address that its owner does not show.
REDACTED = "[REDACTED]"
VISIBILITY = {"private": 0, "internal": 10, "public": 20}
ROLES = {10: "Guest", 15: "Planner", 20: "Reporter", 30: "Developer", 40: "Maintainer", 50: "Owner"}


@dataclass
class Item:
    """An issue or a merge request."""

    id: int
    iid: int
    title: str
    author_id: int
    created_at: datetime
    updated_at: datetime
    state: str = "opened"
    confidential: bool = False
    source_branch: str = "feature"
    notes: list[int] = field(default_factory=list)


def iso(moment: datetime) -> str:
    """Return a time as issues and system hooks write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spaced(moment: datetime) -> str:
    """Return a time as merge requests and comments write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def no_commit(project: Project) -> str:
    """Return the id that stands for nothing before or after."""
    return "0" * (64 if project.object_format == "sha256" else 40)


def commit_id(project: Project, name: str) -> str:
    """Return a made-up id, 40 or 64 characters long, depending on the project's format."""
    digest = hashlib.sha256(f"{project.id}/{name}".encode()).hexdigest()
    return digest if project.object_format == "sha256" else digest[:40]


def user_body(user: User) -> dict[str, Any]:
    """Return a person as bodies have them."""
    return {
        "id": user.id,
        "name": user.name,
        "username": user.username,
        "avatar_url": None,
        "email": user.public_email or REDACTED,
    }


def project_body(world: World, project: Project) -> dict[str, Any]:
    """Return a project as bodies have it."""
    full_path = world.projects.full_path(project)
    web, ssh = f"{world.settings.external_url}/{full_path}", _ssh(world, full_path)
    group = world.groups.by_id(project.group_id)
    owner = world.user(project.owner_id or 0)
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "web_url": web,
        "avatar_url": None,
        "git_ssh_url": ssh,
        "git_http_url": f"{web}.git",
        "namespace": group.name if group else owner.name if owner else "",
        "visibility_level": VISIBILITY[project.visibility],
        "path_with_namespace": full_path,
        "default_branch": project.default_branch,
        "ci_config_path": None,
        "homepage": web,
        "url": ssh,
        "ssh_url": ssh,
        "http_url": f"{web}.git",
    }


def repository_body(world: World, project: Project) -> dict[str, Any]:
    """Return the older description of a project that bodies still have."""
    told = project_body(world, project)
    names = ("name", "url", "description", "homepage", "git_http_url", "git_ssh_url", "visibility_level")
    return {name: told[name] for name in names}


def push_body(
    world: World,
    project: Project,
    user: User,
    ref: str,
    before: str,
    after: str,
    messages: list[str],
    *,
    event: str = "push",
) -> dict[str, Any]:
    """Return a push to a branch, or with `event="tag_push"` of a tag; the last message is the newest commit's.

    At most the 20 newest commits are in it, whatever their number.
    """
    ids = [*(commit_id(project, f"{after}{place}") for place in range(len(messages) - 1)), after]
    pairs = list(zip(ids[: len(messages)], messages, strict=True))[-COMMITS_SENT:]
    commits = [_commit(world, project, user, sha, message) for sha, message in pairs]
    is_gone = after == no_commit(project)
    return {
        "object_kind": event,
        "event_name": event,
        "before": before,
        "after": after,
        "ref": ref,
        "ref_protected": ref == f"refs/heads/{project.default_branch}",
        "checkout_sha": None if is_gone else after,
        "message": None,
        "user_id": user.id,
        "user_name": user.name,
        "user_username": user.username,
        "user_email": user.public_email or "",
        "user_avatar": None,
        "project_id": project.id,
        "project": project_body(world, project),
        "commits": commits,
        "total_commits_count": len(messages),
        "push_options": {},
        "repository": repository_body(world, project),
    }


def _commit(world: World, project: Project, user: User, sha: str, message: str) -> dict[str, Any]:
    web = f"{world.settings.external_url}/{world.projects.full_path(project)}"
    return {
        "id": sha,
        "message": f"{message}\n",
        "title": message.partition("\n")[0],
        "timestamp": world.now().isoformat(timespec="seconds"),
        "url": f"{web}/-/commit/{sha}",
        "author": {"name": user.name, "email": user.public_email or REDACTED},
        "added": [],
        "modified": ["README.md"],
        "removed": [],
    }


def repository_update_body(
    world: World, project: Project, user: User, changes: list[tuple[str, str, str]]
) -> dict[str, Any]:
    """Return what the instance's hooks get once for each push: (before, after, ref) of everything in it."""
    return {
        "event_name": "repository_update",
        "user_id": user.id,
        "user_name": user.name,
        "user_email": user.public_email or "",
        "user_avatar": None,
        "project_id": project.id,
        "project": project_body(world, project),
        "changes": [{"before": before, "after": after, "ref": ref} for before, after, ref in changes],
        "refs": [ref for _, _, ref in changes],
    }


def issue_body(world: World, project: Project, user: User, issue: Item, action: str) -> dict[str, Any]:
    """Return an event of an issue."""
    web = f"{world.settings.external_url}/{world.projects.full_path(project)}"
    return {
        "object_kind": "issue",
        "event_type": "confidential_issue" if issue.confidential else "issue",
        "user": user_body(user),
        "project": project_body(world, project),
        "object_attributes": {
            "id": issue.id,
            "iid": issue.iid,
            "project_id": project.id,
            "title": issue.title,
            "description": "",
            "author_id": issue.author_id,
            "assignee_ids": [],
            "confidential": issue.confidential,
            "state": issue.state,
            "action": action,
            "created_at": iso(issue.created_at),
            "updated_at": iso(issue.updated_at),
            "closed_at": iso(issue.updated_at) if issue.state == "closed" else None,
            "labels": [],
            "type": "Issue",
            "url": f"{web}/-/issues/{issue.iid}",
        },
        "labels": [],
        "changes": {"updated_at": {"previous": spaced(issue.created_at), "current": spaced(issue.updated_at)}},
        "repository": repository_body(world, project),
        "assignees": [],
    }


def merge_request_body(world: World, project: Project, user: User, request: Item, action: str) -> dict[str, Any]:
    """Return an event of a merge request."""
    told, head = project_body(world, project), commit_id(project, f"mr{request.iid}{request.updated_at}")
    return {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": user_body(user),
        "project": told,
        "repository": repository_body(world, project),
        "object_attributes": {
            "id": request.id,
            "iid": request.iid,
            "title": request.title,
            "description": "",
            "state": request.state,
            "action": action,
            "source_branch": request.source_branch,
            "target_branch": project.default_branch,
            "source_project_id": project.id,
            "target_project_id": project.id,
            "source": told,
            "target": told,
            "author_id": request.author_id,
            "assignee_ids": [],
            "reviewer_ids": [],
            "created_at": spaced(request.created_at),
            "updated_at": spaced(request.updated_at),
            "prepared_at": spaced(request.created_at),
            "draft": False,
            "work_in_progress": False,
            "last_commit": _commit(world, project, user, head, request.title),
            "merge_status": "can_be_merged",
            "detailed_merge_status": "mergeable",
            "url": f"{told['web_url']}/-/merge_requests/{request.iid}",
        },
        "labels": [],
        "changes": {"updated_at": {"previous": spaced(request.created_at), "current": spaced(request.updated_at)}},
        "assignees": [],
        "reviewers": [],
    }


def note_body(world: World, project: Project, user: User, about: Item, kind: str, note_id: int) -> dict[str, Any]:
    """Return a comment on an `issue` or a `merge_request`."""
    told = project_body(world, project)
    section = "issues" if kind == "issue" else "merge_requests"
    subject = issue_body if kind == "issue" else merge_request_body
    return {
        "object_kind": "note",
        "event_type": "confidential_note" if about.confidential else "note",
        "user": user_body(user),
        "project_id": project.id,
        "project": told,
        "object_attributes": {
            "id": note_id,
            "note": "Looks good to me.",
            "noteable_type": "Issue" if kind == "issue" else "MergeRequest",
            "noteable_id": about.id,
            "author_id": user.id,
            "project_id": project.id,
            "created_at": spaced(about.updated_at),
            "updated_at": spaced(about.updated_at),
            "system": False,
            "action": "create",
            "url": f"{told['web_url']}/-/{section}/{about.iid}#note_{note_id}",
        },
        "repository": repository_body(world, project),
        kind: subject(world, project, user, about, "update")["object_attributes"],
    }


def project_event(world: World, project: Project, event: str, old_path: str = "") -> dict[str, Any]:
    """Return an event of a project for the instance's and the groups' hooks."""
    group = world.groups.by_id(project.group_id)
    owner = world.user(project.owner_id or 0)
    owners = [owner] if owner else []
    if group is not None:
        owners = [user for user in world.all_users() if world.members.direct_on_group(group.id, user.id) == 50]
    told = {
        "event_name": event,
        "created_at": iso(datetime.fromtimestamp(project.created, UTC)),
        "updated_at": iso(datetime.fromtimestamp(project.updated, UTC)),
        "name": project.name,
        "path": project.path,
        "path_with_namespace": world.projects.full_path(project),
        "project_id": project.id,
        "project_namespace_id": project.group_id or 100_000 + (project.owner_id or 0),
        "owner_name": group.name if group else owner.name if owner else "",
        "owner_email": REDACTED if owner else "",
        "owners": [{"name": user.name, "email": user.public_email or REDACTED} for user in owners],
        "project_visibility": project.visibility,
    }
    return told | ({"old_path_with_namespace": old_path} if old_path else {})


def group_event(world: World, group: Group, event: str, before: Group | None = None) -> dict[str, Any]:
    """Return an event of a group for the instance's hooks; a renamed one also has what it was called `before`."""
    told: dict[str, Any] = {
        "event_name": event,
        "created_at": iso(world.anchor),
        "updated_at": iso(world.now()),
        "name": group.name,
        "path": group.path,
        "full_path": group.full_path,
        "group_id": group.id,
        "owner_name": None,
        "owner_email": None,
    }
    return told | ({"old_path": before.path, "old_full_path": before.full_path} if before else {})


def subgroup_event(world: World, group: Group, parent: Group, event: str) -> dict[str, Any]:
    """Return an event of a subgroup for the hooks of the groups above it."""
    return {
        "created_at": iso(world.now()),
        "updated_at": iso(world.now()),
        "event_name": event,
        "name": group.name,
        "path": group.path,
        "full_path": group.full_path,
        "group_id": group.id,
        "parent_group_id": parent.id,
        "parent_name": parent.name,
        "parent_path": parent.path,
        "parent_full_path": parent.full_path,
    }


def member_event(world: World, user: User, place: Group | Project, level: int, event: str) -> dict[str, Any]:
    """Return a change of someone's role on a project or group."""
    told: dict[str, Any] = {
        "event_name": event,
        "created_at": iso(world.now()),
        "updated_at": iso(world.now()),
        "user_id": user.id,
        "user_name": user.name,
        "user_username": user.username,
        "user_email": user.public_email or REDACTED,
    }
    role = ROLES.get(level, "")
    if isinstance(place, Group):
        about = {"group_id": place.id, "group_name": place.name, "group_path": place.path, "group_access": role}
        return told | about | {"expires_at": None}
    return told | {
        "access_level": role,
        "project_id": place.id,
        "project_name": place.name,
        "project_path": place.path,
        "project_path_with_namespace": world.projects.full_path(place),
        "project_visibility": place.visibility,
    }


def user_event(world: World, user: User, event: str) -> dict[str, Any]:
    """Return an event of an account."""
    return {
        "event_name": event,
        "created_at": iso(user.created_at),
        "updated_at": iso(world.now()),
        "user_id": user.id,
        "name": user.name,
        "username": user.username,
        "email": user.email,
    }


def _ssh(world: World, full_path: str) -> str:
    return f"git@{urlsplit(world.settings.external_url).hostname}:{full_path}.git"
