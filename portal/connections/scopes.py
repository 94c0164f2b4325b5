"""Which scopes the current authorization of a connection lacks; the capability that stores it says what it has."""

from __future__ import annotations

from sqlmodel import Session

from portal.connections.applications import wanted_scopes
from portal.connections.models import Connection
from portal.gitlab import scopes
from portal.runtime import Runtime


def missing_scopes(runtime: Runtime, session: Session, connection: Connection) -> list[str]:
    """Return the scopes that the chosen services need and the current authorization lacks; none before there is one."""
    answers = (capability.granted_scopes for capability in runtime.capabilities.all)
    granted = next(
        (found for answer in answers if answer and (found := answer(session, connection.id)) is not None), None
    )
    return [] if granted is None else scopes.missing_scopes(granted, wanted_scopes(connection))
