"""What support needs to know about a connection, as JSON, without any secret.

Each capability adds its sections, field by field: a field that is not named is not included.
"""

from __future__ import annotations

import platform
from datetime import datetime
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from portal import audit
from portal.actor import Principal
from portal.connections.store import get_connection_for_admin
from portal.db import utc_now
from portal.foreign import clean
from portal.runtime import Runtime

MAX_TEXT = 2000
PACKAGES = ("gatehouse", "flask", "sqlalchemy", "sqlmodel", "httpx2", "cryptography", "dbos", "authlib")
SETTINGS = (
    *("base_url", "network_policy", "outbound_ports", "allow_http", "sandbox_origin", "trusted_proxy_hops"),
    *("session_idle_minutes", "session_absolute_hours", "plan", "log_level", "embedded_worker", "catalogue_lanes"),
    *("smtp_port", "smtp_security"),
)
CONNECTION = (
    *("slug", "display_name", "method", "state", "attention", "external_url", "api_url", "service_username"),
    *("services", "hooks_wanted", "version_seen", "edition_seen", "checks", "steps_done", "row_version"),
    *("created_at", "updated_at", "authorized_at", "last_read_at"),
)
CREDENTIAL = (
    *("method", "origin", "scopes", "expires_at", "gitlab_user_id", "gitlab_username", "generation", "obtained_at"),
    *("state", "refresh_at", "refreshed_at", "lease_owner", "lease_until", "intent_at", "failures"),
    *("cooldown_until", "failure", "failed_at"),
)
EVENT = ("at", "kind", "generation", "process", "reason", "details")
WATCH = ("state", "since", "checked_at", "answered_at", "due_at", "addresses")
CHECK = ("key", "at", "seen_at", "state", "note", "params", "card", "is_current")
INCIDENT = (
    *("cause", "check_key", "level", "layer", "card", "phase", "count", "last_failed_at", "opened_at", "closed_at"),
    *("alarmed_at", "alarm_mailed_at", "end_mailed_at"),
)
JOB = (
    *("public_id", "name", "title", "state", "done", "total", "message", "failure", "attempts", "request_id"),
    *("created_at", "started_at", "finished_at"),
)


def make_bundle(runtime: Runtime, principal: Principal, slug: str) -> dict[str, Any]:
    """Collect the bundle of one connection and record in the audit log who took it.

    Raises:
        NotFound: there is none that this person manages.
    """
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"  # The portal itself, if it runs from a checkout.
    settings = runtime.settings
    collected: dict[str, Any] = {
        "gatehouse": {
            "made_at": utc_now(),
            "python": platform.python_version(),
            "packages": packages,
            "database": runtime.database.engine.dialect.name,
            "settings": {
                **{name: getattr(settings, name) for name in SETTINGS},
                "has_mail_server": bool(settings.smtp_host),
                "has_mail_password": bool(settings.smtp_password),
            },
        }
    }
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        for capability in runtime.capabilities.all:
            if capability.bundle:
                collected |= capability.bundle(session, connection)
        audit.record(session, principal.actor, "support_bundle.taken", connection.target)
    # Nothing above names a secret; this removes one that an earlier version let in with a foreign text.
    cleaned: dict[str, Any] = _clean(collected)
    return cleaned


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _clean(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or (isinstance(value, (bool, int, float)) and not isinstance(value, Enum)):
        return value
    return clean(str(value), MAX_TEXT)
