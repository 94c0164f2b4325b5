"""What *Create it for me* brings to the portal."""

from __future__ import annotations

from portal.capability import Capability
from portal.db import delete_of_connection
from portal.provisioning.models import ProvisioningRun

CAPABILITY = Capability(
    name="provisioning",
    tables=(ProvisioningRun,),
    erases=delete_of_connection(ProvisioningRun),
)
