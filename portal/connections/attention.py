"""Why a connection needs a person: one card at a time, set when it fails and cleared by whatever finds it has ended.

Anything that sees a failure sets it (a refresh, a read, a check, an edit), but a new address or another application
stays the reason until someone authorizes again. It ends with an authorization, with a refresh or a read that succeeds
(`end_attention` with the codes that these disprove), when the health checks look for it and no longer find it, and when
the connection is disconnected.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlmodel import Session

from portal.connections.models import Connection, ConnectionState
from portal.errors import Card

# Only another authorization ends these: anything else that fails until then follows from them.
UNTIL_AUTHORIZED = frozenset({"address_changed", "application_changed"})
# A read with the current credential says nothing about these.
NOT_DISPROVED_BY_READING = UNTIL_AUTHORIZED | {"wrong_user", "missing_scopes"}
# What needs a person's attention but stops nothing.
WORKS_MEANWHILE = frozenset({"wrong_user", "missing_scopes", "catalogue_incomplete", "repositories_gone"})


def attention_code(connection: Connection) -> str | None:
    """Return the code of why a connection needs a person; None if it does not."""
    return (connection.attention or {}).get("code")


def is_failing(connection: Connection) -> bool:
    """Return whether a connection cannot work, as opposed to one that works but needs a person's attention."""
    return attention_code(connection) not in {None, *WORKS_MEANWHILE}


def need_attention(session: Session, connection_id: int, card: Card) -> None:
    """Show a failure on a connection that no longer works; one that is disconnected is not meant to."""
    connection = session.get_one(Connection, connection_id)
    if connection.state == ConnectionState.DISCONNECTED:
        return
    if attention_code(connection) in UNTIL_AUTHORIZED - {card.code}:
        return
    if connection.state == ConnectionState.CONNECTED:
        connection.state = ConnectionState.NEEDS_ATTENTION
    connection.attention = card.to_json()


def end_attention(connection: Connection, codes: Collection[str] | None = None) -> bool:
    """Clear a connection's failure, if it is one of these; return whether it was."""
    if codes is not None and attention_code(connection) not in codes:
        return False
    connection.attention = None
    if connection.state == ConnectionState.NEEDS_ATTENTION:
        connection.state = ConnectionState.CONNECTED
    return True
