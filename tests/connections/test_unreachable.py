"""Every way in which an address can turn out not to be a reachable GitLab, and what the checklist says about it."""

from __future__ import annotations

import re
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from portal.net import Address, NetworkPolicy, OutboundClient
from portal.net.resolver import Resolve, system_resolve
from portal.runtime import Runtime
from tests.net.certificates import DAY, NOW, Issued, issue
from tests.net.lines import HOST, answering
from tests.net.servers import Peer, Server, response, then_close
from tests.support.visitor import Visitor

# Is in everything the servers say; must be on no page.
PEER_WORDS = "internal-db-9"
_FAILED = re.compile(r'<li class="gh-check gh-check-fail" id="check-([a-z_]+)">')
_CODE = re.compile(r'<code class="gh-failure-code">([^<]+)</code>')
_LAYER = re.compile(r'aria-label="Problem: ([^"]+)"')


@dataclass(frozen=True)
class Way:
    """What is entered, and where the name leads."""

    port: int = 443
    scheme: str = "https"
    host: str = HOST
    ca_certificate: str = ""
    resolve: Resolve = field(default=answering("127.0.0.1"))
    server: Server | None = None


def leading_to(stack: ExitStack, server: Server, scheme: str = "https", ca_certificate: str = "") -> Way:
    """Return the address of a server that runs until the test ends."""
    return Way(stack.enter_context(server).port, scheme, ca_certificate=ca_certificate, server=server)


@dataclass(frozen=True)
class Answered:
    """What the checklist shows: the check that failed, the layer and the code on its card."""

    check: str
    layer: str
    code: str


Begin = Callable[[ExitStack], Way]
AUTHORITY = issue("Test authority", is_authority=True)
TRUSTED = issue(HOST, HOST, by=AUTHORITY)
INTERMEDIATE = issue("Intermediate", is_authority=True, by=AUTHORITY)
BY_INTERMEDIATE = issue(HOST, HOST, by=INTERMEDIATE)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def unknown_name(_: ExitStack) -> Way:
    return Way(host="gitlab.nowhere.invalid", resolve=system_resolve)


def closed_port(_: ExitStack) -> Way:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Way(listener.getsockname()[1])


def tls(
    leaf: Issued,
    ca_certificate: str = AUTHORITY.pem,
    base: ssl.SSLContext | None = None,
    chain: tuple[Issued, ...] = (),
) -> Begin:
    def begin(stack: ExitStack) -> Way:
        server = Server(then_close(response(PEER_WORDS.encode())), tls=leaf.server_context(*chain, base=base))
        return leading_to(stack, server, ca_certificate=ca_certificate)

    return begin


def old_protocol() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def greeting(peer: Peer) -> None:
    """Answer anything the way Redis does."""
    peer.server.requests.append(peer.sock.recv(65536))
    peer.send(f"-ERR wrong number of arguments for '{PEER_WORDS}' command\r\n".encode())


def redis(scheme: str) -> Begin:
    return lambda stack: leading_to(stack, Server(greeting), scheme)


def web_site(stack: ExitStack) -> Way:
    page = f"<html><title>{PEER_WORDS}</title><h1>Welcome to {PEER_WORDS}</h1></html>".encode()
    answer = response(page, f"200 {PEER_WORDS}", content_type="text/html", server=PEER_WORDS, x_request_id=PEER_WORDS)
    return leading_to(stack, Server(then_close(answer)), "http")


def other_api(stack: ExitStack) -> Way:
    body = f'{{"message": "{PEER_WORDS}", "error": "{PEER_WORDS}"}}'.encode()
    answer = response(body, f"403 {PEER_WORDS}", x_request_id=PEER_WORDS)
    return leading_to(stack, Server(then_close(answer)), "http")


WAYS = [
    pytest.param(unknown_name, Answered("name", "Name resolution", "name_not_resolved"), id="unknown name"),
    pytest.param(closed_port, Answered("port", "Connection", "connect_failed"), id="closed port"),
    pytest.param(
        tls(issue(HOST, HOST, by=AUTHORITY, not_before=NOW - 9 * DAY, not_after=NOW - DAY)),
        Answered("certificate", "TLS", "tls_expired"),
        id="expired",
    ),
    pytest.param(
        tls(issue("other.test", "other.test", by=AUTHORITY)),
        Answered("certificate", "TLS", "tls_wrong_name"),
        id="wrong name",
    ),
    pytest.param(tls(issue(HOST, HOST)), Answered("certificate", "TLS", "tls_self_signed"), id="self-signed"),
    pytest.param(
        tls(BY_INTERMEDIATE, "", chain=(INTERMEDIATE,)),
        Answered("certificate", "TLS", "tls_unknown_ca"),
        id="unknown authority",
    ),
    pytest.param(
        tls(BY_INTERMEDIATE), Answered("certificate", "TLS", "tls_incomplete_chain"), id="missing intermediate"
    ),
    pytest.param(
        tls(TRUSTED, base=old_protocol()), Answered("certificate", "TLS", "tls_old_protocol"), id="old protocol"
    ),
    pytest.param(redis("https"), Answered("certificate", "TLS", "tls_not_tls"), id="not TLS"),
    pytest.param(redis("http"), Answered("gitlab", "HTTP", "answer_broken"), id="not HTTP"),
    pytest.param(web_site, Answered("gitlab", "HTTP", "not_gitlab"), id="a web site"),
    pytest.param(other_api, Answered("gitlab", "HTTP", "other_api"), id="another API"),
]


def draft_at(runtime: Runtime, visitor: Visitor, way: Way) -> str:
    """Start a connection to an address that this portal may reach; return its slug."""
    address = Address(way.scheme, way.host, way.port)
    outbound = OutboundClient(NetworkPolicy(exempt=address, own_origin=runtime.settings.base_url), resolve=way.resolve)
    object.__setattr__(runtime, "outbound", outbound)
    visitor.post("/connections/new", {"services": "repositories", "method": "oauth", "display_name": "GitLab"})
    entered = {"domain": address.url, "ca_certificate": way.ca_certificate}
    assert visitor.post("/connections/gitlab/setup/instance", entered).status_code == 303
    return "gitlab"


@pytest.mark.parametrize(("begin", "expected"), WAYS)
def test_address_that_is_no_gitlab_names_the_layer_and_repeats_nothing(
    runtime: Runtime, owner: Visitor, stack: ExitStack, begin: Begin, expected: Answered
) -> None:
    slug = draft_at(runtime, owner, begin(stack))

    checks = owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True)
    page = owner.get(f"/connections/{slug}/setup/instance").text

    for text in (checks.text, page):
        assert (_FAILED.findall(text), _LAYER.findall(text), _CODE.findall(text)) == (
            [expected.check],
            [expected.layer],
            [expected.code],
        )
        assert PEER_WORDS not in text
    assert checks.status_code == 200
    assert owner.get(f"/connections/{slug}/setup/application").headers["Location"].endswith("/setup/instance")


@pytest.mark.parametrize("begin", [redis("http"), web_site, other_api], ids=["not HTTP", "a web site", "another API"])
def test_server_that_is_no_gitlab_never_gets_a_secret(
    runtime: Runtime, owner: Visitor, begin: Begin, stack: ExitStack
) -> None:
    way = begin(stack)
    slug = draft_at(runtime, owner, way)
    owner.post(f"/connections/{slug}/setup/instance/checks")

    answer = owner.post(
        f"/connections/{slug}/setup/credentials", {"application_id": "a" * 64, "secret": "gloas-canary" + "b" * 52}
    )

    assert answer.headers["Location"].endswith("/setup/instance")
    assert way.server is not None
    assert not [request for request in way.server.requests if b"canary" in request]
