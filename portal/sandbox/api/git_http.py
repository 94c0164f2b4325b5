"""Git's smart HTTP protocol below a project's path, with GitLab's answers (docs.gitlab.com/topics/git/clone)."""

from __future__ import annotations

import base64
import binascii
import gzip
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, request

from portal.sandbox.api.answers import ApiError
from portal.sandbox.api.places import level_of, may_read_code, may_see
from portal.sandbox.bearer import Caller, caller_of_token
from portal.sandbox.groups import DEVELOPER

if TYPE_CHECKING:
    from portal.sandbox.world import World

DENIED = (
    "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or "
    "you're required to use a token instead of a password. If a token was provided, it was either incorrect, expired, "
    "or improperly scoped. See {url}/help/topics/git/troubleshooting_git.md"
)
HIDDEN = "The project you were looking for could not be found or you don't have permission to view it."
NO_DOWNLOAD = "You are not allowed to download code from this project."
NO_PUSH = "You are not allowed to push code to this project."
ARCHIVED = "The project is archived. You cannot push to it."
READS, WRITES = {"api", "read_api", "read_repository", "write_repository"}, {"api", "write_repository"}
SERVICES = ("git-upload-pack", "git-receive-pack")


def register(app: Flask, world: World) -> None:
    """Mount it."""
    blueprint = Blueprint("git_http", __name__, url_prefix=world.settings.relative_root or None)

    @blueprint.get("/<path:full_path>.git/info/refs")
    def info_refs(full_path: str) -> Response:
        return _serve(world, full_path, "/info/refs", request.args.get("service", ""))

    @blueprint.post("/<path:full_path>.git/<service>")
    def exchange(full_path: str, service: str) -> Response:
        return _serve(world, full_path, f"/{service}", service)

    app.register_blueprint(blueprint)


def _serve(world: World, full_path: str, place: str, service: str) -> Response:
    if service not in SERVICES:
        return _text("Not found", 404)
    is_push = service == "git-receive-pack"
    try:
        who = _caller(world)
    except ApiError:
        return _denied(world)
    project = world.projects.by_path(full_path)
    if who is not None and not (WRITES if is_push else READS) & set(who.scopes):
        return _denied(world)
    if project is None or not may_see(world, who, project):
        return _denied(world) if who is None else _text(HIDDEN, 404)
    if not may_read_code(world, who, project):
        return _denied(world) if who is None else _text(NO_DOWNLOAD, 403)
    level = 50 if who is not None and who.acts_as_admin else level_of(world, who, project)
    if is_push and (who is None or level < DEVELOPER):
        return _denied(world) if who is None else _text(NO_PUSH, 403)
    if is_push and project.archived:
        return _text(ARCHIVED, 403)
    body = request.get_data()
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    variables = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": place,
        "QUERY_STRING": request.query_string.decode(),
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
    }
    head, _, answer = world.git.serve(project, variables, body, who.user if who else None, level).partition(b"\r\n\r\n")
    response = Response(answer, 200)
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "status":
            response.status_code = int(value[:3])
        elif name and name.lower() != "content-length":
            response.headers[name] = value
    return response


def _caller(world: World) -> Caller | None:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(text).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise ApiError(401, {}) from None
    return caller_of_token(world, text) if text else None


def _denied(world: World) -> Response:
    response = _text(DENIED.format(url=world.settings.external_url), 401)
    response.headers["WWW-Authenticate"] = 'Basic realm="GitLab"'
    return response


def _text(words: str, status: int) -> Response:
    return Response(words, status, content_type="text/plain; charset=utf-8")
