"""Where a GitLab is and how it is reached: entered in step 2, used for every call."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlmodel import Session

from portal import audit
from portal.actor import Principal
from portal.connections.limits import CHECKS, count_try
from portal.connections.models import Connection, GitLabServer, need_attention, way_of
from portal.connections.servers import SharedServer, connections_of, find_server, open_way, proxy_exceptions_of
from portal.connections.steps import Step
from portal.connections.store import application_of, get_connection_for_admin
from portal.db import utc_now
from portal.errors import Card, InvalidInput
from portal.gitlab.answers import GitLabError
from portal.gitlab.identification import identify
from portal.logs import get_logger
from portal.net import (
    Address,
    AddressForbidden,
    AddressRefused,
    CertificateRefused,
    OutboundError,
    ProxyExceptions,
    origin_of,
    parse_address,
    parse_certificates,
    parse_proxy,
)
from portal.runtime import Runtime

log = get_logger(__name__)
PROXY_SENTENCE = "Enter the proxy as host:port, for example proxy.example.com:3128."


class Reach(StrEnum):
    """Which connections follow when a GitLab server that several share is changed through one of them."""

    ALL = "all"
    ONE = "one"


@dataclass(frozen=True)
class Entered:
    """What was typed in step 2, as text."""

    domain: str
    api_url: str = ""
    ca_certificate: str = ""
    proxy: str = ""
    proxy_exceptions: str = ""


def entered_of(runtime: Runtime, connection: Connection) -> Entered:
    """Return what a connection's stored values would be typed as."""
    api_url = "" if connection.api_url == connection.external_url else connection.api_url
    exceptions = proxy_exceptions_of(runtime, connection)
    return Entered(connection.external_url, api_url, connection.ca_certificate, connection.proxy, exceptions)


@dataclass(frozen=True)
class Understood:
    """What it means."""

    external: Address
    api: Address
    ca_certificate: str
    proxy: str
    proxy_exceptions: str = ""

    @property
    def way(self) -> dict[str, str]:
        """What a connection keeps of it, as `way_of`."""
        return {
            "external_url": self.external.url,
            "api_url": self.api.url,
            "ca_certificate": self.ca_certificate,
            "proxy": self.proxy,
        }

    def is_way_of(self, server: GitLabServer) -> bool:
        """Return whether a server is reached exactly so."""
        known = {name: getattr(server, name) for name in (*self.way, "proxy_exceptions")}
        return known == {**self.way, "proxy_exceptions": self.proxy_exceptions}

    def write_to(self, server: GitLabServer) -> None:
        """Have a server reached so; what a gateway at another origin wants to see must be entered again."""
        for name, value in {**self.way, "proxy_exceptions": self.proxy_exceptions}.items():
            setattr(server, name, value)
        if server.origin != self.api.origin:
            server.client_key_sealed = server.header_value_sealed = None
        server.origin, server.updated_at = self.api.origin, utc_now()


def understand(runtime: Runtime, entered: Entered) -> Understood:
    """Read what was typed.

    Raises:
        InvalidInput: with a sentence per field.
    """
    problems: dict[str, str] = {}
    has_api = bool(entered.api_url.strip())
    # With an API URL this server never calls the Domain, so the allowed ports do not matter.
    external = _read_address(runtime, "domain", entered.domain, problems, is_called=not has_api)
    api = _read_address(runtime, "api_url", entered.api_url, problems) if has_api else external
    # A form sends other line ends than were typed.
    pem = "\n".join(entered.ca_certificate.strip().splitlines())
    try:
        if pem:
            parse_certificates(pem)
    except CertificateRefused as error:
        problems["ca_certificate"] = str(error)
    proxy = _read_proxy(runtime, entered.proxy, problems)
    exceptions = ", ".join(re.split(r"[\s,;]+", entered.proxy_exceptions.strip())) if proxy else ""
    try:
        ProxyExceptions.parse(exceptions)
    except AddressRefused as error:
        problems["proxy_exceptions"] = error.sentence
    if problems or external is None or api is None:
        raise InvalidInput(field_errors=problems)
    return Understood(external, api, pem, proxy, exceptions)


def save_instance(
    runtime: Runtime, principal: Principal, slug: str, entered: Entered, reach: Reach | None = None
) -> Connection:
    """Store how the GitLab is reached. A different origin drops the stored secrets: they must be typed again (S32).

    Args:
        runtime: for the check of a new path.
        principal: who changes it.
        slug: of the connection.
        entered: what was typed.
        reach: whether connections that share the GitLab server change, too; None if no one has been asked.

    Raises:
        InvalidInput: with a sentence per field; nothing is changed.
        SharedServer: others share it, and no one has been asked.
        RateLimited: the organization checked addresses too often in the last minute.
    """
    understood = understand(runtime, entered)
    _require_gitlab_at_new_path(runtime, principal, slug, entered, understood, reach)
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        # The server first, then its connections in their order: two changes at once wait for each other.
        server = session.get(GitLabServer, connection.server_id, with_for_update=True) if connection.server_id else None
        users = connections_of(session, server, is_locked=True) if server else []
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        others = [user for user in users if user.id != connection.id]
        followers, is_rerouted = [connection], False
        if server is None and (found := find_server(session, connection.organization_id, understood.way)):
            server = found
            understood = replace(understood, ca_certificate=found.ca_certificate, proxy=found.proxy)
        elif server is not None and not understood.is_way_of(server):
            if others and reach is None:
                raise SharedServer(others)
            if others and reach == Reach.ONE:
                server = None
            else:
                followers += others
                is_rerouted = server.proxy_exceptions != understood.proxy_exceptions
                understood.write_to(server)
        if server is None:
            server = GitLabServer(organization_id=connection.organization_id, external_url="", api_url="")
            understood.write_to(server)
        session.add(server)
        session.flush()
        for follower in followers:
            _follow(session, principal, follower, server, understood, is_rerouted=is_rerouted)
        return connection


def _follow(
    session: Session,
    principal: Principal,
    connection: Connection,
    server: GitLabServer,
    understood: Understood,
    *,
    is_rerouted: bool,
) -> None:
    """Apply to a connection how its GitLab server is reached now."""
    before = {**way_of(connection), "server_id": connection.server_id}
    connection.server_id = server.id
    for name, value in understood.way.items():
        setattr(connection, name, value)
    connection.updated_at = utc_now()
    if connection.authorized_via and origin_of(connection.authorized_via["api_url"]) == understood.api.origin:
        connection.authorized_via = way_of(connection)
    if is_rerouted or before != {**way_of(connection), "server_id": connection.server_id}:
        # What was learned about the previous address; what answers at another one may be another GitLab.
        connection.checks = None
        connection.row_version += 1
        is_moved = connection.api_url != before["api_url"]
        void = {Step.INSTANCE, Step.TOKEN} if is_moved else {Step.INSTANCE}
        connection.steps_done = [step for step in connection.steps_done if step not in void]
        if is_moved:
            connection.version_seen = connection.edition_seen = ""
        if is_moved and connection.authorized_at and connection.id:
            need_attention(session, connection.id, Card("address_changed"))
        audit.record(
            session,
            principal.actor,
            "connection.instance_changed",
            connection.target,
            external_url=connection.external_url,
            api_url=connection.api_url,
        )
    application = application_of(session, connection.id)
    if application and application.client_secret_sealed and application.origin != understood.api.origin:
        application.client_secret_sealed = application.client_secret_fingerprint = application.checked_at = None
        application.client_secret_hint = application.origin = ""
        void = {Step.APPLICATION, Step.AUTHORIZE}
        connection.steps_done = [step for step in connection.steps_done if step not in void]
    session.add(connection)


def _require_gitlab_at_new_path(
    runtime: Runtime,
    principal: Principal,
    slug: str,
    entered: Entered,
    understood: Understood,
    reach: Reach | None,
) -> None:
    """Check before secrets move along: they are bound to scheme, host and port, and one server may hold many paths.

    Raises:
        InvalidInput: no GitLab answers at the new path.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        server = session.get(GitLabServer, connection.server_id) if connection.server_id else None
        moving = [connection]
        if server and reach == Reach.ALL:
            moving += connections_of(session, server, besides=connection.id)
        others = set()
        for one in moving:
            application = application_of(session, one.id)
            others |= {one.api_url if application and application.client_secret_sealed else ""}
            others |= {(one.authorized_via or {}).get("api_url", "")}
        others -= {"", understood.api.url}
        if not any(origin_of(url) == understood.api.origin for url in others):
            return
        count_try(session, principal, CHECKS)
    try:
        with open_way(runtime, understood.way, connection.server_id) as http:
            identify(http, understood.external.url)
    except (GitLabError, OutboundError) as error:
        field = "api_url" if entered.api_url.strip() else "domain"
        kept = "The Secret or token belongs to this server, so the new path must be one where GitLab answers."
        raise InvalidInput(field_errors={field: f"{error.sentence} {kept}"}) from None


def trust_authority(runtime: Runtime, principal: Principal, slug: str, entered: Entered, fingerprint: str) -> Entered:
    """Return what was typed, with the authority of that SHA-256 fingerprint, which the server must still present.

    Raises:
        InvalidInput: it no longer does, or that certificate cannot be an authority.
        RateLimited: the organization checked addresses too often in the last minute.
    """
    understood = understand(runtime, entered)
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        count_try(session, principal, CHECKS)
    with open_way(runtime, understood.way, connection.server_id) as http:
        found = http.examine().authority
    if found is None or found.sha256 != fingerprint:
        sentence = "The server now shows other certificates. Check again, and compare the fingerprint once more."
        raise InvalidInput(field_errors={"ca_certificate": sentence})
    return replace(entered, ca_certificate=found.pem.strip())


def would_change(runtime: Runtime, connection: Connection, entered: Entered) -> bool:
    """Return whether what was typed leads to another server, or to the same one by another route.

    Raises:
        InvalidInput: with a sentence per field.
    """
    understood, exceptions = understand(runtime, entered), proxy_exceptions_of(runtime, connection)
    return (way_of(connection), exceptions) != (understood.way, understood.proxy_exceptions)


def _read_address(
    runtime: Runtime, name: str, text: str, problems: dict[str, str], *, is_called: bool = True
) -> Address | None:
    policy = runtime.outbound.policy
    try:
        address = parse_address(text, allow_http=True)
        if not address.is_scheme_typed:
            # Without a scheme, the sandbox's address means its plain HTTP address.
            plain = Address("http", address.host, address.port, address.path)
            address = plain if policy.is_exempt(plain) else address
        if address.scheme == "http" and not (runtime.settings.allow_http or policy.is_exempt(address)):
            raise AddressRefused(
                "http_not_allowed", "Plain HTTP would send secrets unencrypted. Enter the https address."
            )
        if is_called:
            policy.check_target(address)
    except AddressRefused as error:
        problems[name] = error.sentence
        return None
    except OutboundError as error:
        problems[name] = error.sentence
        _note_refused(address, error)
        return None
    return address


def _read_proxy(runtime: Runtime, text: str, problems: dict[str, str]) -> str:
    """Read a proxy; the same rules apply as for a GitLab, except for the ports."""
    if not text.strip():
        return ""
    allowed = runtime.settings.proxy_ports | runtime.settings.outbound_ports
    try:
        address = parse_proxy(text)
        replace(runtime.outbound.policy, ports=allowed).check_target(address)
    except AddressRefused:
        problems["proxy"] = PROXY_SENTENCE
        return ""
    except AddressForbidden as error:
        ports = (
            f"Proxies are only used at port {' or '.join(map(str, sorted(allowed)))}; the operator can allow others."
        )
        problems["proxy"] = ports if error.code == "address_port" else error.sentence
        _note_refused(address, error)
        return ""
    return address.origin


def _note_refused(address: Address, error: OutboundError) -> None:
    kind, host, port = "address_refused", address.host, address.port
    log.warning("security_event", kind=kind, host=host, port=port, layer=error.layer, error_code=error.code)
