"""Health's panel on a connection's details page: how it is, since when, and the way to the page."""

from __future__ import annotations

from portal.accounts.principal import Principal
from portal.connections import panels
from portal.connections.models import Connection
from portal.health.service import is_watched
from portal.health.status import load_health
from portal.runtime import Runtime

ORDER = 10


def register() -> None:
    """Add the panel; called once per application."""
    panels.add(ORDER, health_panel)


def health_panel(runtime: Runtime, principal: Principal, connection: Connection) -> panels.Panel | None:
    """Return the state; None for a connection that is not checked."""
    if not is_watched(connection):
        return None
    return panels.Panel("health/_details.html", {"health": load_health(runtime, principal, connection)})
