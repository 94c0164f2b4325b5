"""A credential's row: locked for a change, its secrets sealed and opened, and every change recorded."""

from __future__ import annotations

import hashlib
import os
import platform
from typing import Any

from sqlmodel import Session, col, select

from portal.connections.models import Application
from portal.credentials.machine import State
from portal.credentials.models import Credential, CredentialEvent, CredentialState
from portal.gitlab import oauth
from portal.runtime import Runtime
from portal.vault import Place, Secret

TABLE = "credential"
PROCESS = f"{platform.node()}:{os.getpid()}"


# How every JWT's header begins. GitLab's IAM service puts changing prefixes before it.
_JWT = "eyJ"


def is_stateless(access_token: Secret) -> bool:
    """Return whether GitLab's IAM service issued a token: a JWT, for which GitLab keeps no row (docs/gitlab.md)."""
    text = access_token.reveal()
    return text.count(".") == 2 and _JWT in text.partition(".")[0]


def state_of(credential: Credential) -> State:
    """Return a row as the state machine sees it."""
    return State(
        verdict=CredentialState(credential.state),
        planned_at=credential.refresh_at,
        ends_at=credential.expires_at,
        is_renewable=credential.refresh_token_sealed is not None,
        is_stateless=credential.is_stateless,
        asked_at=(credential.intent_at or credential.obtained_at) if credential.intent_id else None,
        may_be_spent=credential.may_be_spent,
        is_access_refused=credential.is_access_refused,
        refusals=credential.refusals,
        refused_at=credential.refused_at,
        client_refusals=credential.client_refusals,
        client_refused_at=credential.client_refused_at,
        failures=credential.failures,
        rest_until=credential.cooldown_until,
    )


def put_state(credential: Credential, state: State, intent_id: str) -> None:
    """Write what the state machine decided; `intent_id` names the request whose outcome is open, if one is."""
    credential.state = state.verdict
    credential.refresh_at = state.planned_at
    credential.intent_id = intent_id if state.asked_at else ""
    credential.intent_at = state.asked_at
    credential.may_be_spent = state.may_be_spent
    credential.is_access_refused = state.is_access_refused
    credential.refusals, credential.refused_at = state.refusals, state.refused_at
    credential.client_refusals, credential.client_refused_at = state.client_refusals, state.client_refused_at
    credential.failures, credential.cooldown_until = state.failures, state.rest_until


def forget_doubts(credential: Credential) -> None:
    """Start with a new pair: nothing that spoke against the previous one applies to it."""
    credential.state = CredentialState.ALIVE
    credential.intent_id, credential.intent_at = "", None
    credential.may_be_spent = credential.is_access_refused = False
    credential.refusals = credential.client_refusals = credential.failures = 0
    credential.refused_at = credential.client_refused_at = credential.cooldown_until = None
    credential.failure = credential.failed_at = None
    credential.refused_application = ""


def stamp_of(application: Application | None) -> str:
    """Return what distinguishes one stored Secret of a connection from the next."""
    return application.updated_at.isoformat() if application else ""


def lock_credential(session: Session, connection_id: int) -> Credential | None:
    """Return a connection's credential, locked for the transaction that changes it."""
    statement = select(Credential).where(col(Credential.connection_id) == connection_id).with_for_update()
    return session.exec(statement).first()


def open_token(runtime: Runtime, credential: Credential, column: str, origin: str) -> Secret | None:
    """Open one half of a pair for an origin; None if it is not stored.

    Raises:
        SecretUnreadable: it was given for another origin, or its key is gone.
    """
    sealed = getattr(credential, column)
    assert credential.id is not None
    return runtime.vault.open(sealed, Place(TABLE, credential.id, column), origin) if sealed is not None else None


def seal_pair(runtime: Runtime, credential: Credential, access_token: Secret, refresh_token: Secret | None) -> None:
    """Seal a pair into a stored row, bound to the row's origin."""
    credential.is_stateless = is_stateless(access_token)
    pair = {"access_token_sealed": access_token, "refresh_token_sealed": refresh_token}
    assert credential.id is not None
    for column, token in pair.items():
        place = Place(TABLE, credential.id, column)
        setattr(credential, column, runtime.vault.seal(token, place, credential.origin) if token else None)


def seal_client(runtime: Runtime, credential: Credential, application: oauth.ClientCredentials) -> None:
    """Store which application a pair was issued to, with its Secret: only that one can revoke it."""
    assert credential.id is not None
    place = Place(TABLE, credential.id, "client_secret_sealed")
    credential.client_id = application.client_id
    credential.client_secret_sealed = runtime.vault.seal(application.client_secret, place, credential.origin)


def digest(token: Secret) -> str:
    """Return the SHA-256 of a token, to recognise it; it only ever goes into sealed text."""
    return hashlib.sha256(token.reveal().encode()).hexdigest()


def record_event(session: Session, credential: Credential, kind: str, reason: str, **details: Any) -> None:
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


def get_credential(session: Session, connection_id: int) -> Credential | None:
    """Return the credential of a connection, if it ever was authorized."""
    return session.exec(select(Credential).where(Credential.connection_id == connection_id)).first()
