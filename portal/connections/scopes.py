"""Which scopes the current authorization of a connection covers; a higher capability knows it and provides them."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import Session

from portal.connections.applications import wanted_scopes
from portal.connections.models import Connection
from portal.gitlab import scopes

# A connection's id to the scopes of the credential in use; None if there is none.
Tell = Callable[[Session, int], frozenset[str] | None]
_tellers: list[Tell] = []


def tell_by(tell: Tell) -> None:
    """Set who tells; setting the same one again changes nothing."""
    _tellers[:] = [tell]


def missing_scopes(session: Session, connection: Connection) -> list[str]:
    """Return the scopes that the chosen services need and the current authorization lacks; none before there is one."""
    if connection.id is None or not _tellers:
        return []
    granted = _tellers[0](session, connection.id)
    if granted is None:
        return []
    return scopes.missing_scopes(granted, wanted_scopes(connection))
