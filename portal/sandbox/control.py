"""Remote control of a sandbox: faults, switches and the request log over HTTP. Off by default.

Bodies are JSON, which a foreign page in someone's browser cannot send without being asked first (CORS).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue

from portal.sandbox.faults import Faults
from portal.sandbox.requestlog import RequestLog
from portal.sandbox.world import World


def register(app: Flask, world: World, faults: Faults, requests: RequestLog) -> None:
    """Mount `/-/sandbox/faults`, `/-/sandbox/requests` and `/-/sandbox/settings`."""
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

    app.register_blueprint(blueprint)


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
