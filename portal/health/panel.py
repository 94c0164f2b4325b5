"""What health shows on a connection's pages: the incidents that are open."""

from __future__ import annotations

from portal.actor import Principal
from portal.connections import panels
from portal.connections.models import Connection, attention_code
from portal.health.checks import is_watched
from portal.health.status import load_health
from portal.runtime import Runtime


def health_panels(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return one line for each open incident that the connection's own attention does not already show."""
    if not is_watched(connection):
        return []
    told = attention_code(connection)
    alarms = [alarm for alarm in load_health(runtime, principal, connection).alarms if alarm.card.code != told]
    return [panels.Panel(panels.Place.NEEDS, "health/_needs.html", {"alarms": alarms})] if alarms else []
