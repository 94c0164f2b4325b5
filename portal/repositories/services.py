"""Which services are on for a repository, and the service user's role there against the role that each needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from portal import audit
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.connections.models import Connection
from portal.errors import Conflict, InvalidInput, NotFound
from portal.gitlab.identification import Service
from portal.repositories.availability import REPORTER, role_name
from portal.repositories.models import Enablement
from portal.repositories.selection import Row, get_rows
from portal.runtime import Runtime

MAINTAINER = 40
TITLES = {Service.REPOSITORIES: "Repositories", Service.MERGE_REQUESTS: "Merge requests", Service.ISSUES: "Issues"}


@dataclass(frozen=True)
class Need:
    """A service of the connection at one repository.

    Attributes:
        service: empty for the webhooks, which only the connection decides.
        role: what GitLab asks for (docs.gitlab.com, user/permissions).
        is_met: None if the service user's role is unknown.
    """

    service: str
    title: str
    is_on: bool
    role: int
    is_met: bool | None


def services_of(connection: Connection, chosen: Collection[str] | None) -> list[str]:
    """Return the services that are on for a repository, from its `Enablement.services`.

    A repository narrows what its connection is used for: the connection's scopes cover nothing else.
    """
    return [service for service in connection.services if chosen is None or service in chosen]


def needs_of(row: Row) -> list[Need]:
    """Return what a connection is used for, with the role that each part needs at this repository."""
    held = row.repository.access_level
    on = services_of(row.connection, row.enablement.services if row.enablement else None)

    def need(service: str, title: str, is_on: bool, role: int) -> Need:
        return Need(service, title, is_on, role, None if held is None else held >= role)

    found = [need(item, TITLES[item], item in on, REPORTER) for item in Service if item in row.connection.services]
    return [*found, need("", "Webhooks", True, MAINTAINER)] if row.connection.hooks_wanted else found


def role_to_give(row: Row) -> str:
    """Return the role that the service user lacks at an enabled repository; empty if it lacks none."""
    if row.enablement is None or row.repository.access_level is None:
        return ""
    missing = [need.role for need in needs_of(row) if need.is_on and need.is_met is False]
    return role_name(max(missing)) if missing else ""


def load_repository(runtime: Runtime, principal: Principal, repository_id: int) -> Row:
    """Return a repository.

    Raises:
        NotFound: there is none with this id that this person may see.
    """
    with runtime.database.reading() as session:
        for row in get_rows(session, principal, [repository_id]):
            return row
    raise NotFound


def save_services(runtime: Runtime, principal: Principal, repository_id: int, chosen: Collection[str]) -> None:
    """Choose the services of an enabled repository. If all are chosen, it follows its connection.

    Raises:
        NotFound: as `load_repository`.
        Conflict: it is not enabled.
        InvalidInput: no service, or one that the connection is not used for.
    """
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        rows = get_rows(session, principal, [repository_id])
        if not rows:
            raise NotFound
        row = rows[0]
        enablement = row.enablement and session.get(Enablement, row.enablement.id, with_for_update=True)
        if enablement is None:
            raise Conflict("This repository is not enabled, so no service is on. Enable it first.")
        if not set(chosen) <= set(row.connection.services):
            raise InvalidInput("The connection is not used for that. An administrator can change what it is used for.")
        if not chosen:
            raise InvalidInput("Choose at least one service, or disable the repository.")
        wanted = services_of(row.connection, chosen)
        before = services_of(row.connection, enablement.services)
        enablement.services = None if wanted == row.connection.services else wanted
        if wanted != before:
            path = audit.Foreign(row.repository.path_with_namespace)
            audit.record(
                session,
                principal.actor,
                "repository.services_changed",
                audit.Target(principal.organization_id, "repository", row.repository.id, path),
                services=", ".join(wanted),
            )
