"""What webhooks bring to the portal."""

from __future__ import annotations

from portal.capability import Capability
from portal.db import delete_of_connection
from portal.webhooks.models import Hook, HookPlan

CAPABILITY = Capability(
    name="webhooks",
    tables=(Hook, HookPlan),
    erases_in_batches=(Hook,),
    erases=delete_of_connection(HookPlan),
)
