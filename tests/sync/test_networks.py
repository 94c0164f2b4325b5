"""Git reaches GitLab the way every other request does: a private authority, a gateway, a sub-path, a proxy."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlmodel import select

from portal.connections.models import Connection
from portal.credentials.models import Credential
from portal.net import Address, Gateway, NetworkPolicy, OutboundClient, origin_of, parse_address
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.sync.git import Repository
from portal.sync.remote import Remote, RemoteFailed, open_remote
from portal.vault import Place, Secret
from tests.net.certificates import Issued, issue
from tests.net.lines import HOST
from tests.net.servers import Server, tunnelling_to
from tests.support.connected import connect
from tests.support.people import Cast

PROJECT = "platform/infrastructure/ansible-playbooks"
INSIDE = "10.0.0.5"


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("Test authority", is_authority=True)


@pytest.fixture
def sandbox(authority: Issued) -> Iterator[RunningSandbox]:
    """A GitLab below a sub-path, whose gateway wants a client certificate of a private authority."""
    context = issue("localhost", "localhost", HOST, by=authority).server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    with RunningSandbox(tls=context, relative_root="/git", with_service_user=True, project_count=40) as running:
        yield running


def fetched(remote: Remote, folder: Path) -> str | None:
    """The commit of the default branch."""
    own = Repository(folder / "own.git")
    own.create()
    return remote.fetch(own, "main", "refs/gitlab/branch")


def shown(authority: Issued) -> Gateway:
    """What the gateway wants to see."""
    client = issue("gatehouse", by=authority)
    key = client.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Gateway(client.pem, Secret(key), "X-Gateway-Key", Secret("open-sesame-canary"))


def test_private_authority_client_certificate_header_and_sub_path(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, authority: Issued, tmp_path: Path
) -> None:
    connection = stored(runtime, sandbox, cast, ca_certificate=authority.pem)
    policy = NetworkPolicy(exempt=parse_address(sandbox.url))
    object.__setattr__(runtime, "outbound", OutboundClient(policy))

    with open_remote(runtime, connection, PROJECT) as remote:
        with pytest.raises(RemoteFailed):
            fetched(remote, tmp_path)
        headers = {"X-Gateway-Key": "open-sesame-canary"}
        route = replace(remote.route, gateway=shown(authority), headers=headers)
        commit = fetched(replace(remote, route=route), tmp_path)
        other = replace(remote.route, gateway=shown(authority), ca_certificate=issue("Other", is_authority=True).pem)
        with pytest.raises(RemoteFailed) as untrusted:
            fetched(replace(remote, route=other), tmp_path)

    assert commit == sandbox.world.git.refs(sandbox.world.project(PROJECT))["refs/heads/main"]
    assert untrusted.value.card.code == "tls_failed"
    (seen, *_) = sandbox.requests.all("*/info/refs")
    assert seen.headers["x-gateway-key"] == "open-sesame-canary"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]


def test_proxy_is_asked_for_the_host_and_nothing_else_is_connected_to(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, authority: Issued, tmp_path: Path
) -> None:
    url = f"https://{HOST}/git"
    with Server(tunnelling_to(sandbox.port)) as proxy:
        about = {"api_url": url, "external_url": url, "proxy": f"proxy.test:{proxy.port}"}
        connection = stored(runtime, sandbox, cast, ca_certificate=authority.pem, **about)
        answers = {"proxy.test": ["127.0.0.1"], HOST: [INSIDE]}
        policy = NetworkPolicy(exempt=Address("http", "proxy.test", proxy.port), ports=frozenset({443}))
        object.__setattr__(runtime, "outbound", OutboundClient(policy, lambda host, port: answers[host]))
        with open_remote(runtime, connection, PROJECT) as remote:
            commit = fetched(replace(remote, route=replace(remote.route, gateway=shown(authority))), tmp_path)

    assert commit is not None
    assert {request.split(b"\r\n")[0] for request in proxy.requests} == {f"CONNECT {HOST}:443 HTTP/1.1".encode()}


def stored(runtime: Runtime, sandbox: RunningSandbox, cast: Cast, **values: str) -> Connection:
    """A connection that reaches GitLab in another way, with a token for its address."""
    connection_id = connect(runtime, sandbox, cast.owner)
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        for name, value in values.items():
            setattr(connection, name, value)
        credential = session.exec(select(Credential)).one()
        credential.origin = origin_of(connection.api_url)
        place = Place("credential", credential.id or 0, "access_token_sealed")
        token = Secret(sandbox.access_token("gatehouse"))
        credential.access_token_sealed = runtime.vault.seal(token, place, credential.origin)
    return connection
