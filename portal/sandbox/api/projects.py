"""`/projects`: lists and single projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import answer, no_route, raw_answer
from portal.sandbox.api.places import find_group, find_project
from portal.sandbox.api.project_entity import ProjectWriter
from portal.sandbox.api.project_lists import answer_list, project_filter
from portal.sandbox.bearer import optional_caller
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/projects")
    def list_projects() -> Response:
        who = optional_caller(world)
        writer = ProjectWriter(world, who, simple=bool(params.flag("simple")))
        if params.flag("statistics"):
            writer = writer.with_statistics()
        return answer_list(world, project_filter(world, who), writer, keyset_allowed=True)

    @blueprint.get("/projects/<project_id>")
    def show_project(project_id: str) -> Response:
        who = optional_caller(world)
        project = find_project(world, who, project_id)
        writer = ProjectWriter(world, who, simple=False)
        if params.flag("statistics"):
            writer = writer.with_statistics()
        return raw_answer(writer.one(project, single=True))

    @blueprint.get("/projects/<project_id>/languages")
    def languages(project_id: str) -> Response:
        if not has(world, "languages"):
            raise no_route()
        project = find_project(world, optional_caller(world), project_id)
        return answer({} if project.empty or not project.topics else {project.topics[0].title(): 100.0})

    @blueprint.get("/groups/<group_id>/projects")
    def list_group_projects(group_id: str) -> Response:
        who = optional_caller(world)
        group = find_group(world, who, group_id)
        ids = {group.id}
        if params.flag("include_subgroups"):
            ids |= {child.id for child in world.groups.descendants(group.id)}
        with_shared = params.flag("with_shared")
        wanted = project_filter(
            world, who, group_ids=frozenset(ids), with_shared=True if with_shared is None else with_shared
        )
        writer = ProjectWriter(world, who, simple=bool(params.flag("simple")), permissions=False)
        return answer_list(world, wanted, writer, keyset_allowed=False)
