"""What connections bring to the portal."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from portal.actor import Right
from portal.capability import Capability, NavigationEntry
from portal.connections.models import Application, Connection, GitLabServer, OutboundTry
from portal.connections.store import application_of
from portal.db import delete_of_connection, values_of

BUNDLED = (
    *("slug", "display_name", "method", "state", "attention", "external_url", "api_url", "service_username"),
    *("services", "hooks_wanted", "version_seen", "edition_seen", "checks", "steps_done", "row_version"),
    *("created_at", "updated_at", "authorized_at", "last_read_at"),
)


def bundle(session: Session, connection: Connection) -> dict[str, Any]:
    """Return the connection and its application for the support bundle."""
    application = application_of(session, connection.id)
    return {
        "connection": {
            **values_of(connection, BUNDLED),
            "has_ca_certificate": bool(connection.ca_certificate),
            "has_proxy": bool(connection.proxy),
        },
        "application": {
            "client_id": application.client_id if application else "",
            "has_secret": bool(application and application.client_secret_sealed),
            "checked_at": application.checked_at if application else None,
        },
    }


CAPABILITY = Capability(
    name="connections",
    views="portal.connections.views",
    navigation={10: NavigationEntry("connections.index", "Connections", "plug-connected", Right.SEE_CONNECTIONS)},
    tables=(Application, Connection, GitLabServer, OutboundTry),
    erases=delete_of_connection(Application),
    bundle=bundle,
    actions={
        "application.checked": "had GitLab check the Application ID and Secret of {object}",
        "application.saved": "stored the Application ID and Secret of {object}",
        "connection.created": "started to connect {object}",
        "connection.discarded": "discarded the draft {object}",
        "connection.instance_changed": "changed how {object} is reached",
        "connection.renamed": "renamed {old} to {object}",
        "connection.service_user_changed": "changed the service user of {object} to @{new}",
        "connection.services_changed": "changed what {object} is used for",
        "gitlab_server.gateway_changed": "changed the gateway settings of {object}",
    },
)
