"""What GitOps brings to the portal."""

from __future__ import annotations

from portal.actor import Principal
from portal.capability import Capability
from portal.connections.models import ConnectionState
from portal.connections.panels import Panel, Place
from portal.repositories.selection import Row
from portal.runtime import Runtime


def repository_panels(runtime: Runtime, principal: Principal, row: Row) -> list[Panel]:
    """Return the way to the environments of an enabled repository."""
    if row.enablement is None or row.connection.state == ConnectionState.DISCONNECTED:
        return []
    return [Panel(Place.FACT, "gitops/_of_repository.html", {"repository": row.repository})]


CAPABILITY = Capability(
    name="gitops",
    views="portal.gitops.views",
    stylesheets=("environments",),
    repository_panels=(repository_panels,),
    actions={
        "environment.creation_requested": "asked GitLab to create {object}",
        "environment.deletion_requested": "asked GitLab to delete {object}",
        "environment.promotion_requested": "asked GitLab to bring {version} to {object}",
        "environment.stop_requested": "asked GitLab to stop {object}",
    },
)
