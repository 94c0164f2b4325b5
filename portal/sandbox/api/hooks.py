"""Hooks of projects, groups (Premium) and the instance over the API: stored, checked, logged, tested and resent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, answer, forbidden, no_content, no_route, not_found
from portal.sandbox.api.hook_urls import blocked_because
from portal.sandbox.api.paging import offset_page
from portal.sandbox.api.places import find_group, maintained_project
from portal.sandbox.api.timestamps import stamp
from portal.sandbox.bearer import Caller, caller
from portal.sandbox.deliveries import INTERNAL_ERROR, is_signing_token
from portal.sandbox.groups import OWNER
from portal.sandbox.hooks import INSTANCE, Hook, Level, LoggedDelivery
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

EVENTS = (
    *("push_events", "tag_push_events", "merge_requests_events", "repository_update_events", "issues_events"),
    *("confidential_issues_events", "note_events", "confidential_note_events", "pipeline_events", "wiki_page_events"),
    *("deployment_events", "feature_flag_events", "job_events", "releases_events"),
)
NEWER_EVENTS = ("emoji_events", "milestone_events", "vulnerability_events", "resource_access_token_events")
SYSTEM_EVENTS = ("push_events", "tag_push_events", "merge_requests_events", "repository_update_events")
# What a new hook hears of unless told otherwise.
ON_AT_FIRST = {"project": "push_events", "group": "push_events", "system": "repository_update_events"}
BRANCH_STRATEGIES = ("wildcard", "regex", "all_branches")
MAX_CUSTOM_HEADERS = 20
LONGEST = {"name": 255, "description": 2048}
LOG_DAYS, LOG_PER_PAGE = 7, 20
LOG_WORDS = {"successful": range(200, 300), "client_failure": range(400, 500), "server_failure": range(500, 600)}
LOG_STATUSES = {str(status.value) for status in HTTPStatus} | set(LOG_WORDS)
TESTS_A_MINUTE = 5
TOO_MANY = "This endpoint has been requested too many times. Try again later."
# GitLab's test of a system hook always sends this.
SYSTEM_SAMPLE = {
    "event_name": "project_create",
    "name": "Ruby",
    "path": "ruby",
    "project_id": 1,
    "owner_name": "Someone",
    "owner_email": "example@gitlabhq.com",
}


@dataclass(frozen=True)
class _Owner:
    """Whose hooks an address means, for a caller who may manage them."""

    level: Level
    id: int
    who: Caller


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount the same addresses for projects and groups, and the fewer ones of the instance."""
    attempts = _Attempts(world)

    def project(place_id: str = "") -> _Owner:
        who = caller(world)
        return _Owner("project", maintained_project(world, who, place_id).id, who)

    def group(place_id: str = "") -> _Owner:
        if world.settings.edition == "ce":
            raise no_route()
        who = caller(world)
        found = find_group(world, who, place_id)
        owns = who.acts_as_admin or world.members.on_groups(who.user.id).get(found.id, 0) >= OWNER
        if not owns or not world.settings.group_hooks:
            raise forbidden()
        return _Owner("group", found.id, who)

    def instance() -> _Owner:
        who = caller(world)
        if not who.acts_as_admin:
            raise forbidden()
        return _Owner("system", INSTANCE, who)

    for kind, prefix, find in (
        ("project", "/projects/<place_id>", project),
        ("group", "/groups/<place_id>", group),
        ("system", "", instance),
    ):
        _mount(blueprint, world, kind, f"{prefix}/hooks", find)
        if kind == "system":
            _mount_system_test(blueprint, world, find)
        else:
            _mount_tests(blueprint, world, kind, f"{prefix}/hooks/<int:hook_id>", find, attempts)


def _mount(blueprint: Blueprint, world: World, kind: str, rule: str, find: Callable[..., _Owner]) -> None:
    def list_hooks(**place: str) -> Response:
        owner = find(**place)
        rows, headers = offset_page(world, world.hooks.of(owner.id, owner.level))
        return answer([_entity(world, hook) for hook in rows], headers=headers)

    def create_hook(**place: str) -> Response:
        return answer(_entity(world, _create(world, find(**place), params.body())), 201)

    def show_hook(hook_id: int, **place: str) -> Response:
        if kind == "system" and not has(world, "one_system_hook"):
            raise no_route()
        return answer(_entity(world, _existing(world, find(**place), hook_id)))

    def change_hook(hook_id: int, **place: str) -> Response:
        hook, body = _existing(world, find(**place), hook_id), params.body()
        if not body:
            raise ApiError(400, {"error": "No parameters provided"})
        _change(world, hook, body)
        return answer(_entity(world, hook))

    def delete_hook(hook_id: int, **place: str) -> Response:
        hook = _existing(world, find(**place), hook_id)
        world.hooks.remove(hook.owner_id, hook.id, hook.level)
        return no_content()

    one = f"{rule}/<int:hook_id>"
    blueprint.add_url_rule(rule, f"list_{kind}_hooks", list_hooks)
    blueprint.add_url_rule(rule, f"create_{kind}_hook", create_hook, methods=["POST"])
    blueprint.add_url_rule(one, f"show_{kind}_hook", show_hook)
    blueprint.add_url_rule(one, f"change_{kind}_hook", change_hook, methods=["PUT"])
    blueprint.add_url_rule(one, f"delete_{kind}_hook", delete_hook, methods=["DELETE"])


def _mount_system_test(blueprint: Blueprint, world: World, find: Callable[..., _Owner]) -> None:
    @blueprint.post("/hooks/<int:hook_id>")
    def test_system_hook(hook_id: int) -> Response:
        hook = _existing(world, find(), hook_id)
        world.deliveries.test(hook, "system_hooks", SYSTEM_SAMPLE)
        return answer(SYSTEM_SAMPLE, 201)


def _mount_tests(
    blueprint: Blueprint, world: World, kind: str, rule: str, find: Callable[..., _Owner], attempts: _Attempts
) -> None:
    def test_hook(place_id: str, hook_id: int, trigger: str) -> Response:
        if not has(world, "hook_tests"):
            raise no_route()
        owner = find(place_id=place_id)
        if trigger not in _events(world, owner.level):
            raise params.refused("trigger", "does not have a valid value")
        hook = _existing(world, owner, hook_id)
        attempts.count("test", owner)
        try:
            outcome = world.deliveries.test(hook, *world.activity.sample(hook, trigger, owner.who.user))
        except LookupError as error:
            raise ApiError(422, {"message": str(error)}) from error
        if outcome.status is None or not 200 <= outcome.status < 300:
            raise ApiError(422, {"message": outcome.message})
        return answer({"message": "201 Created"}, 201)

    def list_events(place_id: str, hook_id: int) -> Response:
        if not has(world, "hook_log"):
            raise no_route()
        hook = _existing(world, find(place_id=place_id), hook_id)
        size = params.whole_number("per_page")
        if size is not None and not 1 <= size <= LOG_PER_PAGE:
            raise params.refused("per_page", "does not have a valid value")
        wanted = [word for word in params.text("status").split(",") if word]
        if not LOG_STATUSES.issuperset(wanted):
            raise params.refused("status", "does not have a valid value")
        since = world.now() - timedelta(days=LOG_DAYS)
        logged = [row for row in reversed(hook.log) if row.at >= since and _is_of(row, wanted)]
        rows, headers = offset_page(world, logged)
        return answer([_logged(row) for row in rows], headers=headers)

    def resend(place_id: str, hook_id: int, event_id: int) -> Response:
        if not has(world, "hook_resend"):
            raise no_route()
        owner = find(place_id=place_id)
        hook = _existing(world, owner, hook_id)
        attempts.count("resend", owner)
        logged = next((row for row in hook.log if row.id == event_id), None)
        if logged is None:
            raise not_found()
        outcome = world.deliveries.resend(hook, logged)
        if outcome.status is None:
            raise ApiError(422, {"message": outcome.message})
        return answer({"response_status": outcome.status}, 201)

    blueprint.add_url_rule(f"{rule}/test/<trigger>", f"test_{kind}_hook", test_hook, methods=["POST"])
    blueprint.add_url_rule(f"{rule}/events", f"list_{kind}_hook_events", list_events)
    event = f"{rule}/events/<int:event_id>/resend"
    blueprint.add_url_rule(event, f"resend_{kind}_hook_event", resend, methods=["POST"])


class _Attempts:
    """Counts tests and resends: five a minute for each person and place."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, Level, int, int, int]] = Counter()

    def count(self, what: str, owner: _Owner) -> None:
        """Count one. Raises ApiError 429, which has neither rate headers nor `Retry-After`."""
        minute = int(self._world.now().timestamp()) // 60
        key = (what, owner.level, owner.id, owner.who.user.id, minute)
        with self._lock:
            self._counts[key] += 1
            if self._counts[key] > TESTS_A_MINUTE:
                raise ApiError(429, {"message": {"error": TOO_MANY}})


def _is_of(row: LoggedDelivery, wanted: list[str]) -> bool:
    if not wanted:
        return True
    code = int(row.status) if row.status.isdecimal() else 0
    if row.status == INTERNAL_ERROR:
        return "server_failure" in wanted
    return any(row.status == word or code in LOG_WORDS.get(word, ()) for word in wanted)


def _logged(row: LoggedDelivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "trigger": row.trigger,
        "request_headers": row.request_headers,
        "request_data": row.request_data,
        "response_headers": row.response_headers,
        "response_body": row.response_body,
        "execution_duration": round(row.duration, 6),
        "response_status": row.status,
    }


def _existing(world: World, owner: _Owner, hook_id: int) -> Hook:
    hook = world.hooks.find(owner.id, hook_id, owner.level)
    if hook is None:
        raise not_found()
    return hook


def _create(world: World, owner: _Owner, body: dict[str, Any]) -> Hook:
    if "url" not in body:
        raise params.refused("url", "is missing")
    _check(world, owner.level, body)
    limit = world.settings.max_project_hooks
    if owner.level == "project" and len(world.hooks.of_project(owner.id)) >= limit:
        raise ApiError(422, {"message": {"base": [f"Maximum number of project hooks ({limit}) exceeded"]}})
    hook = world.hooks.add(owner.id, str(body["url"]), world.now(), owner.level)
    hook.flags[ON_AT_FIRST[owner.level]] = True
    _set(world, hook, body)
    return hook


def _change(world: World, hook: Hook, body: dict[str, Any]) -> None:
    _check(world, hook.level, body)
    if "url" in body and str(body["url"]) != hook.url:
        # Otherwise anyone who may edit the hook could have the secret sent to their own server.
        hook.url, hook.token, hook.signing_token = str(body["url"]), "", ""
        hook.details.pop("custom_headers", None)
        hook.details.pop("url_variables", None)
    _set(world, hook, body)


def _check(world: World, level: Level, body: dict[str, Any]) -> None:
    """Refuse a bad URL, branch filter, custom header, name or signing token. Raises ApiError 422, or 400."""
    if "url" in body and blocked_because(str(body["url"]), world.settings, system=level == "system"):
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
    for name, longest in LONGEST.items():
        if has(world, "hook_names") and len(str(body.get(name) or "")) > longest:
            raise ApiError(422, {"message": {name: [f"is too long (maximum is {longest} characters)"]}})
    signing_token = str(body.get("signing_token") or "")
    if has(world, "signing_token") and signing_token and not is_signing_token(signing_token):
        raise ApiError(422, {"message": {"signing_token": ["is invalid"]}})


def _set(world: World, hook: Hook, body: dict[str, Any]) -> None:
    """Copy what this version knows; other members are silently ignored."""
    for name in _events(world, hook.level):
        if name in body:
            hook.flags[name] = params.truth(name, body[name])
    if "enable_ssl_verification" in body:
        hook.enable_ssl_verification = params.truth("enable_ssl_verification", body["enable_ssl_verification"])
    hook.token = str(body.get("token") or "") if "token" in body else hook.token
    if has(world, "signing_token") and "signing_token" in body:
        hook.signing_token = str(body["signing_token"] or "")
    for name in _details(world):
        if name in ("custom_headers", "url_variables") and body.get(name):
            # Rows that are not sent again stay; only their own addresses remove them.
            sent = {row["key"] for row in body[name]}
            kept = [row for row in hook.details.get(name) or [] if row["key"] not in sent]
            hook.details[name] = kept + [{"key": row["key"], "value": row["value"]} for row in body[name]]
        elif name in body:
            hook.details[name] = body[name]


def _events(world: World, level: Level) -> tuple[str, ...]:
    if level == "system":
        return SYSTEM_EVENTS
    of_groups = ("subgroup_events", "member_events", *(("project_events",) if has(world, "project_events") else ()))
    newer = tuple(name for name in NEWER_EVENTS if has(world, name))
    return EVENTS + newer + (of_groups if level == "group" else ())


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
        "enable_ssl_verification": hook.enable_ssl_verification,
        **{name: hook.flags.get(name, False) for name in _events(world, hook.level)},
        **details,
    }
    if hook.level != "system":
        body[f"{hook.level}_id"] = hook.owner_id
    if has(world, "alert_status"):
        status = world.deliveries.alert_status(hook)
        until = hook.disabled_until if status == "temporarily_disabled" else None
        body |= {"alert_status": status, "disabled_until": stamp(until) if until else None}
    if has(world, "signing_token"):
        body |= {"token_present": bool(hook.token), "signing_token_present": bool(hook.signing_token)}
    return body
