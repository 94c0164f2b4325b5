"""Gatehouse: connects a self-hosted GitLab to the software that needs it."""

from __future__ import annotations

from importlib import import_module

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from portal.accounts.sessions import DatabaseSessions
from portal.installation import look_for_copy
from portal.logs import configure_logs, get_logger
from portal.runtime import Runtime, build_runtime
from portal.settings import Settings
from portal.web import assets, error_pages, htmx, times
from portal.web.current import attach_runtime
from portal.web.register import register as register_web

# Lowest first; each has a `views.py` with `register(app, runtime)`.
CAPABILITIES = (
    "accounts",
    "audit_log",
    "jobs",
    "connections",
    "authorization",
    "repositories",
    "disconnection",
    "health",
    "operation.backup",
)


def create_app(settings: Settings | None = None, runtime: Runtime | None = None) -> Flask:
    """Build the portal's web application: configure, register, return."""
    is_started_alone = runtime is None
    runtime = runtime or build_runtime(settings or Settings.from_environ())
    # Before anything can fail: the libraries' own ways of printing errors show local variables, secrets included.
    configure_logs(runtime.settings.log_level)
    if is_started_alone:
        _look_for_copy(runtime)
    app = Flask("portal", template_folder=str(assets.TEMPLATES), static_folder=None)
    attach_runtime(app, runtime)
    runtime.shutdown.begin_with_server()
    app.jinja_options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    for ground in (assets, htmx, error_pages, times):
        ground.register(app)
    register_web(app, runtime, DatabaseSessions(runtime))
    for capability in CAPABILITIES:
        import_module(f"portal.{capability}.views").register(app, runtime)
    return app


def _look_for_copy(runtime: Runtime) -> None:
    """Let the first page already say that this is a copy; every refresh looks again anyway."""
    try:
        look_for_copy(runtime.database)
    except (SQLAlchemyError, OSError) as error:
        # If the database is unreachable, the pages say so, and this process need not be restarted.
        get_logger(__name__).warning("copy_not_looked_for", error=type(error).__name__)
    finally:
        runtime.database.close()  # A web server may fork after this.
