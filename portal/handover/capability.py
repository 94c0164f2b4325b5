"""What hand-over links bring to the portal."""

from __future__ import annotations

from portal.capability import Capability, PeriodicJob
from portal.db import delete_of_connection
from portal.handover.links import end_with_authorization, forget_old, hand_over_panels, has_old
from portal.handover.models import HandOver

CAPABILITY = Capability(
    name="handover",
    views="portal.handover.views",
    tables=(HandOver,),
    jobs=(PeriodicJob("handover.forget", forget_old, "Delete old hand-over links", 86_400, has_old),),
    erases=delete_of_connection(HandOver),
    stylesheets=("handover",),
    connection_panels={7: hand_over_panels},
    on_connected=end_with_authorization,
    actions={
        "handover.accepted": "finished the step of {object} that was handed over",
        "handover.created": "handed a step of {object} over to {recipient}",
        "handover.declined": "declined to do a step of {object}",
        "handover.opened": "opened the hand-over link of {object}",
        "handover.refused": "tried to use a hand-over link of {object} that no longer works",
        "handover.withdrawn": "withdrew the hand-over link of {object}",
    },
)
