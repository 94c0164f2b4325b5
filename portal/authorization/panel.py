"""What a connection's pages show about the authorization: who, as whom, when, with which scopes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from portal.actor import Principal, Right
from portal.authorization.status import load_status
from portal.connections import panels
from portal.connections.models import Connection
from portal.credentials.models import Credential, CredentialState
from portal.runtime import Runtime


def authorization_panels(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return who it acts as and the state of its access, for overview and settings; nothing without a credential."""
    status = load_status(runtime, principal, connection)
    if status.credential is None:
        return []
    may_authorize = principal.may(Right.MANAGE_CONNECTIONS)
    fact = {"authorization": status, "access": access_of(status.credential)}
    return [
        panels.Panel(panels.Place.FACT, "authorization/_fact.html", fact),
        panels.Panel(
            panels.Place.SETTING,
            "authorization/_setting.html",
            {"authorization": status, "may_authorize": may_authorize},
        ),
    ]


@dataclass(frozen=True)
class AccessFact:
    """The state of the access, in a word and a note; `at` completes the note."""

    word: str
    note: str
    at: datetime | None = None
    is_failing: bool = False


def access_of(credential: Credential) -> AccessFact:
    """Return how a credential is doing as the overview says it."""
    if credential.state == CredentialState.SECRET_CHANGED:
        return AccessFact("Secret refused", "enter the application's Secret again", is_failing=True)
    if credential.state != CredentialState.ALIVE:
        return AccessFact("Ended", "authorize again", is_failing=True)
    if credential.failures:
        return AccessFact("Still valid", "renews when GitLab answers")
    if credential.refresh_at is None:
        return AccessFact("Does not expire", "")
    return AccessFact("Renews itself", "next", credential.refresh_at)
