"""The repository of a project: tree and branches. Until something needs it, none is made for the tree's top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import answer, forbidden, not_found
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import find_project, level_of, may_read_code
from portal.sandbox.api.timestamps import stamp_of
from portal.sandbox.bearer import optional_caller
from portal.sandbox.groups import DEVELOPER
from portal.sandbox.payloads import commit_id
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

FILES = (("README.md", "blob", "100644"), ("docs", "tree", "040000"), ("src", "tree", "040000"))


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/projects/<project_id>/repository/tree")
    def tree(project_id: str) -> Response:
        project, _ = _readable(world, project_id)
        if world.git.has(project.id) or params.flag("recursive") or params.text("path"):
            ref = params.text("ref")
            name = project.default_branch if ref in ("", "HEAD") else ref
            refs = world.git.refs(project)
            commit = refs.get(f"refs/heads/{name}") or refs.get(f"refs/tags/{name}")
            if commit is None and world.git.has_commit(project, name):
                commit = name
            path, is_deep = params.text("path"), bool(params.flag("recursive"))
            listed = world.git.entries(project, commit, path, is_deep=is_deep) if commit else []
            if not listed:
                raise not_found("Tree")
            page, headers = offset_page(world, listed)
            return answer(page, headers=headers)
        if project.empty or params.text("ref") not in ("", "HEAD", project.default_branch):
            raise not_found("Tree")
        entries = [
            {"id": commit_id(project, name), "name": name, "type": kind, "path": name, "mode": mode}
            for name, kind, mode in FILES
        ]
        rows, headers = offset_page(world, entries)
        return answer(rows, headers=headers)

    @blueprint.get("/projects/<project_id>/repository/branches")
    def branches(project_id: str) -> Response:
        project, may_push = _readable(world, project_id)
        found = [describe_branch(world, project, name, may_push=may_push) for name in _names(world, project)]
        rows, headers = offset_page(world, [one for one in found if params.text("search") in one["name"]])
        return answer(rows, headers=headers)

    @blueprint.get("/projects/<project_id>/repository/branches/<path:branch>")
    def branch(project_id: str, branch: str) -> Response:
        project, may_push = _readable(world, project_id)
        name = unquote(branch)
        if name not in _names(world, project):
            raise not_found("Branch")
        return answer(describe_branch(world, project, name, may_push=may_push))


def _readable(world: World, project_id: str) -> tuple[Project, bool]:
    """Return a project whose code the caller may read, and whether they may push."""
    who = optional_caller(world, "read_repository")
    project = find_project(world, who, project_id)
    if not may_read_code(world, who, project):
        raise forbidden()
    return project, level_of(world, who, project) >= DEVELOPER


def _names(world: World, project: Project) -> list[str]:
    if not world.git.has(project.id):
        return [] if project.empty else [project.default_branch]
    return [ref.removeprefix("refs/heads/") for ref in world.git.refs(project) if ref.startswith("refs/heads/")]


def describe_branch(world: World, project: Project, name: str, *, may_push: bool) -> dict[str, Any]:
    """Return a branch as GitLab shows it."""
    head = world.activity.head(project, f"refs/heads/{name}")
    url = f"{world.settings.external_url}/{world.projects.full_path(project)}"
    committed = stamp_of(project.last_activity)
    return {
        "name": name,
        "commit": {
            "id": head,
            "short_id": head[:8],
            "created_at": committed,
            "parent_ids": [],
            "title": "Initial commit",
            "message": "Initial commit",
            "author_name": "Amara Okafor",
            "author_email": "amara.okafor@example.com",
            "authored_date": committed,
            "committer_name": "Amara Okafor",
            "committer_email": "amara.okafor@example.com",
            "committed_date": committed,
            "trailers": {},
            "web_url": f"{url}/-/commit/{head}",
        },
        "merged": False,
        "protected": name in world.git.protected_of(project),
        "developers_can_push": False,
        "developers_can_merge": False,
        "can_push": may_push,
        "default": name == project.default_branch,
        "web_url": f"{url}/-/tree/{name}",
    }
