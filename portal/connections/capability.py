"""What connections bring to the portal."""

from __future__ import annotations

from portal.capability import Capability
from portal.connections.models import Application, Connection, OutboundTry

CAPABILITY = Capability(
    name="connections",
    views="portal.connections.views",
    tables=(Application, Connection, OutboundTry),
    actions={
        "application.checked": "had GitLab check the Application ID and Secret of {object}",
        "application.saved": "stored the Application ID and Secret of {object}",
        "connection.created": "started to connect {object}",
        "connection.discarded": "discarded the draft {object}",
        "connection.instance_changed": "changed how {object} is reached",
        "connection.renamed": "renamed {old} to {object}",
        "connection.service_user_changed": "changed the service user of {object} to @{new}",
        "connection.services_changed": "changed what {object} is used for",
    },
)
