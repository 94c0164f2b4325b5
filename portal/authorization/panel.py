"""The authorization's panel on a connection's details page: who, as whom, when, with which scopes."""

from __future__ import annotations

from portal.accounts.principal import Principal
from portal.accounts.rights import Right
from portal.authorization.status import granted_scopes, load_status
from portal.connections import granted, panels
from portal.connections.models import Connection
from portal.runtime import Runtime

ORDER = 20


def register() -> None:
    """Add the panel; called once per application."""
    panels.add(ORDER, authorization_panel)
    granted.tell_by(granted_scopes)


def authorization_panel(runtime: Runtime, principal: Principal, connection: Connection) -> panels.Panel | None:
    """Return what is stored; None before anybody authorized."""
    status = load_status(runtime, principal, connection)
    if status.credential is None:
        return None
    may_authorize = principal.may(Right.MANAGE_CONNECTIONS)
    return panels.Panel("authorization/_details.html", {"authorization": status, "may_authorize": may_authorize})
