"""The sandbox: a simulated GitLab that speaks HTTP, for newcomers, tests and benchmarks. Loopback only."""

from __future__ import annotations

import secrets

from flask import Flask

from portal.sandbox.faults import Faults
from portal.sandbox.options import SandboxOptions
from portal.sandbox.requestlog import RequestLog
from portal.sandbox.world import World

__all__ = ["SandboxOptions", "World", "create_sandbox"]


def create_sandbox(
    options: SandboxOptions | None = None,
    world: World | None = None,
    *,
    faults: Faults | None = None,
    requests: RequestLog | None = None,
) -> Flask:
    """Build the simulator's web application over `world`, or over a new one.

    The server implements faults and the request log; here they are only offered for remote control.
    """
    from portal.sandbox import api, control
    from portal.sandbox.api import git_http
    from portal.sandbox.oauth import views as oauth
    from portal.sandbox.web import views as web

    world = world or World(options)
    app = Flask("portal.sandbox", static_folder=None, template_folder=None)
    app.secret_key = secrets.token_hex(32)
    git_http.register(app, world)
    for part in (api, oauth, web):
        part.register(app, world)
    if world.options.control:
        control.register(app, world, faults or Faults(), requests or RequestLog())
    return app
