"""What steps 1 and 4 store, and changing later what the connection is used for."""

from __future__ import annotations

import re

from portal import audit
from portal.actor import Principal
from portal.connections.checklist import wanted_scopes
from portal.connections.models import Connection, Method, attention_code, end_attention, need_attention
from portal.connections.steps import Step
from portal.connections.store import check_services, expect_user, get_connection_for_admin, mark_step_done
from portal.errors import Card, InvalidInput
from portal.gitlab.identification import missing_scopes
from portal.net.address import trim_pasted
from portal.runtime import Runtime

# The code under which the checks of a connection in use report the same finding.
MISSING_SCOPES = "missing_scopes"
# GitLab's own rule for user names (letters, digits, dot, dash, underscore), 2 to 255 long.
_USERNAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{1,254}$")


def read_username(text: str) -> str:
    """Return a GitLab user name as typed or pasted, without what surrounds it.

    Raises:
        InvalidInput: that is not a GitLab user name.
    """
    name = trim_pasted(text).removeprefix("@")
    if not _USERNAME.match(name):
        sentence = "Enter the user name as GitLab shows it after the @: letters, digits, dots, dashes, underscores."
        raise InvalidInput(field_errors={"service_username": sentence})
    return name


def save_service_user(runtime: Runtime, principal: Principal, slug: str, username: str) -> Connection:
    """Store who the connection is meant to act as.

    Raises:
        InvalidInput: that is not a GitLab user name.
    """
    name = read_username(username)
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        if connection.service_username != name:
            expect_user(session, principal, connection, name)
        mark_step_done(session, connection, Step.SERVICE_USER)
        return connection


def choose_method(runtime: Runtime, principal: Principal, slug: str, method: Method) -> None:
    """Change how a draft gets access; what was entered for the other method stays for whoever changes back."""
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        if connection.authorized_at is None and connection.method != method:
            connection.method = method
            connection.row_version += 1


def save_services(
    runtime: Runtime, principal: Principal, slug: str, services: list[str], hooks_wanted: bool
) -> Connection:
    """Store what the connection is used for.

    Raises:
        InvalidInput: nothing is chosen.
    """
    chosen = check_services(services)
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        if (connection.services, connection.hooks_wanted) != (chosen, hooks_wanted):
            connection.services, connection.hooks_wanted = chosen, hooks_wanted
            # Show which scopes the services need and the authorization lacks; clear the notice if there are none.
            sources = (capability.granted_scopes for capability in runtime.capabilities.all)
            answers = [source(session, connection.id) for source in sources if source]
            granted = next((answer for answer in answers if answer is not None), None)
            wider = [] if granted is None else missing_scopes(granted, wanted_scopes(connection))
            if not wider:
                end_attention(connection, {MISSING_SCOPES})
            elif connection.id is not None:
                need_attention(session, connection.id, Card(MISSING_SCOPES, {"scopes": ", ".join(wider)}))
            audit.record(
                session,
                principal.actor,
                "connection.services_changed",
                connection.target,
                services=chosen,
                hooks=hooks_wanted,
            )
        return connection


def needs_wider_scopes(connection: Connection) -> bool:
    """Return whether services were added that the current authorization does not cover."""
    return attention_code(connection) == MISSING_SCOPES
