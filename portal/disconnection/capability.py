"""What disconnecting brings to the portal."""

from __future__ import annotations

from portal.capability import Capability, JobDefinition, PeriodicJob
from portal.db import delete_of_connection
from portal.disconnection.disconnect_status import state_panel, way_panel
from portal.disconnection.erase import ERASE, FOLLOW, erase_connection, follow, has_wanted
from portal.disconnection.models import Disconnection

CAPABILITY = Capability(
    name="disconnection",
    views="portal.disconnection.views",
    tables=(Disconnection,),
    jobs=(
        JobDefinition(ERASE, erase_connection),
        PeriodicJob(FOLLOW, follow, "Erase connections whose tokens are revoked", 60, has_wanted),
    ),
    # First, its state; the link to destructive actions comes last.
    connection_panels={5: state_panel, 95: way_panel},
    erases=delete_of_connection(Disconnection),
    actions={
        "connection.disconnected": "disconnected {object}",
        "connection.erased": "erased {object}",
        "connection.erasure_requested": "asked for {object} to be erased",
        "connection.revocation_tried_again": "had GitLab asked again to revoke the token of {object}",
    },
)
