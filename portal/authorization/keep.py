"""The credential a connection lives on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from portal import audit
from portal.actor import SYSTEM, Principal, Right, RightLost
from portal.authorization import attempts
from portal.authorization.models import AttemptState, AuthorizationAttempt
from portal.authorization.person import Person
from portal.connections.models import Connection
from portal.connections.store import mark_authorized
from portal.credentials import TIMES
from portal.credentials.lease import give_back
from portal.credentials.models import Credential
from portal.credentials.retire import retire_tokens, take_held
from portal.credentials.rows import forget_doubts, get_credential, lock_credential, record_event, seal_client, seal_pair
from portal.credentials.spend import recover
from portal.db import utc_now
from portal.errors import Conflict
from portal.gitlab import oauth
from portal.jobs import Job, enqueue
from portal.net import origin_of
from portal.runtime import Runtime
from portal.vault import Secret

READ_CATALOGUE = "repositories.read_catalogue"


class ConnectionChanged(Conflict):
    """The connection was edited or disconnected while the code was exchanged: the new pair is not wanted (S21)."""


@dataclass(frozen=True)
class Granted:
    """What GitLab issued and to whom, checked; `expires_at` by our clock, None if GitLab names none (before 15.0)."""

    access_token: Secret
    refresh_token: Secret | None
    person: Person
    scopes: tuple[str, ...]
    expires_at: datetime | None


def keep_credential(
    runtime: Runtime,
    principal: Principal,
    attempt: AuthorizationAttempt,
    application: oauth.ClientCredentials,
    granted: Granted,
    held: int,
) -> None:
    """Seal and store the pair, connect the connection, and start reading the catalogue: all in one transaction.

    `held` is the row under which the pair is on record until then; it goes in the same transaction.

    Raises:
        ConnectionChanged, RightLost: nothing is stored; the pair has to be revoked.
    """
    person = granted.person
    _recover_first(runtime, attempt.connection_id)
    with runtime.database.transaction() as session:
        credential = lock_credential(session, attempt.connection_id)
        connection = _unchanged(session, attempt)
        if not attempts.may_authorize(session, principal, connection):
            raise RightLost(Right.MANAGE_CONNECTIONS)
        if not take_held(session, held):
            raise ConnectionChanged  # It took so long that the pair is already being revoked.
        # Someone else may have authorized first while this one waited for the connection.
        credential = credential or lock_credential(session, attempt.connection_id) or _new_credential(attempt)
        if credential.id:
            credential.generation += 1
            retire_tokens(session, runtime, connection, credential, "replaced")
        credential.origin = origin_of(attempt.frozen["api_url"])
        credential.scopes = list(granted.scopes)
        credential.expires_at = granted.expires_at
        credential.gitlab_user_id = person.gitlab_user_id
        credential.gitlab_username = person.username
        credential.gitlab_name = person.name
        credential.obtained_at = utc_now()
        credential.authorized_by_user_id = principal.user_id
        _begin_anew(credential)
        session.add(credential)
        session.flush()
        seal_pair(runtime, credential, granted.access_token, granted.refresh_token)
        seal_client(runtime, credential, application)
        record_event(session, credential, "authorized", f"by {principal.name}"[:200], gitlab_username=person.username)
        mark_authorized(session, connection)
        attempts.finish_attempt(session, attempts.id_of(attempt), AttemptState.SUCCEEDED, actual=person.username)
        _record(session, principal, connection, credential)
        enqueue_catalogue_read(session, principal, connection)


def _unchanged(session: Session, attempt: AuthorizationAttempt) -> Connection:
    statement = select(Connection).where(Connection.id == attempt.connection_id).with_for_update()
    connection = session.exec(statement).first()
    if connection is None or connection.row_version != attempt.row_version:
        raise ConnectionChanged
    return connection


def enqueue_catalogue_read(session: Session, principal: Principal | None, connection: Connection) -> Job:
    """Start a read of the catalogue, which a higher capability does; if one is running, return that.

    `principal` is whoever asked for it; None if the portal itself does.
    """
    return enqueue(
        session,
        READ_CATALOGUE,
        {"connection_id": connection.id},
        organization_id=connection.organization_id,
        title=f"Read repositories of {connection.display_name}",
        key=catalogue_key(connection),
        subject=f"connection:{connection.id}",
        lane=f"connection:{connection.id}",
        actor=principal.actor if principal else SYSTEM,
    )


def catalogue_key(connection: Connection) -> str:
    """Return what keeps two reads of one connection from running at once."""
    return f"catalogue:{connection.id}"


def _recover_first(runtime: Runtime, connection_id: int) -> None:
    """Store an answer that a process left behind, so that the live pair is the one that is retired."""
    with runtime.database.reading() as session:
        credential = get_credential(session, connection_id)
    if credential is not None and credential.id is not None:
        recover(runtime, connection_id, credential.id, TIMES)


def _new_credential(attempt: AuthorizationAttempt) -> Credential:
    return Credential(connection_id=attempt.connection_id, origin="", gitlab_user_id=0, gitlab_username="")


def _begin_anew(credential: Credential) -> None:
    """Clear what was known about the previous pair: its plan, its failures, and an attempt to spend it."""
    forget_doubts(credential)
    give_back(credential)
    credential.refresh_at = TIMES.plan(credential.expires_at, utc_now())
    credential.refreshed_at = None


def _record(session: Session, principal: Principal, connection: Connection, credential: Credential) -> None:
    audit.record(
        session,
        principal.actor,
        "connection.authorized",
        connection.target,
        gitlab_username=audit.Foreign(credential.gitlab_username),
        gitlab_user_id=credential.gitlab_user_id,
        scopes=credential.scopes,
        generation=credential.generation,
    )
