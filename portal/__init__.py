"""Gatehouse: connects a self-hosted GitLab to the software that needs it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from portal.accounts.sessions import SessionRows
from portal.capability import Capabilities
from portal.db import Database
from portal.installation import look_for_copy
from portal.logs import configure_logs, get_logger
from portal.net import NetworkPolicy, OutboundClient, RequestBudgets
from portal.preflight import check_ground
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing, Vault
from portal.vault.keyring import is_in_environment
from portal.web import assets, error_pages, htmx, times
from portal.web.current import attach_runtime
from portal.web.register import register as register_web

# Lowest first. A new capability is a package with a `capability.py`, and a line here.
NAMES = (
    "jobs",
    "accounts",
    "audit_log",
    "connections",
    "budgets",
    "provisioning",
    "credentials",
    "access_tokens",
    "authorization",
    "repositories",
    "webhooks",
    "ingestion",
    "reports",
    "sync",
    "gitops",
    "handover",
    "disconnection",
    "health",
    "copies",
)
# Between two collections of Python's garbage collector.
NEW_OBJECTS = 10_000
CAPABILITIES = Capabilities(tuple(import_module(f"portal.{name}.capability").CAPABILITY for name in NAMES))


def build_runtime(settings: Settings) -> Runtime:
    """Open the key ring, the database and the outbound client.

    Raises:
        KeyRingError: the key ring is missing, readable by others, or malformed.
    """
    # A page makes thousands of objects that live until it is done. Looking for garbage after each 700 of them, as
    # Python does, takes a fifth of the time of a read of GitLab, and an eighth of that of a page.
    gc.set_threshold(NEW_OBJECTS)
    path = settings.resolved_key_file
    database = Database(settings.resolved_database_url)
    return Runtime(
        settings=settings,
        database=database,
        vault=Vault(KeyRing.from_settings(path), None if is_in_environment() else path),
        outbound=OutboundClient(NetworkPolicy.from_settings(settings), budgets=RequestBudgets(database)),
        capabilities=CAPABILITIES,
    )


@contextmanager
def opened_runtime() -> Iterator[Runtime]:
    """Yield a runtime for one command, built from the environment; close it at the end.

    Raises:
        SettingsError: a setting is wrong, or what it leads to cannot be used.
        KeyRingError: the key ring cannot be used.
    """
    settings = Settings.from_environ()
    check_ground(settings)
    runtime = build_runtime(settings)
    try:
        yield runtime
    finally:
        runtime.database.close()


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
    register_web(app, runtime, SessionRows(runtime))
    for capability in runtime.capabilities.all:
        if capability.views:
            import_module(capability.views).register(app, runtime)
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
