"""Connections of an organization: look up (within the caller's rights), reach, create, rename and discard them."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Collection

from sqlalchemy import delete, func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.models import GroupGrant, InvitedGroup
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.connections.models import (
    MAX_NAME_KEY,
    NOT_DISPROVED_BY_READING,
    Application,
    Connection,
    ConnectionState,
    Method,
    attention_code,
    end_attention,
    is_failing,
    name_key_of,
    need_attention,
    way_of,
)
from portal.connections.servers import drop_unused_server, open_way
from portal.connections.steps import CREDENTIAL_STEP, Step
from portal.db import utc_now
from portal.errors import Card, Conflict, InvalidInput, NotFound, PortalError
from portal.gitlab.answers import Metadata
from portal.gitlab.identification import Service, edition_of
from portal.gitlab.oauth import ClientCredentials
from portal.net import HostSession, Purpose, origin_of
from portal.runtime import Runtime
from portal.vault import Place, SecretUnreadable
from portal.vault.columns import recalling

TABLE = "application"
COLUMN = "client_secret_sealed"
MAX_NAME = 100
MAX_SLUG = 40
FEATURE = "self_hosted_gitlab"
PLANS = {"enterprise": frozenset({FEATURE})}


def list_connections(runtime: Runtime, principal: Principal) -> list[Connection]:
    """Return the organization's connections: those that need attention first, then by name."""
    with runtime.database.reading() as session:
        statement = select(Connection).where(Connection.organization_id == principal.organization_id)
        found = session.exec(statement.order_by(func.lower(Connection.display_name)))
        # What needs attention comes first.
        return sorted(found, key=lambda connection: (not is_failing(connection), connection.attention is None))


def get_connection(runtime: Runtime, principal: Principal, slug: str) -> Connection:
    """Return a connection this person may see.

    Raises:
        NotFound: it does not exist, or belongs to another organization.
    """
    with runtime.database.reading() as session:
        return _find(session, principal, slug)


def get_connection_for_admin(
    session: Session, principal: Principal, slug: str, *, is_locked: bool = False, in_any_plan: bool = False
) -> Connection:
    """Return a connection to be changed, in the transaction that changes it.

    Args:
        session: of that transaction.
        principal: whoever changes it.
        slug: of the connection.
        is_locked: lock its row until the end of the transaction, so that what was read stays true.
        in_any_plan: also a draft that the organization's plan no longer includes.

    Raises:
        NotFound: this person may not manage it, or no longer may, or it does not exist.
        NotInPlan: it is a draft, and the organization's plan does not include it.
    """
    now = require_right_now(session, principal, Right.MANAGE_CONNECTIONS)
    connection = _find(session, principal, slug, is_locked=is_locked)
    if connection.authorized_at is None and not in_any_plan:
        require_plan(now)
    return connection


def open_host_session(
    runtime: Runtime, connection: Connection, *, is_background: bool = False, purpose: Purpose | None = None
) -> HostSession:
    """Return a session with a connection's API side, the way its GitLab server is reached."""
    return open_way(
        runtime,
        way_of(connection),
        connection.server_id,
        recall=recalling(runtime.database, runtime.vault, connection.id),
        is_background=is_background,
        purpose=purpose,
    )


def is_sandbox(runtime: Runtime, connection: Connection) -> bool:
    """Return whether a connection leads to the sandbox, where some steps have their own hints."""
    origin = runtime.settings.sandbox_origin
    return bool(origin and connection.api_url) and origin_of(connection.api_url) == origin_of(origin or "")


def is_in_clear(runtime: Runtime, connection: Connection) -> bool:
    """Return whether tokens and code cross a network unencrypted; the sandbox is on this machine."""
    return connection.api_url.startswith("http:") and not is_sandbox(runtime, connection)


def application_of(session: Session, connection_id: int | None) -> Application | None:
    """Return the OAuth application of a connection; None before step 3."""
    return session.exec(select(Application).where(Application.connection_id == connection_id)).first()


def get_application(runtime: Runtime, connection: Connection) -> Application | None:
    """Return the stored application."""
    with runtime.database.reading() as session:
        return application_of(session, connection.id)


def open_client_credentials(runtime: Runtime, connection: Connection) -> ClientCredentials:
    """Return Application ID and Secret for calls to this connection's GitLab, and to no other origin.

    Raises:
        InvalidInput: none are stored.
        Conflict: they were entered for another origin, or the key ring cannot open them.
    """
    return open_application(runtime, connection, get_application(runtime, connection))


def open_application(runtime: Runtime, connection: Connection, application: Application | None) -> ClientCredentials:
    """Return Application ID and Secret of a loaded application; raises as `open_client_credentials`."""
    if application is None or application.client_secret_sealed is None:
        raise InvalidInput("Enter Application ID and Secret first.")
    assert application.id is not None
    place = Place(TABLE, application.id, COLUMN)
    try:
        secret = runtime.vault.open(application.client_secret_sealed, place, origin_of(connection.api_url))
    except SecretUnreadable:
        raise Conflict(
            "The stored Secret cannot be used for this address. Enter it again.", code="secret_unreadable"
        ) from None
    return ClientCredentials(application.client_id, secret)


def redirect_uri_of(runtime: Runtime, connection: Connection) -> str:
    """Return the redirect URI: from the portal's own address, one for each connection (RFC 9700 §4.4.2)."""
    return f"{runtime.settings.base_url}/oauth/callback/{connection.slug}"


class NotInPlan(PortalError):
    """The organization's plan does not include self-hosted GitLab. What is in use already keeps working."""

    status = 403
    code = "not_in_plan"
    title = "Your plan does not include self-hosted GitLab"
    sentence = "Ask an owner of your organization for the enterprise plan. Connections in use keep working."


def is_included(principal: Principal, connection: Connection | None = None) -> bool:
    """Return whether the organization's plan includes self-hosted GitLab, or the connection is in use anyway."""
    if connection and connection.authorized_at and connection.state != ConnectionState.DISCONNECTED:
        return True
    return FEATURE in PLANS.get(principal.plan, frozenset())


def require_plan(principal: Principal, connection: Connection | None = None) -> None:
    """Return if self-hosted GitLab is included.

    Raises:
        NotInPlan: it is not.
    """
    if not is_included(principal, connection):
        raise NotInPlan


def create_draft(
    runtime: Runtime,
    principal: Principal,
    display_name: str,
    method: Method,
    services: Collection[str] = tuple(Service),
    *,
    hooks_wanted: bool = False,
    slug: str = "",
) -> Connection:
    """Create a draft; from then on people can leave the walkthrough and resume it at its address.

    Its slug is made from the name, unless there is one to use.

    Raises:
        InvalidInput: the name is empty, too long or taken, no service is chosen, or the slug is taken.
        NotInPlan: the organization's plan does not include it.
    """
    require_plan(principal)
    chosen = check_services(services)
    with runtime.database.transaction() as session:
        require_right_now(session, principal, Right.MANAGE_CONNECTIONS)
        name = check_name(session, principal, display_name)
        ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        base = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:MAX_SLUG].strip("-") or "gitlab"
        is_given = bool(slug)
        slug = slug or (base if base not in {"new"} else f"{base}-1")
        while session.exec(select(Connection.id).where(Connection.slug == slug)).first() is not None:
            if is_given:
                raise InvalidInput(f"The slug {slug} is taken. Choose another one.")
            # Random, not counted: the slug is in addresses, and must not reveal how many others there are.
            slug = f"{base}-{secrets.token_hex(3)}"
        connection = Connection(
            organization_id=principal.organization_id,
            slug=slug,
            display_name=name,
            method=method,
            services=chosen,
            hooks_wanted=hooks_wanted,
            steps_done=[Step.PURPOSE],
            created_by_user_id=principal.user_id,
        )
        session.add(connection)
        _flush_name(session, name)
        audit.record(session, principal.actor, "connection.created", connection.target, method=method)
        return connection


def rename(runtime: Runtime, principal: Principal, slug: str, display_name: str) -> Connection:
    """Change the display name; addresses, redirect URI and hooks keep the slug.

    Raises:
        InvalidInput: the name is empty, too long or taken.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        name, old = check_name(session, principal, display_name, besides=connection.id), connection.display_name
        if name != old:
            connection.display_name = name
            _flush_name(session, name)
            audit.record(session, principal.actor, "connection.renamed", connection.target, old=old)
        return connection


def discard_draft(runtime: Runtime, principal: Principal, slug: str) -> None:
    """Delete a connection that was never authorized, with everything entered for it.

    Raises:
        Conflict: it was authorized; then it is disconnected instead.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, in_any_plan=True)
        if connection.authorized_at is not None:
            raise Conflict("This connection is in use, so it cannot be discarded. Disconnect it instead.")
        audit.record(session, principal.actor, "connection.discarded", connection.target)
        for table in (GroupGrant, InvitedGroup):
            session.execute(delete(table).where(col(table.connection_id) == connection.id))
        session.delete(connection)
        drop_unused_server(session, connection)


def mark_step_done(session: Session, connection: Connection, step: Step) -> None:
    """Mark a step as done; later steps keep what they had."""
    if step not in connection.steps_done:
        connection.steps_done = [*connection.steps_done, step]
    connection.updated_at = utc_now()
    session.add(connection)


def mark_authorized(session: Session, connection: Connection) -> None:
    """Record a successful authorization, and how the GitLab that issued the pair is reached."""
    connection.state = ConnectionState.CONNECTED
    end_attention(connection)
    connection.authorized_at, connection.authorized_via = utc_now(), way_of(connection)
    mark_step_done(session, connection, CREDENTIAL_STEP[connection.method])


def note_read(session: Session, connection_id: int) -> None:
    """Record that the catalogue was read completely: the connection works."""
    connection = session.get_one(Connection, connection_id)
    connection.last_read_at = utc_now()
    if attention_code(connection) not in NOT_DISPROVED_BY_READING:
        end_attention(connection)


def note_version(runtime: Runtime, connection_id: int, metadata: Metadata) -> None:
    """Store the version GitLab reported."""
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        connection.version_seen = metadata.version[:64]
        connection.edition_seen = edition_of(metadata)


def expect_user(session: Session, principal: Principal, connection: Connection, username: str) -> None:
    """Change who the connection is meant to act as; whoever authorizes next must be that user."""
    old, connection.service_username = connection.service_username, username
    connection.row_version += 1
    audit.record(session, principal.actor, "connection.service_user_changed", connection.target, old=old, new=username)
    is_used = connection.authorized_at is not None and connection.method == Method.OAUTH
    if is_used and old != username and connection.id is not None:
        need_attention(session, connection.id, Card("wrong_user", {"case": "changed", "expected": username}))


def check_name(session: Session, principal: Principal, text: str, besides: int | None = None) -> str:
    """Return a display name that is free in the organization.

    Raises:
        InvalidInput: empty, too long, or taken.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    # Some characters become several in the key.
    if not name or len(name) > MAX_NAME or len(name_key_of(name)) > MAX_NAME_KEY or not name.isprintable():
        sentence = f"Enter a name of 1 to {MAX_NAME} characters."
        raise InvalidInput(sentence, field_errors={"display_name": sentence})
    taken = session.exec(
        select(Connection).where(
            Connection.organization_id == principal.organization_id,
            Connection.name_key == name_key_of(name),
            Connection.id != (besides or 0),
        )
    ).first()
    if taken:
        raise _taken(name)
    return name


def check_services(services: Collection[str]) -> list[str]:
    """Return the services chosen, in the order they are shown.

    Raises:
        InvalidInput: none is.
    """
    chosen = [item.value for item in Service if item in services]
    if not chosen:
        raise InvalidInput(field_errors={"services": "Choose at least one."})
    return chosen


def free_name(runtime: Runtime, principal: Principal, wanted: str) -> str:
    """Return an unused display name: the one wanted, or that one with a number."""
    taken = {item.name_key for item in list_connections(runtime, principal)}
    names = (wanted if number == 1 else f"{wanted} {number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name_key_of(name) not in taken)


def _taken(name: str) -> InvalidInput:
    sentence = f"“{name}” is taken. Choose a name that tells the two apart."
    return InvalidInput(sentence, field_errors={"display_name": sentence})


def _flush_name(session: Session, name: str) -> None:
    """Write a new name; someone else may have taken it since it was checked."""
    try:
        session.flush()
    except IntegrityError:
        raise _taken(name) from None


def _find(session: Session, principal: Principal, slug: str, *, is_locked: bool = False) -> Connection:
    statement = select(Connection).where(
        Connection.slug == slug, Connection.organization_id == principal.organization_id
    )
    connection = session.exec(statement.with_for_update() if is_locked else statement).first()
    if connection is None:
        raise NotFound
    return connection
