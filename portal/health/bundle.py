"""What support needs to know about a connection, as JSON, without any secret.

Rows are written field by field from the lists below: a field that is not named is not included.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlmodel import Session, SQLModel, col, select

from portal import audit
from portal.actor import Principal
from portal.connections.models import Connection
from portal.connections.store import application_of, get_connection_for_admin
from portal.credentials.models import Credential, CredentialEvent
from portal.db import utc_now
from portal.foreign import clean
from portal.health.models import HealthCheck, HealthWatch, Incident
from portal.jobs.models import Job
from portal.runtime import Runtime

MAX_ROWS = 500
MAX_JOBS = 50
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
CHECK = ("key", "at", "seen_at", "state", "detail", "card", "is_current")
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
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        collected = {"gatehouse": _portal(runtime), **_collect(session, connection)}
        audit.record(session, principal.actor, "support_bundle.taken", connection.target)
    # Nothing above names a secret; this removes one that an earlier version let in with a foreign text.
    cleaned: dict[str, Any] = _clean(collected)
    return cleaned


def _collect(session: Session, connection: Connection) -> dict[str, Any]:
    mine = connection.id
    application = application_of(session, mine)
    credential = session.exec(select(Credential).where(Credential.connection_id == mine)).first()
    events = select(CredentialEvent).where(CredentialEvent.credential_id == (credential.id if credential else 0))
    jobs = select(Job).where(Job.subject == f"connection:{mine}")
    jobs = jobs.where(Job.organization_id == connection.organization_id)
    checks = select(HealthCheck).where(HealthCheck.connection_id == mine)
    incidents = select(Incident).where(Incident.connection_id == mine)
    watch = session.get(HealthWatch, mine)
    return {
        "connection": {
            **_fields(connection, CONNECTION),
            "has_ca_certificate": bool(connection.ca_certificate),
            "has_proxy": bool(connection.proxy),
        },
        "application": {
            "client_id": application.client_id if application else "",
            "has_secret": bool(application and application.client_secret_sealed),
            "checked_at": application.checked_at if application else None,
        },
        "credential": _fields(credential, CREDENTIAL) if credential else None,
        "history": _rows(session.exec(events.order_by(col(CredentialEvent.id).desc()).limit(MAX_ROWS)), EVENT),
        "watch": _fields(watch, WATCH) if watch else None,
        "checks": _rows(session.exec(checks.order_by(col(HealthCheck.id).desc()).limit(MAX_ROWS)), CHECK),
        "incidents": _rows(session.exec(incidents.order_by(col(Incident.id).desc()).limit(MAX_ROWS)), INCIDENT),
        "jobs": _rows(session.exec(jobs.order_by(col(Job.id).desc()).limit(MAX_JOBS)), JOB),
    }


def _portal(runtime: Runtime) -> dict[str, Any]:
    settings = runtime.settings
    return {
        "made_at": utc_now(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "database": runtime.database.engine.dialect.name,
        "settings": {
            **{name: getattr(settings, name) for name in SETTINGS},
            "has_mail_server": bool(settings.smtp_host),
            "has_mail_password": bool(settings.smtp_password),
        },
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"  # The portal itself, if it runs from a checkout.


def _rows(found: Iterable[Any], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [_fields(row, names) for row in found]


def _fields(row: SQLModel, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


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
