"""The sandbox: a simulated GitLab that speaks HTTP, for newcomers, tests and benchmarks. Loopback only."""

from __future__ import annotations

import secrets

from flask import Flask

from portal.sandbox.options import SandboxOptions
from portal.sandbox.world import World

__all__ = ["SandboxOptions", "World", "create_sandbox"]


def create_sandbox(options: SandboxOptions | None = None, world: World | None = None) -> Flask:
    """Build the simulator's web application over `world`, or over a fresh one."""
    from portal.sandbox.api import register as register_api  # noqa: PLC0415 - the world alone needs no Flask
    from portal.sandbox.oauth.views import register as register_oauth  # noqa: PLC0415
    from portal.sandbox.web.views import register as register_web  # noqa: PLC0415

    world = world or World(options)
    app = Flask("portal.sandbox", static_folder=None, template_folder=None)
    app.secret_key = secrets.token_hex(32)
    app.extensions["sandbox.world"] = world
    for register in (register_api, register_oauth, register_web):
        register(app, world)
    return app
