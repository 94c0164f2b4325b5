"""A credential's row: locked for a change, its secrets sealed and opened, and every change noted."""

from __future__ import annotations

import hashlib
import os
import platform
from typing import Any

from sqlmodel import Session, col, select

from portal.authorization.models import Credential, CredentialEvent
from portal.gitlab import oauth
from portal.runtime import Runtime
from portal.vault import Place, Secret

TABLE = "credential"
PROCESS = f"{platform.node()}:{os.getpid()}"


def lock_credential(session: Session, connection_id: int) -> Credential | None:
    """Return a connection's credential for the transaction that changes it: everybody else waits at this line."""
    statement = select(Credential).where(col(Credential.connection_id) == connection_id).with_for_update()
    return session.exec(statement).first()


def open_token(runtime: Runtime, credential: Credential, column: str, origin: str) -> Secret | None:
    """Open one half of a pair for an origin; None when it is not stored.

    Raises:
        SecretUnreadable: it was given for another origin, or its key is gone.
    """
    sealed = getattr(credential, column)
    assert credential.id is not None
    return runtime.vault.open(sealed, Place(TABLE, credential.id, column), origin) if sealed is not None else None


def seal_pair(runtime: Runtime, credential: Credential, access_token: Secret, refresh_token: Secret | None) -> None:
    """Seal a pair into a stored row, bound to the row's origin."""
    pair = {"access_token_sealed": access_token, "refresh_token_sealed": refresh_token}
    assert credential.id is not None
    for column, token in pair.items():
        place = Place(TABLE, credential.id, column)
        setattr(credential, column, runtime.vault.seal(token, place, credential.origin) if token else None)


def seal_client(runtime: Runtime, credential: Credential, application: oauth.ClientCredentials) -> None:
    """Keep which application a pair was given to, with its Secret: only that one can revoke it."""
    assert credential.id is not None
    place = Place(TABLE, credential.id, "client_secret_sealed")
    credential.client_id = application.client_id
    credential.client_secret_sealed = runtime.vault.seal(application.client_secret, place, credential.origin)


def digest(token: Secret) -> str:
    """Return the SHA-256 of a token, to recognise it; it only ever goes into sealed text."""
    return hashlib.sha256(token.reveal().encode()).hexdigest()


def note(session: Session, credential: Credential, kind: str, reason: str, **details: Any) -> None:
    """Write a line of the flight recorder."""
    assert credential.id is not None
    session.add(
        CredentialEvent(
            credential_id=credential.id,
            kind=kind,
            generation=credential.generation,
            process=PROCESS,
            reason=reason,
            details=details,
        )
    )
