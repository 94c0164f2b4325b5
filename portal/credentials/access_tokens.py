"""An access token that a person made in GitLab, as the credential of a connection: linked, replaced, rotated."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from sqlmodel import Session, select

from portal import audit
from portal.actor import Actor, Principal
from portal.connections.models import Connection, ConnectionState, Method
from portal.connections.store import get_connection_for_admin, mark_authorized
from portal.credentials.access import refresh_credential
from portal.credentials.models import Credential, CredentialState
from portal.credentials.store import (
    TIMES,
    Granted,
    get_credential,
    lock_credential,
    open_token,
    plan_renewal,
    recover,
    replace_pair,
)
from portal.db import utc_now
from portal.errors import Conflict
from portal.gitlab.access_tokens import Examined
from portal.gitlab.identification import Version, parse_version
from portal.net import origin_of
from portal.runtime import Runtime
from portal.vault import Secret, SecretUnreadable

# https://docs.gitlab.com/api/personal_access_tokens/: a token rotates itself since 16.10; `self_rotate` came with 17.9.
SELF_ROTATION = Version(16, 10)
ROTATION_SCOPES = frozenset({"api", "self_rotate"})


@dataclass(eq=False)
class OtherUser(Exception):
    """The token belongs to another user than the connection acts as now, and no one has agreed to that yet."""

    before: str
    now: str


def link_access_token(
    runtime: Runtime,
    connection_id: int,
    token: Secret,
    examined: Examined,
    actor: Actor,
    *,
    row_version: int | None = None,
    agreed_username: str = "",
) -> None:
    """Store a token that GitLab described a moment ago, in place of what was there, and connect the connection.

    What was stored before, a pair or another token, is revoked at GitLab. Repositories, rules, hooks and history belong
    to the connection and stay.

    Args:
        runtime: of this process.
        connection_id: whose token it becomes.
        token: validated by the caller; bound to the connection's API origin from now on.
        examined: what GitLab said about it.
        actor: who entered it.
        row_version: of the connection that it was validated for; None if that cannot have changed.
        agreed_username: whom the actor agreed to act as from now on.

    Raises:
        Conflict: the connection was changed in the meantime.
        OtherUser: the connection has acted as someone else so far. Nothing is stored.
    """
    recover(runtime, connection_id, TIMES)
    with runtime.database.transaction() as session:
        # In this order, as everywhere.
        before = lock_credential(session, connection_id)
        connection = session.exec(select(Connection).where(Connection.id == connection_id).with_for_update()).one()
        if row_version is not None and connection.row_version != row_version:
            raise Conflict
        # One whose token was taken out of use, too: what is enabled was chosen with its rights.
        is_other = before is not None and examined.user_id != before.gitlab_user_id
        if before is not None and is_other and agreed_username.casefold() != examined.username.casefold():
            raise OtherUser(before.gitlab_username, examined.username)
        connection.service_username = examined.username or connection.service_username
        lifetime = examined.expires_at and examined.created_at and (examined.expires_at - examined.created_at).days
        details = {
            "kind": str(examined.kind),
            "name": examined.name,
            "is_fine_grained": examined.is_fine_grained,
            "permissions": list(examined.permissions),
            "is_expiry_known": examined.is_expiry_known,
            "are_scopes_known": examined.are_scopes_known,
            "lifetime_days": lifetime or None,
        }
        origin = origin_of(connection.api_url)
        if before is not None and (before.method, before.origin) == (Method.ACCESS_TOKEN, origin):
            with suppress(SecretUnreadable):
                if open_token(runtime, before, "access_token_sealed", origin) == token:
                    before.access_token_sealed = None  # Entered once more: it must not be revoked.
        granted = Granted(
            token,
            None,
            examined.user_id,
            examined.username,
            examined.user_name,
            examined.scopes,
            examined.expires_at,
            details,
        )
        credential = replace_pair(session, runtime, actor, connection, granted)
        mark_authorized(session, connection)
        audit.record(
            session,
            actor,
            "connection.token_linked",
            connection.target,
            gitlab_username=audit.Foreign(examined.username),
            gitlab_user_id=examined.user_id,
            kind=str(examined.kind),
            scopes=credential.scopes,
            generation=credential.generation,
        )
        for tell in runtime.capabilities.on_connected:
            tell(session, connection, actor)


# Rotation.


def why_not_rotated(connection: Connection, credential: Credential) -> str:
    """Return why the portal cannot rotate an access token, as a sentence; empty if it can."""
    details = credential.token_details or {}
    version = parse_version(connection.version_seen)
    if version is not None and version < SELF_ROTATION:
        return f"GitLab {version} has no rotation for this; it came with {SELF_ROTATION}."
    if credential.may_be_spent:
        return "The outcome of the last rotation is unknown, so Gatehouse does not rotate this token again."
    if credential.expires_at is None:
        known = details.get("is_expiry_known", True)
        return "It does not expire." if known else "Gatehouse does not know when it ends."
    if details.get("is_fine_grained"):
        is_allowed = any("rotate" in str(permission).lower() for permission in details.get("permissions", ()))
        return "" if is_allowed else "It lacks the permission to rotate itself."
    return "" if ROTATION_SCOPES & set(credential.scopes) else "That needs the scope api or self_rotate."


def choose_rotation(runtime: Runtime, principal: Principal, slug: str, *, is_wanted: bool) -> None:
    """Keep whether an access token is rotated before it ends.

    Raises:
        NotFound: this person may not manage the connection.
        Conflict: it cannot be rotated.
    """
    with runtime.database.transaction() as session:
        connection, credential = _rotatable(session, principal, slug)
        credential.is_rotated = is_wanted
        credential.refresh_at = plan_renewal(credential, TIMES, utc_now())
        audit.record(session, principal.actor, "credential.rotation_chosen", connection.target, is_wanted=is_wanted)


def rotate_now(runtime: Runtime, principal: Principal, slug: str) -> bool:
    """Rotate an access token now; return whether its successor is stored.

    Raises:
        NotFound: this person may not manage the connection.
        Conflict: it cannot be rotated.
    """
    with runtime.database.transaction() as session:
        connection, credential = _rotatable(session, principal, slug)
        generation, connection_id = credential.generation, credential.connection_id
        credential.refresh_at, credential.cooldown_until = utc_now(), None
        audit.record(session, principal.actor, "credential.rotation_started", connection.target, generation=generation)
    refresh_credential(runtime, connection_id)
    with runtime.database.reading() as session:
        found = get_credential(session, connection_id)
        return found is not None and found.generation > generation


def _rotatable(session: Session, principal: Principal, slug: str) -> tuple[Connection, Credential]:
    connection = get_connection_for_admin(session, principal, slug)
    credential = lock_credential(session, connection.id or 0)
    is_alive = credential is not None and credential.state == CredentialState.ALIVE
    if credential is None or connection.state == ConnectionState.DISCONNECTED or not is_alive:
        raise Conflict("This connection has no access token in use.")
    if why := why_not_rotated(connection, credential):
        raise Conflict(f"The token cannot be rotated. {why}")
    return connection, credential
