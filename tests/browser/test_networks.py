"""A GitLab in each kind of network, from its address to the list of its repositories."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from playwright.sync_api import Page, expect
from sqlalchemy import delete
from sqlmodel import select

from portal.connections import checklist, instance, store
from portal.connections.models import Connection, Method, OutboundTry
from portal.net import Address, NetworkPolicy, OutboundClient, origin_of, parse_address
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from tests.browser import walk
from tests.browser.checks import Looker
from tests.browser.site import Site
from tests.browser.watching import Watch
from tests.net.certificates import Issued, issue
from tests.net.servers import Server, guarding, header_of, tunnelling_to
from tests.support.walkthrough import principal_of

pytestmark = pytest.mark.browser
# Only the proxy knows the name.
INNER = "gitlab.inner.test"
HEADER, VALUE = "X-Gateway-Key", "open-sesame-gateway-canary"
KINDS = ("private authority", "proxy", "sub-path", "API URL", "gateway")


@pytest.fixture
def authority() -> Issued:
    return issue("Halden Energy CA", is_authority=True)


@pytest.fixture
def sandbox_options(kind: str, authority: Issued) -> dict[str, Any]:
    options: dict[str, Any] = {"with_service_user": True}
    if kind in {"private authority", "proxy"}:
        leaf = issue("localhost", "localhost", INNER, by=authority)
        options["tls"] = leaf.server_context(authority)
    return options | ({"relative_root": "/a/b/gitlab"} if kind == "sub-path" else {})


@pytest.fixture
def settings(listener: socket.socket, sandbox: RunningSandbox, tmp_path: Path) -> Settings:
    """As everywhere here, but the sandbox may have a path."""
    return Settings(
        base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
        data_dir=tmp_path / "var",
        allow_http=True,
        sandbox_origin=origin_of(sandbox.url),
    )


@pytest.fixture
def reached(site: Site, kind: str, authority: Issued) -> Iterator[Server | None]:
    """What stands between the portal and the sandbox; the portal may reach nothing else on loopback."""
    with ExitStack() as stack:
        between: Server | None = None
        exempt = parse_address(site.sandbox.url, allow_http=True)
        if kind == "proxy":
            between = stack.enter_context(Server(tunnelling_to(site.sandbox.port)))
            exempt = Address("http", "proxy.test", between.port)
            object.__setattr__(site.runtime.settings, "proxy_ports", frozenset({between.port}))
        elif kind == "API URL":
            exempt = Address("http", "127.0.0.1", site.sandbox.port)
        elif kind == "gateway":
            context = issue("localhost", "localhost", by=authority).server_context(authority)
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=authority.pem)
            script = guarding(site.sandbox.port, HEADER, VALUE)
            between = stack.enter_context(Server(script, tls=context))
            exempt = Address("https", "localhost", between.port)
        policy = NetworkPolicy(exempt=exempt, own_origin=site.url)
        local = {"proxy.test", "localhost", "127.0.0.1"}
        outbound = OutboundClient(policy, lambda host, port: ["127.0.0.1"] if host in local else [])
        object.__setattr__(site.runtime, "outbound", outbound)
        yield between


def check(page: Page) -> None:
    """Press *Continue* until the checks are shown; without JavaScript they wait for a press."""
    walk.press_continue(page)
    if not page.locator("html.js").count():
        page.get_by_role("button", name="Check now").click()
    expect(page.locator("#instance-checks-title")).to_contain_text("in")


def by_private_authority(page: Page, site: Site, between: Server | None, authority: Issued) -> None:
    walk.field(page, "Domain").fill(site.sandbox.url)
    check(page)
    certificate = page.locator("#check-certificate")
    expect(certificate).to_contain_text("authority this portal does not know")
    expect(certificate).to_contain_text(authority.sha256)
    look = Looker()
    look(page, "instance-trust")
    assert look.problems == []
    page.get_by_role("button", name="Trust this certificate authority").click()


def by_proxy(page: Page, site: Site, between: Server | None, authority: Issued) -> None:
    assert between is not None
    walk.field(page, "Domain").fill(site.sandbox.url)
    page.get_by_text("Private network, own certificate authority or proxy").click()
    walk.field(page, "API URL optional").fill(f"https://{INNER}")
    walk.field(page, "CA certificate optional").fill(authority.pem)
    walk.field(page, "Proxy optional").fill(f"proxy.test:{between.port}")
    walk.field(page, "Except for optional").fill(".example.com, 10.0.0.0/8")
    check(page)


def by_sub_path(page: Page, site: Site, between: Server | None, authority: Issued) -> None:
    walk.field(page, "Domain").fill(f"{site.sandbox.url}/web/shop/-/merge_requests/1")
    check(page)
    expect(page.locator("#check-gitlab")).to_contain_text(f"GitLab answers at {site.sandbox.url}.")
    page.get_by_role("button", name=f"Use {site.sandbox.url}").click()


def by_api_url(page: Page, site: Site, between: Server | None, authority: Issued) -> None:
    walk.field(page, "Domain").fill(site.sandbox.url)
    page.get_by_text("Private network, own certificate authority or proxy").click()
    walk.field(page, "API URL optional").fill(f"http://127.0.0.1:{site.sandbox.port}")
    check(page)


def by_gateway(page: Page, site: Site, between: Server | None, authority: Issued) -> None:
    assert between is not None
    walk.field(page, "Domain").fill(site.sandbox.url)
    page.get_by_text("Private network, own certificate authority or proxy").click()
    walk.field(page, "API URL optional").fill(f"https://localhost:{between.port}")
    walk.field(page, "CA certificate optional").fill(authority.pem)
    check(page)
    expect(page.locator("#instance-checks")).to_contain_text("demands a client certificate")
    page.get_by_role("link", name="Enter a client certificate").click()
    client = issue("gatehouse", by=authority)
    walk.field(page, "Client certificate optional").fill(client.pem)
    key = client.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    walk.field(page, "Private key optional").fill(key)
    walk.field(page, "Header optional").fill(HEADER)
    walk.field(page, "Value").fill(VALUE)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#alerts")).to_contain_text("were saved")
    assert VALUE not in page.content()
    assert key not in page.content()
    look = Looker()
    look(page, "server")
    page.get_by_role("link", name="GitLab servers").click()
    look(page, "servers")
    assert look.problems == []
    page.goto(f"{site.url}/connections/gitlab/setup/instance")


STEPS: dict[str, Callable[[Page, Site, Server | None, Issued], None]] = dict(
    zip(KINDS, (by_private_authority, by_proxy, by_sub_path, by_api_url, by_gateway), strict=True)
)


@pytest.mark.parametrize(("kind", "scripts"), [*((kind, True) for kind in KINDS), ("proxy", False)])
def test_gitlab_is_connected_and_read(
    site: Site, kind: str, scripts: bool, authority: Issued, reached: Server | None, watch: Watch
) -> None:
    context = site.sign_in(site.open_context(ignore_https_errors=True, java_script_enabled=scripts))
    page = context.new_page()
    walk.begin(page, site)
    STEPS[kind](page, site, reached, authority)
    expect(page.get_by_role("heading", name="Everything is in place")).to_be_visible()
    walk.press_continue(page)

    walk.heading(page, "Create the application in GitLab")
    walk.paste_credentials(page, *walk.create_application(page, site))
    walk.heading(page, "Choose who Gatehouse acts as")
    walk.press_continue(page)
    if scripts:
        walk.start_popup(page).get_by_role("button", name="Sign in as gatehouse").click()
    else:
        page.get_by_role("button", name="Authorize as @gatehouse").click()
        page.get_by_role("button", name="Sign in as gatehouse").click()
        page.get_by_role("link", name="Click here to redirect to the application").click()
    walk.heading(page, "Authorized as @gatehouse")
    page.get_by_role("link", name="Continue").click()
    if not scripts:
        site.await_jobs()
        page.reload()
    expect(page.get_by_role("button", name="Enable data/data-contracts", exact=True)).to_be_visible()

    # The other ways in, over the same network.
    with site.runtime.database.transaction() as session:
        session.execute(delete(OutboundTry))
        entered = instance.entered_of(site.runtime, session.exec(select(Connection)).one())
    principal = principal_of(site.runtime, site.cast.owner)
    for method in (Method.ACCESS_TOKEN, Method.OAUTH):
        slug = store.create_draft(site.runtime, principal, method, method).slug
        instance.save_instance(site.runtime, principal, slug, entered)
        assert checklist.run_checklist(site.runtime, principal, slug).is_passed
        if method == Method.ACCESS_TOKEN:
            page.goto(f"{site.url}/connections/{slug}/setup/token")
            token = site.sandbox.token("gatehouse", "read_api", "read_user", "read_repository")
            walk.field(page, "Personal access token").fill(token)
            page.get_by_role("button", name="Link account").click()
            walk.heading(page, "Choose repositories")
        else:
            page.goto(f"{site.url}/connections/{slug}/setup/create")
            walk.field(page, "Administrator’s token").fill(site.sandbox.token("root"))
            page.get_by_role("button", name="Make these calls").click()
            expect(page.get_by_role("heading", level=1)).to_contain_text("Created in")

    if kind == "proxy":
        assert {request.split(b" ")[1] for request in reached.requests} == {f"{INNER}:443".encode()}
    if kind == "gateway":
        assert {header_of(request, HEADER.lower()) for request in reached.requests} == {VALUE}
