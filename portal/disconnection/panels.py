"""What a connection's pages show about disconnecting: how far it has got, and the link that starts it."""

from __future__ import annotations

from portal.actor import Principal, Right
from portal.connections import panels
from portal.connections.models import Connection, ConnectionState
from portal.disconnection.disconnect_status import load_disconnect_status
from portal.runtime import Runtime


def state_panel(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return how far disconnecting has got; nothing while the connection is in use and no token is left over."""
    ending = load_disconnect_status(runtime, connection)
    if ending is None:
        return []
    context = {"ending": ending, "may_manage": principal.may(Right.MANAGE_CONNECTIONS)}
    return [panels.Panel(panels.Place.NEEDS, "disconnection/_state.html", context)]


def way_panel(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return the link to the page that disconnects; nothing for drafts and for people who may not."""
    if not principal.may(Right.MANAGE_CONNECTIONS) or connection.authorized_at is None:
        return []
    ending = load_disconnect_status(runtime, connection)
    if ending is not None and ending.is_erasing:
        return []
    is_over = connection.state == ConnectionState.DISCONNECTED
    return [panels.Panel(panels.Place.SETTING, "disconnection/_way.html", {"is_over": is_over})]
