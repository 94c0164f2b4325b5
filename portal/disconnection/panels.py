"""Panels on a connection's details page: how it ended, and the way to end it."""

from __future__ import annotations

from portal.accounts.principal import Principal
from portal.accounts.rights import Right
from portal.connections import panels
from portal.connections.models import Connection, ConnectionState
from portal.disconnection.ending import load_ending
from portal.runtime import Runtime

STATE_ORDER = 5
# Below everything else: what destroys comes last.
WAY_ORDER = 95


def register() -> None:
    """Add the panels; called once per application."""
    panels.add(STATE_ORDER, state_panel)
    panels.add(WAY_ORDER, way_panel)


def state_panel(runtime: Runtime, principal: Principal, connection: Connection) -> panels.Panel | None:
    """Return how far the end is; None while the connection is in use and nothing is left over."""
    ending = load_ending(runtime, connection)
    if ending is None:
        return None
    may_manage = principal.may(Right.MANAGE_CONNECTIONS)
    return panels.Panel("disconnection/_state.html", {"ending": ending, "may_manage": may_manage})


def way_panel(runtime: Runtime, principal: Principal, connection: Connection) -> panels.Panel | None:
    """Return the way to the page that disconnects; None for drafts and for those who may not."""
    if not principal.may(Right.MANAGE_CONNECTIONS) or connection.authorized_at is None:
        return None
    ending = load_ending(runtime, connection)
    if ending is not None and ending.is_erasing:
        return None
    is_over = connection.state == ConnectionState.DISCONNECTED
    return panels.Panel("disconnection/_way.html", {"is_over": is_over}, is_last=True)
