"""What *Create it for me* brings to the portal."""

from __future__ import annotations

from portal.capability import Capability
from portal.db import delete_of_connection
from portal.provisioning.models import ProvisioningRun

CAPABILITY = Capability(
    name="provisioning",
    views="portal.provisioning.views",
    tables=(ProvisioningRun,),
    erases=delete_of_connection(ProvisioningRun),
    actions={"provisioning.called": "used a one-time GitLab token for {object}, step {step}"},
)
