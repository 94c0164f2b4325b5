"""Gatehouse: connects a self-hosted GitLab to the software that needs it."""

from __future__ import annotations

from importlib import import_module

from flask import Flask

from portal import assets, error_pages, htmx, times
from portal.logs import configure_logs
from portal.runtime import Runtime, attach_runtime, build_runtime
from portal.security import register as register_security
from portal.settings import Settings

# Lowest first; each has a `views.py` with `register(app, runtime)`.
CAPABILITIES = (
    "accounts",
    "audit",
    "jobs",
    "connections",
    "authorization",
    "repositories",
    "disconnection",
    "health",
    "backup",
)


def create_app(settings: Settings | None = None, runtime: Runtime | None = None) -> Flask:
    """Build the portal's web application: configure, register, return."""
    runtime = runtime or build_runtime(settings or Settings.from_environ())
    # Before anything can fail: the libraries' own ways of printing errors show local variables, secrets included.
    configure_logs(runtime.settings.log_level)
    app = Flask("portal", template_folder=str(assets.TEMPLATES), static_folder=None)
    attach_runtime(app, runtime)
    runtime.shutdown.begin_with_server()
    app.jinja_options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    for ground in (assets, htmx, error_pages, times):
        ground.register(app)
    register_security(app, runtime)
    for capability in CAPABILITIES:
        import_module(f"portal.{capability}.views").register(app, runtime)
    return app
