"""One project as JSON: simple or full, as this caller sees it and this version writes it.

Made for pages of a hundred: what is the same for every project is encoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from portal.sandbox.api.answers import encode
from portal.sandbox.api.places import level_of, reads_code_at
from portal.sandbox.api.timestamps import stamp_of
from portal.sandbox.bearer import Caller
from portal.sandbox.groups import MAINTAINER, REPORTER
from portal.sandbox.profiles import has
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

NOTIFICATION_LEVEL = 3
PERSONAL_NAMESPACE_BASE = 100_000

FEATURES = (
    *("topics", "visibility_in_simple", "would_be_default_branch", "empty_repo", "repository_object_format"),
    *("deletion_for_all_editions", "marked_for_deletion_on", "readme_url"),
)
ACCESS_LEVELS = ("issues", "merge_requests", "wiki", "builds", "snippets", "forking", "analytics", "releases")
# The same for every project of this simulated GitLab.
SAME_FOR_ALL: dict[str, Any] = {
    "packages_enabled": True,
    "issues_enabled": True,
    "merge_requests_enabled": True,
    "wiki_enabled": True,
    "jobs_enabled": True,
    "snippets_enabled": True,
    "container_registry_enabled": False,
    "service_desk_enabled": False,
    "can_create_merge_request_in": True,
    **{f"{name}_access_level": "enabled" for name in ACCESS_LEVELS},
    "container_registry_access_level": "disabled",
    "pages_access_level": "private",
    "security_and_compliance_access_level": "private",
    "shared_runners_enabled": True,
    "group_runners_enabled": True,
    "lfs_enabled": True,
    "import_status": "none",
    "public_jobs": True,
    "only_allow_merge_if_pipeline_succeeds": False,
    "allow_merge_on_skipped_pipeline": None,
    "request_access_enabled": True,
    "only_allow_merge_if_all_discussions_are_resolved": False,
    "remove_source_branch_after_merge": True,
    "printing_merge_request_link_enabled": True,
    "merge_method": "merge",
    "squash_option": "default_off",
    "suggestion_commit_message": None,
    "merge_commit_template": None,
    "squash_commit_template": None,
    "autoclose_referenced_issues": True,
}
SAME_FOR_ALL_ENTERPRISE: dict[str, Any] = {
    "approvals_before_merge": 0,
    "mirror": False,
    "external_authorization_classification_label": "",
    "requirements_enabled": False,
    "requirements_access_level": "enabled",
    "compliance_frameworks": [],
}


class ProjectWriter:
    """Writes projects for one request."""

    def __init__(self, world: World, who: Caller | None, *, simple: bool, permissions: bool = True) -> None:
        self._world, self._who = world, who
        self._base = world.settings.external_url
        # Looked up once for the page: three look-ups per project would cost more than writing it.
        self._known = {name for name in FEATURES if has(world, name)}
        self._simple = simple or who is None
        self._permissions = permissions and who is not None
        self._statistics = False
        self._same = b"" if self._simple else _same_for_all(world)

    def with_statistics(self) -> ProjectWriter:
        """Also write `statistics`, for projects where the caller is Reporter or more."""
        self._statistics = True
        return self

    def page(self, projects: list[Project]) -> bytes:
        """Return a JSON array; `permissions` as lists show them."""
        return b"[" + b",".join([self.one(project) for project in projects]) + b"]"

    def one(self, project: Project, *, single: bool = False) -> bytes:
        """Return one JSON object; `single` for the response about one project, which includes inherited roles."""
        level = level_of(self._world, self._who, project)
        body = self._basic(project, level)
        if self._simple:
            return encode(body)
        body |= self._details(project, level)
        if self._statistics and level >= REPORTER:
            body["statistics"] = _statistics(project)
        if self._permissions:
            body["permissions"] = self._permissions_of(project, single=single)
        return encode(body)[:-1] + self._same

    def _basic(self, project: Project, level: int) -> dict[str, Any]:
        base = self._base
        namespace, names = self._namespace(project)
        full_path = f"{namespace['full_path']}/{project.path}"
        body: dict[str, Any] = {
            "id": project.id,
            "description": project.description or None,
            "name": project.name,
            "name_with_namespace": f"{names} / {project.name}",
            "path": project.path,
            "path_with_namespace": full_path,
            "created_at": stamp_of(project.created),
            "tag_list": project.topics,
            "ssh_url_to_repo": f"git@{urlsplit(base).hostname}:{full_path}.git",
            "http_url_to_repo": f"{base}/{full_path}.git",
            "web_url": f"{base}/{full_path}",
            "avatar_url": f"{base}/uploads/-/system/project/avatar/{project.id}/logo.png"
            if project.has_avatar
            else None,
            "star_count": project.stars,
            "last_activity_at": stamp_of(project.last_activity),
            "namespace": namespace,
        }
        if "topics" in self._known:
            body["topics"] = project.topics
        if not self._simple or "visibility_in_simple" in self._known:
            body["visibility"] = project.visibility
        if reads_code_at(self._world, self._who, project, level):
            empty = project.empty and "would_be_default_branch" not in self._known
            body["default_branch"] = None if empty else project.default_branch
            body["forks_count"] = project.forks
            if "readme_url" not in self._known:
                return body
            readme = f"{base}/{full_path}/-/blob/{project.default_branch}/README.md"
            body["readme_url"] = None if project.empty else readme
        return body

    def _details(self, project: Project, level: int) -> dict[str, Any]:
        known = self._known
        body: dict[str, Any] = {
            "archived": project.archived,
            "creator_id": project.creator_id,
            "updated_at": stamp_of(project.updated),
            "open_issues_count": project.open_issues,
            "description_html": "",
            "repository_access_level": "enabled" if project.repository_enabled else "disabled",
            "shared_with_groups": self._shares(project),
            "_links": self._links(project),
        }
        if "empty_repo" in known:
            body["empty_repo"] = project.empty
        if "repository_object_format" in known:
            body["repository_object_format"] = project.object_format
        if project.owner_id is not None:
            body["owner"] = self._owner(project.owner_id)
        if level >= MAINTAINER:
            body |= {"import_url": None, "import_type": None, "import_error": None, "ci_config_path": None}
        if self._world.settings.edition == "ee" or "deletion_for_all_editions" in known:
            body["marked_for_deletion_at"] = project.marked_for_deletion_on
            if "marked_for_deletion_on" in known:
                body["marked_for_deletion_on"] = project.marked_for_deletion_on
        return body

    def _namespace(self, project: Project) -> tuple[dict[str, Any], str]:
        """Return the member `namespace`, and the names that stand before the project's own."""
        group = self._world.groups.by_id(project.group_id)
        if group is not None:
            return {
                "id": group.id,
                "name": group.name,
                "path": group.path,
                "kind": "group",
                "full_path": group.full_path,
                "parent_id": group.parent_id,
                "avatar_url": None,
                "web_url": f"{self._base}/groups/{group.full_path}",
            }, group.full_name
        owner = self._world.user(project.owner_id or 0)
        username, name = (owner.username, owner.name) if owner else ("ghost", "Ghost User")
        return {
            "id": PERSONAL_NAMESPACE_BASE + (project.owner_id or 0),
            "name": name,
            "path": username,
            "kind": "user",
            "full_path": username,
            "parent_id": None,
            "avatar_url": None,
            "web_url": f"{self._base}/{username}",
        }, name

    def _owner(self, user_id: int) -> dict[str, Any] | None:
        owner = self._world.user(user_id)
        return {"id": owner.id, "name": owner.name, "username": owner.username} if owner else None

    def _shares(self, project: Project) -> list[dict[str, Any]]:
        shared = ((self._world.groups.by_id(i), level) for i, level in self._world.members.shares_of(project.id))
        return [
            {
                "group_id": group.id,
                "group_name": group.name,
                "group_full_path": group.full_path,
                "group_access_level": level,
                "expires_at": None,
            }
            for group, level in shared
            if group is not None
        ]

    def _links(self, project: Project) -> dict[str, str]:
        own = f"{self._base}/api/v4/projects/{project.id}"
        return {
            "self": own,
            "issues": f"{own}/issues",
            "merge_requests": f"{own}/merge_requests",
            "repo_branches": f"{own}/repository/branches",
            "labels": f"{own}/labels",
            "events": f"{own}/events",
            "members": f"{own}/members",
            "cluster_agents": f"{own}/cluster_agents",
        }

    def _permissions_of(self, project: Project, *, single: bool) -> dict[str, Any]:
        """In lists, `group_access` only covers the immediate group; for a single project, all ancestors count."""
        members, user_id = self._world.members, self._who.user.id if self._who else 0
        direct = members.direct_on_project(project.id, user_id)
        if project.owner_id == user_id:
            direct = 50
        if single:
            group = members.on_groups(user_id).get(project.group_id or 0, 0)
        else:
            group = members.direct_on_group(project.group_id, user_id)
        return {"project_access": _access(direct), "group_access": _access(group)}


def _access(level: int) -> dict[str, int] | None:
    return {"access_level": level, "notification_level": NOTIFICATION_LEVEL} if level else None


def _statistics(project: Project) -> dict[str, int]:
    size = 0 if project.empty else 1_000_000 + project.id * 7919 % 50_000_000
    return {
        "commit_count": 0 if project.empty else project.id * 31 % 5000 + 1,
        "storage_size": size,
        "repository_size": size,
        "wiki_size": 0,
        "lfs_objects_size": 0,
        "job_artifacts_size": 0,
        "packages_size": 0,
        "snippets_size": 0,
        "uploads_size": 0,
    }


def _same_for_all(world: World) -> bytes:
    """Return the members every project has, encoded to follow the others: `,"a":1}`."""
    same = SAME_FOR_ALL | ({"emails_enabled": True} if has(world, "emails_enabled") else {"emails_disabled": False})
    if world.settings.edition == "ee":
        same |= SAME_FOR_ALL_ENTERPRISE
    return b"," + encode(same)[1:]
