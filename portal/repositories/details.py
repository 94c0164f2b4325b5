"""The repositories' panel on a connection's details page."""

from __future__ import annotations

from portal.accounts.principal import Principal
from portal.connections import panels
from portal.connections.models import Connection
from portal.repositories.panel import load_panel
from portal.repositories.service.selection import View
from portal.runtime import Runtime

ORDER = 30


def register() -> None:
    """Add the panel; called once per application."""
    panels.add(ORDER, repositories_panel)


def repositories_panel(runtime: Runtime, principal: Principal, connection: Connection) -> panels.Panel | None:
    """Return counts, the last read and the way to the selection; None before the first authorization."""
    if connection.authorized_at is None:
        return None
    view = View(connection=connection.slug)
    panel = load_panel(runtime, principal, view, address="/repositories/", fixed=connection)
    return panels.Panel("repositories/_details.html", {"panel": panel})
