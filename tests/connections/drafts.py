"""Drafts, and what is stored about them."""

from __future__ import annotations

from sqlmodel import select

from portal.connections.models import Application, Connection
from portal.runtime import Runtime
from tests.support.visitor import Visitor


def connection_named(runtime: Runtime, name: str) -> Connection | None:
    """Return a connection as it is stored; None if there is none."""
    with runtime.database.reading() as session:
        return session.exec(select(Connection).where(Connection.display_name == name)).first()


def application_of(runtime: Runtime, connection: Connection) -> Application:
    """Return a connection's application as it is stored."""
    with runtime.database.reading() as session:
        return session.exec(select(Application).where(Application.connection_id == connection.id)).one()


def draft(owner: Visitor, name: str = "GitLab") -> str:
    """Go through step 1; return the slug."""
    answer = owner.post(
        "/connections/new",
        {"method": "oauth", "display_name": name, "services": "repositories"},
    )
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].removesuffix("/setup/instance").removeprefix("/connections/")
