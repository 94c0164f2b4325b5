"""Merge requests that clients make, between branches of a real repository (docs.gitlab.com/api/merge_requests)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request

from portal.sandbox.api.answers import ApiError, answer, forbidden, not_found
from portal.sandbox.api.places import find_project, level_of
from portal.sandbox.api.timestamps import stamp_of
from portal.sandbox.bearer import Caller, caller
from portal.sandbox.git import Proposal
from portal.sandbox.groups import DEVELOPER
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World


# Behind those of the project's history.
FIRST_IID = 10_001


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.post("/projects/<project_id>/merge_requests")
    def create(project_id: str) -> Response:
        who, project = _writer(world, project_id)
        body = request.get_json(silent=True) or request.form
        missing = [name for name in ("title", "source_branch", "target_branch") if not body.get(name)]
        if missing:
            raise ApiError(400, {"error": ", ".join(f"{name} is missing" for name in missing)})
        source, target = str(body["source_branch"]), str(body["target_branch"])
        refs = world.git.refs(project)
        if f"refs/heads/{source}" not in refs:
            raise ApiError(400, {"message": {"source_branch": ["does not exist"]}})
        if f"refs/heads/{target}" not in refs:
            raise ApiError(400, {"message": {"target_branch": ["does not exist"]}})
        known = world.git.proposals.setdefault(project.id, [])
        for other in known:
            if (other.source, other.target, other.state) == (source, target, "opened"):
                told = f"Another open merge request already exists for this source branch: !{other.iid}"
                raise ApiError(409, {"message": [told]})
        now = int(world.now().timestamp())
        made = Proposal(FIRST_IID + len(known), str(body["title"])[:255], source, target, who.user.id, now)
        known.append(made)
        return answer(_entity(world, project, made), 201)

    @blueprint.put("/projects/<project_id>/merge_requests/<int:iid>")
    def change(project_id: str, iid: int) -> Response:
        _, project = _writer(world, project_id)
        found = _find(world, project, iid)
        event = (request.get_json(silent=True) or request.form).get("state_event")
        found.state = {"close": "closed", "reopen": "opened"}.get(str(event), found.state)
        return answer(_entity(world, project, found))

    @blueprint.put("/projects/<project_id>/merge_requests/<int:iid>/merge")
    def merge(project_id: str, iid: int) -> Response:
        who, project = _writer(world, project_id)
        found = _find(world, project, iid)
        needed = world.git.protected_of(project).get(found.target, DEVELOPER)
        if level_of(world, who, project) < needed and not who.acts_as_admin:
            raise ApiError(401, {"message": "401 Unauthorized"})
        if found.state != "opened":
            raise ApiError(405, {"message": "405 Method Not Allowed"})
        squash = str((request.get_json(silent=True) or request.form).get("squash", "")).lower() == "true"
        world.git.merge(project, found.source, found.target, found.title, who.user, squash=squash)
        found.state = "merged"
        return answer(_entity(world, project, found))


def proposals(
    world: World, project: Project, source: str = "", target: str = "", state: str = ""
) -> list[dict[str, Any]]:
    """Return the merge requests that match, the newest first."""
    return [
        _entity(world, project, one)
        for one in reversed(world.git.proposals.get(project.id, []))
        if source in ("", one.source) and target in ("", one.target) and state in ("", "all", one.state)
    ]


def _writer(world: World, project_id: str) -> tuple[Caller, Project]:
    who = caller(world)
    project = find_project(world, who, project_id)
    if not who.acts_as_admin and level_of(world, who, project) < DEVELOPER:
        raise forbidden()
    return who, project


def _find(world: World, project: Project, iid: int) -> Proposal:
    for one in world.git.proposals.get(project.id, []):
        if one.iid == iid:
            return one
    raise not_found()


def _entity(world: World, project: Project, one: Proposal) -> dict[str, Any]:
    url = f"{world.settings.external_url}/{world.projects.full_path(project)}/-/merge_requests/{one.iid}"
    return {
        "id": project.id * 100_000 + one.iid,
        "iid": one.iid,
        "project_id": project.id,
        "title": one.title,
        "description": "",
        "state": one.state,
        "created_at": stamp_of(one.created),
        "updated_at": stamp_of(one.created),
        "source_branch": one.source,
        "target_branch": one.target,
        "source_project_id": project.id,
        "target_project_id": project.id,
        "sha": world.git.refs(project).get(f"refs/heads/{one.source}"),
        "draft": False,
        "web_url": url,
        "references": {"short": f"!{one.iid}"},
    }
