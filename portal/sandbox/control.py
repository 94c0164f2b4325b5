"""Remote control of a sandbox: faults, switches and the request log over HTTP. Off by default.

Bodies are JSON, which a foreign page in someone's browser cannot send without being asked first (CORS).
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any

from flask import Blueprint, Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue

from portal.sandbox.faults import Faults
from portal.sandbox.requestlog import RequestLog
from portal.sandbox.world import World


def register(app: Flask, world: World, faults: Faults, requests: RequestLog) -> None:
    """Mount `/-/sandbox/faults`, `requests`, `settings`, `tokens`, `events` and `changes`: these two fire hooks."""
    blueprint = Blueprint("control", __name__, url_prefix=f"{world.options.relative_root}/-/sandbox")
    _add_faults(blueprint, faults)
    _add_requests(blueprint, requests)

    @blueprint.post("/settings")
    def change_settings() -> ResponseReturnValue:
        try:
            world.change_settings(**_json_object())
        except AttributeError as error:
            abort(422, str(error))
        return "", 204

    @blueprint.post("/tokens")
    def issue_token() -> ResponseReturnValue:
        """Issue a token of any `kind`; the rest are arguments of the world's methods, people and places by name."""
        details = _json_object()
        try:
            return jsonify({"token": _issue(world, str(details.pop("kind", "personal")), details)}), 201
        except (LookupError, TypeError, ValueError) as error:
            abort(422, str(error))

    @blueprint.post("/events")
    def make_event() -> ResponseReturnValue:
        """Let something happen in a project: `kind` is a method of `Activity`, the rest are its arguments."""
        details = _json_object()
        happenings = {"push", "issue", "merge_request", "comment"}
        try:
            kind = str(details.pop("kind", "push"))
            if kind not in happenings:
                raise LookupError(f"no event {kind}")
            project = world.project(details.pop("project"))
            getattr(world.activity, kind)(project.id, *details.pop("branches", ()), **details)
        except (LookupError, TypeError) as error:
            abort(422, str(error))
        return "", 204

    @blueprint.post("/changes")
    def make_changes() -> ResponseReturnValue:
        """Let `count` things happen in the histories of some `projects`; return how many of each kind."""
        details = _json_object()
        try:
            ids = [world.project(named).id for named in details["projects"]]
            return jsonify(world.histories.change_many(int(details["count"]), ids))
        except (LookupError, TypeError, ValueError) as error:
            abort(422, str(error))

    @blueprint.post("/hooks/release")
    def release_hooks() -> ResponseReturnValue:
        """Send the deliveries that `hold_hooks` keeps, in the order they came or `reversed`."""
        order = _json_object().get("order", "sent")
        if order not in ("sent", "reversed"):
            abort(422, "the order is sent or reversed")
        return jsonify({"released": world.deliveries.release(order)})

    app.register_blueprint(blueprint)


def _issue(world: World, kind: str, details: dict[str, Any]) -> str:
    if "expires_at" in details:
        details["expires_at"] = date.fromisoformat(details["expires_at"])
    if kind == "other":
        return world.other_secret(str(details["name"]))
    if kind == "project":
        return world.create_project_token(world.project(details.pop("project")), **details)
    if kind == "group":
        return world.create_group_token(world.group(details.pop("group")), **details)
    if kind == "service_account":
        return world.create_service_account_token(**details)
    user = world.user_by_username(details.pop("username", "root"))
    if user is None:
        raise LookupError("no such user")
    if kind == "fine_grained":
        places = [world.group_by_path(path) or world.project(path) for path in details.pop("on", ())]
        return world.create_fine_grained_token(user, details.pop("permissions"), on=places, **details)
    return world.create_personal_token(user, **details)


def _add_faults(blueprint: Blueprint, faults: Faults) -> None:
    @blueprint.post("/faults")
    def add_fault() -> ResponseReturnValue:
        try:
            faults.add(**_json_object())
        except TypeError as error:
            abort(422, str(error))
        return "", 204

    @blueprint.post("/faults/release")
    def release_held_requests() -> ResponseReturnValue:
        faults.release()
        return "", 204

    @blueprint.delete("/faults")
    def clear_faults() -> ResponseReturnValue:
        faults.clear()
        return "", 204


def _add_requests(blueprint: Blueprint, requests: RequestLog) -> None:
    @blueprint.get("/requests")
    def list_requests() -> ResponseReturnValue:
        seen = requests.all(request.args.get("path", "*"), request.args.get("method"))
        return jsonify([asdict(row) | {"body": row.body.decode(errors="replace"), "form": row.form} for row in seen])

    @blueprint.delete("/requests")
    def clear_requests() -> ResponseReturnValue:
        requests.clear()
        return "", 204


def _json_object() -> dict[str, Any]:
    body = request.get_json()
    if not isinstance(body, dict):
        abort(422, "a JSON object is expected")
    return body
