"""Project hooks over the API: stored and checked as GitLab does, but never delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, no_content, not_found
from portal.sandbox.api.hook_urls import is_allowed_url
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import maintained_project
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.bearer import caller
from portal.sandbox.hooks import Hook
from portal.sandbox.profiles import has
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

EVENTS = (
    *("push_events", "tag_push_events", "merge_requests_events", "repository_update_events", "issues_events"),
    *("confidential_issues_events", "note_events", "confidential_note_events", "pipeline_events", "wiki_page_events"),
    *("deployment_events", "feature_flag_events", "job_events", "releases_events"),
)
NEWER_EVENTS = ("emoji_events", "milestone_events", "vulnerability_events", "resource_access_token_events")
BRANCH_STRATEGIES = ("wildcard", "regex", "all_branches")
MAX_CUSTOM_HEADERS = 20


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount them."""

    @blueprint.get("/projects/<project_id>/hooks")
    def list_hooks(project_id: str) -> Response:
        project = maintained_project(world, caller(world), project_id)
        rows, headers = offset_page(world, world.hooks.of_project(project.id))
        return answer([_entity(world, hook) for hook in rows], headers=headers)

    @blueprint.post("/projects/<project_id>/hooks")
    def create_hook(project_id: str) -> Response:
        project = maintained_project(world, caller(world), project_id)
        return answer(_entity(world, _create(world, project, params.body())), 201)

    @blueprint.get("/projects/<project_id>/hooks/<int:hook_id>")
    def show_hook(project_id: str, hook_id: int) -> Response:
        return answer(_entity(world, _existing(world, project_id, hook_id)))

    @blueprint.put("/projects/<project_id>/hooks/<int:hook_id>")
    def change_hook(project_id: str, hook_id: int) -> Response:
        hook, body = _existing(world, project_id, hook_id), params.body()
        if not body:
            raise ApiError(400, {"error": "No parameters provided"})
        _change(world, hook, body)
        return answer(_entity(world, hook))

    @blueprint.delete("/projects/<project_id>/hooks/<int:hook_id>")
    def delete_hook(project_id: str, hook_id: int) -> Response:
        hook = _existing(world, project_id, hook_id)
        world.hooks.remove(hook.project_id, hook.id)
        return no_content()


def _existing(world: World, project_id: str, hook_id: int) -> Hook:
    project = maintained_project(world, caller(world), project_id)
    hook = world.hooks.find(project.id, hook_id)
    if hook is None:
        raise not_found()
    return hook


def _create(world: World, project: Project, body: dict[str, Any]) -> Hook:
    if "url" not in body:
        raise params.refused("url", "is missing")
    _check(world, body)
    limit = world.settings.max_project_hooks
    if len(world.hooks.of_project(project.id)) >= limit:
        raise ApiError(422, {"message": {"base": [f"Maximum number of project hooks ({limit}) exceeded"]}})
    hook = world.hooks.add(project.id, str(body["url"]), world.now())
    hook.flags["push_events"] = True
    _set(world, hook, body)
    return hook


def _change(world: World, hook: Hook, body: dict[str, Any]) -> None:
    _check(world, body)
    if "url" in body and str(body["url"]) != hook.url:
        # Otherwise anyone who may edit the hook could have the secret sent to their own server.
        hook.url, hook.token, hook.signing_token = str(body["url"]), "", ""
        hook.details.pop("custom_headers", None)
        hook.details.pop("url_variables", None)
    _set(world, hook, body)


def _check(world: World, body: dict[str, Any]) -> None:
    """Refuse a bad URL, branch filter or custom header. Raises ApiError 422."""
    if "url" in body and not is_allowed_url(str(body["url"]), world.settings):
        raise ApiError(422, {"error": "Invalid url given"})
    strategy = body.get("branch_filter_strategy", "wildcard")
    branch_filter = str(body.get("push_events_branch_filter") or "")
    if strategy not in BRANCH_STRATEGIES:
        raise params.refused("branch_filter_strategy", "does not have a valid value")
    if " " in branch_filter or ".." in branch_filter:
        raise ApiError(422, {"error": "Invalid branch filter given"})
    headers = body.get("custom_headers") or []
    if has(world, "custom_headers") and (
        len(headers) > MAX_CUSTOM_HEADERS
        or not all(isinstance(row, dict) and row.get("key") and "value" in row for row in headers)
    ):
        raise ApiError(422, {"error": "Custom headers validation failed"})


def _set(world: World, hook: Hook, body: dict[str, Any]) -> None:
    """Copy what this version knows; other members are silently ignored."""
    for name in _events(world):
        if name in body:
            hook.flags[name] = params.truth(name, body[name])
    if "enable_ssl_verification" in body:
        hook.enable_ssl_verification = params.truth("enable_ssl_verification", body["enable_ssl_verification"])
    hook.token = str(body.get("token") or "") if "token" in body else hook.token
    if has(world, "signing_token") and "signing_token" in body:
        hook.signing_token = str(body["signing_token"] or "")
    for name in _details(world):
        if name in body:
            hook.details[name] = body[name]


def _events(world: World) -> tuple[str, ...]:
    return EVENTS + tuple(name for name in NEWER_EVENTS if has(world, name))


def _details(world: World) -> dict[str, Any]:
    """Return the other members this version knows, with their defaults."""
    defaults: dict[str, Any] = {"push_events_branch_filter": ""}
    if has(world, "hook_names"):
        defaults |= {"name": None, "description": None}
    if has(world, "branch_filter_strategy"):
        defaults["branch_filter_strategy"] = "wildcard"
    if has(world, "url_variables"):
        defaults["url_variables"] = []
    if has(world, "custom_webhook_template"):
        defaults["custom_webhook_template"] = None
    if has(world, "custom_headers"):
        defaults["custom_headers"] = []
    return defaults


def _entity(world: World, hook: Hook) -> dict[str, Any]:
    details = _details(world) | hook.details
    for secret in ("custom_headers", "url_variables"):
        if secret in details:
            details[secret] = [{"key": row.get("key")} for row in details[secret] if isinstance(row, dict)]
    body = {
        "id": hook.id,
        "url": hook.url,
        "created_at": stamp(hook.created_at),
        "project_id": hook.project_id,
        "enable_ssl_verification": hook.enable_ssl_verification,
        "alert_status": "executable",
        "disabled_until": None,
        **{name: hook.flags.get(name, False) for name in _events(world)},
        **details,
    }
    if has(world, "signing_token"):
        body |= {"token_present": bool(hook.token), "signing_token_present": bool(hook.signing_token)}
    return body
