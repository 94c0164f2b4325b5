"""Changing repositories over REST: branches, files, commits and new projects, all in a real repository.

docs.gitlab.com: api/branches, api/repository_files, api/commits, api/protected_branches, api/projects. The words of
refusals are those of gitlab.com's app/services/files, lib/api/files.rb and lib/api/branches.rb.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, forbidden, no_content, not_found, raw_answer
from portal.sandbox.api.places import find_project, level_of, may_read_code, may_see_group
from portal.sandbox.api.project_entity import ProjectWriter
from portal.sandbox.api.repositories import describe_branch
from portal.sandbox.api.timestamps import stamp_of
from portal.sandbox.bearer import Caller, caller
from portal.sandbox.groups import DEVELOPER, MAINTAINER
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

ACTIONS = ("create", "delete", "move", "update", "chmod")
VISIBILITIES = ("private", "internal", "public")
LEVEL_NAMES = {0: "No one", DEVELOPER: "Developers + Maintainers", MAINTAINER: "Maintainers"}
NO_BRANCH = "You can only create or edit files when you are on a branch"
NOT_ALLOWED = "403 Forbidden - You are not allowed to push into this branch"
CHANGED = "You are attempting to update a file that has changed since you started editing it."
CHANGED_AMONG = "The file has changed since you started editing it: {path}"
_PATH = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+ -]{0,254}")


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""
    _add_branches(blueprint, world)
    _add_files(blueprint, world)
    _add_projects(blueprint, world)


def _add_branches(blueprint: Blueprint, world: World) -> None:
    @blueprint.post("/projects/<project_id>/repository/branches")
    def create_branch(project_id: str) -> Response:
        _, project = _open(world, project_id, DEVELOPER)
        body = _needed(params.body(), "branch", "ref")
        branch, ref = str(body["branch"]), str(body["ref"])
        if f"refs/heads/{branch}" in world.git.refs(project):
            raise ApiError(400, {"message": "Branch already exists"})
        start = _resolve(world, project, ref)
        if start is None:
            raise ApiError(400, {"message": f"Invalid reference name: {ref}"})
        if not world.git.is_branch_name(project, branch):
            raise ApiError(400, {"message": f"Branch name is invalid: {branch}"})
        world.git.move_branch(project, branch, start)
        return answer(describe_branch(world, project, branch, may_push=True), 201)

    @blueprint.delete("/projects/<project_id>/repository/branches/<path:branch>")
    def delete_branch(project_id: str, branch: str) -> Response:
        _, project = _open(world, project_id, DEVELOPER)
        branch = unquote(branch)
        if f"refs/heads/{branch}" not in world.git.refs(project):
            raise not_found("Branch")
        if branch in world.git.protected_of(project):
            raise ApiError(403, {"message": "Protected branch cannot be deleted"})
        world.git.move_branch(project, branch, None)
        return no_content()

    @blueprint.get("/projects/<project_id>/protected_branches")
    def list_protected(project_id: str) -> Response:
        _, project = _open(world, project_id, DEVELOPER)
        return answer([_protection(name, level) for name, level in sorted(world.git.protected_of(project).items())])

    @blueprint.post("/projects/<project_id>/protected_branches")
    def protect(project_id: str) -> Response:
        _, project = _open(world, project_id, MAINTAINER)
        body = _needed(params.body(), "name")
        name, level = str(body["name"]), int(body.get("push_access_level", MAINTAINER))
        if level not in (0, DEVELOPER, MAINTAINER, 60):
            raise params.refused("push_access_level", "does not have a valid value")
        if name in world.git.protected_of(project):
            raise ApiError(409, {"message": f"Protected branch '{name}' already exists"})
        # No one: higher than any role.
        world.git.protected.setdefault(project.id, {})[name] = level or 100
        return answer(_protection(name, level), 201)


def _add_files(blueprint: Blueprint, world: World) -> None:
    address = "/projects/<project_id>/repository/files/<path:path>"

    @blueprint.get(address)
    def show_file(project_id: str, path: str) -> Response:
        _, project = _open(world, project_id, 0)
        path = unquote(path)
        if not (ref := params.text("ref")):
            raise params.refused("ref", "is missing")
        commit = _resolve(world, project, project.default_branch if ref == "HEAD" else ref)
        if commit is None:
            raise not_found("Commit")
        found = world.git.file(project, commit, path)
        if found is None:
            raise not_found("File")
        mode, blob, content = found
        return answer(
            {
                "file_name": path.rpartition("/")[2],
                "file_path": path,
                "size": len(content),
                "encoding": "base64",
                "content_sha256": hashlib.sha256(content).hexdigest(),
                "ref": ref,
                "blob_id": blob,
                "commit_id": commit,
                "last_commit_id": world.git.last_commit(project, commit, path),
                "execute_filemode": mode == "100755",
                "content": base64.b64encode(content).decode(),
            }
        )

    @blueprint.get("/projects/<project_id>/repository/compare")
    def compare(project_id: str) -> Response:
        _, project = _open(world, project_id, 0)
        if missing := [name for name in ("from", "to") if not params.text(name)]:
            raise ApiError(400, {"error": ", ".join(f"{name} is missing" for name in missing)})
        start, end = (_resolve(world, project, params.text(name)) for name in ("from", "to"))
        if start is None or end is None:
            raise not_found("Ref")
        return answer(_compare(world, project, start, end))

    def write_file(project_id: str, path: str, action: str) -> Response:
        who, project = _open(world, project_id, DEVELOPER)
        path = unquote(path)
        body = _needed(params.body(), "branch", "commit_message", "content")
        told = {name: body.get(name) for name in ("content", "encoding", "last_commit_id")}
        _commit(world, who, project, body, [{"action": action, "file_path": path, **told}], CHANGED)
        return answer({"file_path": path, "branch": body["branch"]}, 201 if action == "create" else 200)

    @blueprint.post(address)
    def create_file(project_id: str, path: str) -> Response:
        return write_file(project_id, path, "create")

    @blueprint.put(address)
    def update_file(project_id: str, path: str) -> Response:
        return write_file(project_id, path, "update")

    @blueprint.post("/projects/<project_id>/repository/commits")
    def create_commit(project_id: str) -> Response:
        who, project = _open(world, project_id, DEVELOPER)
        body = _needed(params.body(), "branch", "commit_message", "actions")
        actions = body["actions"]
        if not isinstance(actions, list) or not all(isinstance(one, dict) for one in actions):
            raise params.refused("actions")
        for one in actions:
            if one.get("action") not in ACTIONS:
                raise params.refused("actions[0][action]", "does not have a valid value")
            if not one.get("file_path"):
                raise params.refused("actions[0][file_path]", "is missing")
        commit = _commit(world, who, project, body, actions, CHANGED_AMONG)
        name, email, at, title, parents = world.git.describe(project, commit)
        url = f"{world.settings.external_url}/{world.projects.full_path(project)}/-/commit/{commit}"
        written = stamp_of(at)
        return answer(
            {
                "id": commit,
                "short_id": commit[:8],
                "created_at": written,
                "parent_ids": parents,
                "title": title,
                "message": str(body["commit_message"]),
                "author_name": name,
                "author_email": email,
                "authored_date": written,
                "committer_name": name,
                "committer_email": email,
                "committed_date": written,
                "trailers": {},
                "web_url": url,
                "stats": {"additions": len(actions), "deletions": 0, "total": len(actions)},
                "status": None,
                "project_id": project.id,
            },
            201,
        )


def _compare(world: World, project: Project, start: str, end: str) -> dict[str, Any]:
    """Return what one commit has and the other has not, since both had the same."""
    git = world.git
    commits = []
    for number in filter(None, git.run(project, "rev-list", "--reverse", f"{start}..{end}").split("\n")):
        name, email, at, title, parents = git.describe(project, number)
        told = {"id": number, "short_id": number[:8], "title": title, "message": title, "parent_ids": parents}
        told |= {"author_name": name, "author_email": email, "created_at": stamp_of(at)}
        commits.append(told)
    base = git.run(project, "merge-base", start, end)
    diffs = []
    for line in filter(None, git.run(project, "diff", "--name-status", "--no-renames", base, end).split("\n")):
        kind, _, path = line.partition("\t")
        text = git.run(project, "diff", "--no-renames", "--unified=3", base, end, "--", path)
        diffs.append(
            {
                "old_path": path,
                "new_path": path,
                "new_file": kind == "A",
                "renamed_file": False,
                "deleted_file": kind == "D",
                "diff": "@@" + text.partition("\n@@")[2] + "\n" if "\n@@" in text else "",
            }
        )
    return {
        "commit": commits[-1] if commits else None,
        "commits": commits,
        "diffs": diffs,
        "compare_timeout": False,
        "compare_same_ref": start == end,
    }


def _commit(
    world: World, who: Caller, project: Project, body: dict[str, Any], actions: list[dict[str, Any]], changed: str
) -> str:
    """Commit what the actions say, or nothing of it."""
    branch, start = str(body["branch"]), str(body.get("start_branch") or "")
    refs = world.git.refs(project)
    level = 50 if who.acts_as_admin else level_of(world, who, project)
    if level < world.git.protected_of(project).get(branch, DEVELOPER):
        raise ApiError(403, {"message": NOT_ALLOWED})
    head = refs.get(f"refs/heads/{branch}")
    if head and start and start != branch and not body.get("force"):
        told = f"A branch called '{branch}' already exists. Switch to that branch in order to make changes"
        raise ApiError(400, {"message": told})
    parent = head or (_resolve(world, project, start) if start else None)
    if parent is None and refs:
        raise ApiError(400, {"message": NO_BRANCH})
    files: dict[str, bytes | None] = {}
    for one in actions:
        action, path = str(one["action"]), str(one["file_path"])
        old = str(one.get("previous_path") or path) if action == "move" else path
        if any(part in ("", ".", "..", ".git") for name in (path, old) for part in name.split("/")):
            raise params.refused("file_path", "should be a valid file path")
        there = world.git.file(project, parent, old) if parent else None
        if action == "create" and (there or path in files):
            raise ApiError(400, {"message": "A file with this name already exists"})
        if action != "create" and there is None:
            raise ApiError(400, {"message": "A file with this name doesn't exist"})
        known = one.get("last_commit_id")
        if known and parent and action != "create" and known != world.git.last_commit(project, parent, old):
            raise ApiError(400, {"message": changed.format(path=path)})
        if action == "move":
            files[old] = None
        if action == "delete":
            files[path] = None
        elif one.get("content") is not None:
            files[path] = _content(one)
        elif there is not None:
            files[path] = there[2]
        elif action == "create":
            files[path] = b""
    return world.git.commit(
        project.id,
        files,
        str(body["commit_message"]),
        branch=branch,
        start=start,
        author=str(body.get("author_name") or who.user.name),
        user=who.user,
    )


def _add_projects(blueprint: Blueprint, world: World) -> None:
    @blueprint.post("/projects")
    def create_project() -> Response:
        who, body = caller(world), params.body()
        name = str(body.get("name") or body.get("path") or "")
        if not name:
            raise ApiError(400, {"error": "name, path are missing, at least one parameter must be provided"})
        path = str(body.get("path") or name.lower().replace(" ", "-"))
        if (visibility := str(body.get("visibility") or "private")) not in VISIBILITIES:
            raise params.refused("visibility", "does not have a valid value")
        namespace = who.user.username
        if wanted := body.get("namespace_id"):
            group = world.groups.by_id(int(wanted)) if str(wanted).isdecimal() else None
            if group is None or not may_see_group(world, who, group):
                raise not_found("Namespace")
            if not who.acts_as_admin and world.members.on_groups(who.user.id).get(group.id, 0) < DEVELOPER:
                raise ApiError(400, {"message": {"namespace": ["is not valid"]}})
            namespace = group.full_path
        if not _PATH.fullmatch(path) or path.endswith((".git", ".atom", ".", "-")) or " " in path:
            told = "can only include letters, digits, '_', '-' and '.'"
            raise ApiError(400, {"message": {"path": [told], "project_namespace.path": [told]}})
        if world.projects.by_path(f"{namespace}/{path}") is not None:
            taken = ["has already been taken"]
            raise ApiError(400, {"message": {"project_namespace.name": taken, "name": taken, "path": taken}})
        starts = params.truth("initialize_with_readme", body.get("initialize_with_readme", False))
        project = world.add_project(
            f"{namespace}/{path}",
            name,
            visibility=visibility,
            creator_id=who.user.id,
            description=str(body.get("description") or ""),
            default_branch=str(body.get("default_branch") or "main"),
            empty=True,
        )
        if namespace != who.user.username:
            world.add_project_member(project.id, who.user.id, MAINTAINER)
        if starts:
            readme = {"README.md": f"# {name}\n".encode()}
            world.git.commit(project.id, readme, "Initial commit", author=who.user.name, user=who.user)
        project = world.project(project.id)
        return raw_answer(ProjectWriter(world, who, simple=False).one(project, single=True), 201)


def _open(world: World, project_id: str, needed: int) -> tuple[Caller, Project]:
    """Return the caller, and the project whose code they may read, with at least that role."""
    who = caller(world, *(() if needed else ("read_repository",)))
    project = find_project(world, who, project_id)
    if not may_read_code(world, who, project):
        raise forbidden()
    if needed and not who.acts_as_admin and level_of(world, who, project) < needed:
        raise forbidden()
    return who, project


def _needed(body: dict[str, Any], *names: str) -> dict[str, Any]:
    if missing := [name for name in names if body.get(name) is None]:
        raise ApiError(400, {"error": ", ".join(f"{name} is missing" for name in missing)})
    return body


def _resolve(world: World, project: Project, ref: str) -> str | None:
    refs = world.git.refs(project)
    found = refs.get(f"refs/heads/{ref}") or refs.get(f"refs/tags/{ref}")
    return found or (ref if world.git.has_commit(project, ref) else None)


def _content(one: dict[str, Any]) -> bytes:
    text = str(one.get("content"))
    if one.get("encoding") != "base64":
        return text.encode()
    try:
        return base64.b64decode(text, validate=False)
    except binascii.Error:
        raise params.refused("content") from None


def _protection(name: str, level: int) -> dict[str, Any]:
    shown = 0 if level > 60 else level
    level_told = [{"access_level": shown, "access_level_description": LEVEL_NAMES.get(shown, "Administrators")}]
    return {
        "name": name,
        "push_access_levels": level_told,
        "merge_access_levels": level_told,
        "allow_force_push": False,
    }
