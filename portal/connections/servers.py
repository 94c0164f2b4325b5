"""A GitLab server that connections of an organization share: who uses it, and what a gateway in front of it wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.connections.checks import CheckState
from portal.connections.models import Connection, GitLabServer
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput, NotFound
from portal.logs import get_logger
from portal.net import (
    CertificateInfo,
    CertificateRefused,
    Gateway,
    HostSession,
    Purpose,
    origin_of,
    parse_address,
    parse_certificates,
)
from portal.net.tls import check_client_certificate, check_header
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable

log = get_logger(__name__)
KEY, VALUE = "client_key_sealed", "header_value_sealed"


class SharedServer(Conflict):
    """Other connections use the same GitLab server, and no one has said whether they follow.

    `others` holds name and state of each: the rows are gone with the transaction.
    """

    sentence = "Other connections use this GitLab, too. Choose whether they follow."

    def __init__(self, others: Sequence[Connection]) -> None:
        super().__init__()
        self.others = [(other.display_name, other.state) for other in others]


@dataclass(frozen=True)
class ServerUse:
    """A GitLab server with the connections that use it, and the client certificate shown to its gateway."""

    server: GitLabServer
    connections: list[Connection]
    client_certificate: CertificateInfo | None = None


def list_servers(runtime: Runtime, principal: Principal) -> list[ServerUse]:
    """Return the organization's GitLab servers, by address."""
    with runtime.database.reading() as session:
        statement = select(GitLabServer).where(GitLabServer.organization_id == principal.organization_id)
        servers = session.exec(statement.order_by(GitLabServer.external_url, col(GitLabServer.id))).all()
        return [_use_of(session, server) for server in servers]


def get_server(runtime: Runtime, principal: Principal, server_id: int) -> ServerUse:
    """Return one GitLab server.

    Raises:
        NotFound: it does not exist, or belongs to another organization.
    """
    with runtime.database.reading() as session:
        return _use_of(session, _find(session, principal, server_id))


def find_server(session: Session, organization_id: int, way: Mapping[str, str]) -> GitLabServer | None:
    """Return the server to share for a new connection that names the same addresses and nothing that differs."""
    statement = select(GitLabServer).where(
        GitLabServer.organization_id == organization_id,
        GitLabServer.external_url == way["external_url"],
        GitLabServer.api_url == way["api_url"],
    )
    found = session.exec(statement.order_by(col(GitLabServer.id))).all()
    is_fitting = [
        all(way[name] in {"", getattr(server, name)} for name in ("ca_certificate", "proxy")) for server in found
    ]
    return next((server for server, fits in zip(found, is_fitting, strict=True) if fits), None)


def connections_of(
    session: Session, server: GitLabServer, *, besides: int | None = None, is_locked: bool = False
) -> list[Connection]:
    """Return the connections that use a server, in the order in which they are locked."""
    statement = select(Connection).where(Connection.server_id == server.id, Connection.id != (besides or 0))
    statement = statement.order_by(col(Connection.id)).execution_options(populate_existing=is_locked)
    return list(session.exec(statement.with_for_update() if is_locked else statement))


def proxy_exceptions_of(runtime: Runtime, connection: Connection) -> str:
    """Return the hosts that a connection's GitLab server reaches without the proxy."""
    with runtime.database.reading() as session:
        server = session.get(GitLabServer, connection.server_id) if connection.server_id else None
        return server.proxy_exceptions if server else ""


def drop_unused_server(session: Session, connection: Connection) -> None:
    """Delete the server of a connection that was just deleted, with its secrets, unless another one uses it."""
    session.flush()
    server = session.get(GitLabServer, connection.server_id) if connection.server_id else None
    if server is not None and not connections_of(session, server):
        session.delete(server)


def gateway_of(runtime: Runtime, server: GitLabServer) -> Gateway | None:
    """Return what a gateway in front of a server wants to see; what cannot be opened is left out."""
    key = _open(runtime, server, KEY) if server.client_certificate else None
    value = _open(runtime, server, VALUE) if server.header_name else None
    if key is None and value is None:
        return None
    return Gateway(server.client_certificate if key else "", key, server.header_name if value else "", value)


def open_way(
    runtime: Runtime,
    way: Mapping[str, str],
    server_id: int | None,
    *,
    recall: Callable[[], None] | None = None,
    is_background: bool = False,
    purpose: Purpose | None = None,
) -> HostSession:
    """Return a session with the API of a `way_of`, and with what its server row adds as long as that is about it."""
    address = parse_address(way["api_url"], allow_http=True)
    with runtime.database.reading() as session:
        found = session.get(GitLabServer, server_id) if server_id else None
    server = found if found and origin_of(found.api_url) == address.origin else None
    return runtime.outbound.session(
        address,
        ca_certificate=way["ca_certificate"],
        proxy=way["proxy"],
        proxy_exceptions=server.proxy_exceptions if server else "",
        gateway=gateway_of(runtime, server) if server else None,
        recall=recall,
        is_background=is_background,
        purpose=purpose,
    )


@dataclass(frozen=True)
class EnteredGateway:
    """What was typed for a gateway; an empty secret keeps the stored one."""

    client_certificate: str = ""
    client_key: str = ""
    header_name: str = ""
    header_value: str = ""


def save_gateway(runtime: Runtime, principal: Principal, server_id: int, entered: EnteredGateway) -> ServerUse:
    """Store what a gateway in front of a GitLab wants to see; every connection that uses the server sends it.

    Raises:
        InvalidInput: with a sentence per field; nothing is changed.
    """
    # A form sends other line ends than were stored.
    certificate, key = ("\n".join(pem.strip().splitlines()) for pem in (entered.client_certificate, entered.client_key))
    name, value = entered.header_name.strip(), entered.header_value.strip()
    with runtime.database.transaction() as session:
        require_right_now(session, principal, Right.MANAGE_CONNECTIONS)
        server = _find(session, principal, server_id, is_locked=True)
        problems: dict[str, str] = {}
        key = key or _stored(runtime, server, KEY, has_it=certificate == server.client_certificate)
        value = value or _stored(runtime, server, VALUE, has_it=name == server.header_name)
        if certificate and not key:
            problems["client_key"] = "Paste the certificate's private key."
        elif certificate:
            try:
                check_client_certificate(certificate, key)
            except CertificateRefused as error:
                problems["client_key" if "key" in str(error) else "client_certificate"] = str(error)
        if name and not value:
            problems["header_value"] = "Enter the header's value."
        elif name and (problem := check_header(name, value)):
            problems["header_value" if problem.startswith("The value") else "header_name"] = problem
        if problems:
            raise InvalidInput(field_errors=problems)
        server.client_certificate, server.header_name, server.updated_at = certificate, name, utc_now()
        server.origin = origin_of(server.api_url)
        for column, secret in ((KEY, key if certificate else ""), (VALUE, value if name else "")):
            place = Place("gitlab_server", server.id or 0, column)
            sealed = runtime.vault.seal(Secret(secret), place, server.origin) if secret else None
            setattr(server, column, sealed)
        session.add(server)
        audit.record(
            session,
            principal.actor,
            "gitlab_server.gateway_changed",
            server.target,
            has_certificate=bool(certificate),
            header=name,
        )
        for connection in connections_of(session, server, is_locked=True):
            # What failed was checked without it. What passed stays: it also holds what GitLab announces of its issuer.
            if any(check["state"] == CheckState.FAIL for check in (connection.checks or {}).get("checks", ())):
                connection.checks = None
            session.add(connection)
        return _use_of(session, server)


def _use_of(session: Session, server: GitLabServer) -> ServerUse:
    shown = parse_certificates(server.client_certificate)[0] if server.client_certificate else None
    return ServerUse(server, connections_of(session, server), shown)


def _find(session: Session, principal: Principal, server_id: int, *, is_locked: bool = False) -> GitLabServer:
    statement = select(GitLabServer).where(
        GitLabServer.id == server_id, GitLabServer.organization_id == principal.organization_id
    )
    server = session.exec(statement.with_for_update() if is_locked else statement).first()
    if server is None:
        raise NotFound
    return server


def _stored(runtime: Runtime, server: GitLabServer, column: str, *, has_it: bool) -> str:
    secret = _open(runtime, server, column) if has_it else None
    return secret.reveal() if secret else ""


def _open(runtime: Runtime, server: GitLabServer, column: str) -> Secret | None:
    sealed = getattr(server, column)
    if sealed is None:
        return None
    try:
        return runtime.vault.open(sealed, Place("gitlab_server", server.id or 0, column), server.origin)
    except SecretUnreadable:
        log.warning("gateway_secret_unreadable", server_id=server.id, column=column)
        return None
