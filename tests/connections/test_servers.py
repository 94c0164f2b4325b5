"""A GitLab that is set up once and shared by connections of the organization."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlmodel import select

from portal.connections.models import Connection, ConnectionState, GitLabServer
from portal.connections.servers import EnteredGateway, open_way, save_gateway
from portal.connections.store import open_host_session
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.accounts.support import BOTH_DATABASES, form_on, let_time_pass
from tests.connections.drafts import connection_named, draft
from tests.connections.peers import let_through
from tests.net.certificates import issue
from tests.net.servers import Server, always, response
from tests.support.people import PASSWORD, Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, principal_of

ELSEWHERE = "https://gitlab.example.com"
CANARY = "open-sesame-gateway-canary"


def servers(runtime: Runtime) -> list[GitLabServer]:
    with runtime.database.reading() as session:
        return list(session.exec(select(GitLabServer)))


@pytest.fixture
def second(owner: Visitor, sandbox: RunningSandbox, live: Prepared) -> str:
    """A draft that names the same GitLab as a connection in use."""
    slug = draft(owner, "Second")
    owner.post(f"/connections/{slug}/setup/instance", {"domain": sandbox.url})
    return f"/connections/{slug}/setup/instance"


@BOTH_DATABASES
def test_same_address_is_shared_and_a_change_is_asked_with_the_connections_that_follow(
    runtime: Runtime, owner: Visitor, live: Prepared, second: str
) -> None:
    (server,) = servers(runtime)
    page = owner.get(f"/servers/{server.id}").text
    assert "GitLab</a>" in page
    assert "Second</a>" in page

    asked = owner.post(second, {"domain": ELSEWHERE})

    assert asked.status_code == 409
    assert "shares this GitLab with 1 other connection" in asked.text
    assert live.connection.display_name in asked.text
    assert f'value="{ELSEWHERE}"' in asked.text
    assert [item.external_url for item in servers(runtime)] == [server.external_url]

    assert owner.post(second, {"domain": ELSEWHERE, "reach": "all"}).status_code == 303
    followed = connection_named(runtime, "GitLab")
    assert {followed.api_url, connection_named(runtime, "Second").api_url} == {ELSEWHERE}
    assert (followed.state, followed.attention["code"]) == (ConnectionState.NEEDS_ATTENTION, "address_changed")


def test_change_for_one_connection_leaves_the_others_and_its_draft_takes_the_server_along(
    runtime: Runtime, owner: Visitor, sandbox: RunningSandbox, live: Prepared, second: str
) -> None:
    owner.post(second, {"domain": ELSEWHERE, "reach": "one"})

    assert connection_named(runtime, "GitLab").api_url == sandbox.url
    assert connection_named(runtime, "GitLab").state == ConnectionState.CONNECTED
    assert sorted(item.api_url for item in servers(runtime)) == sorted([ELSEWHERE, sandbox.url])

    owner.post(second.replace("instance", "cancel"))

    assert [item.api_url for item in servers(runtime)] == [sandbox.url]


def test_hosts_without_the_proxy_are_a_change_of_the_way(
    app: Flask, runtime: Runtime, owner: Visitor, sandbox: RunningSandbox, live: Prepared
) -> None:
    path = f"/connections/{live.slug}/setup/instance"
    through = {"domain": sandbox.url, "proxy": "proxy.example.com:3128"}
    owner.post(path, {**through, "proxy_exceptions": "localhost"})
    assert owner.post(f"{path}/checks").status_code == 303
    assert connection_named(runtime, "GitLab").checks is not None

    let_time_pass(app, minutes=6)
    asked = owner.post(path, {**through, "proxy_exceptions": "10.0.0.0/8  .example.com"})
    assert asked.status_code == 401
    assert owner.post(path, {**through, "proxy_exceptions": "localhost"}).status_code == 303

    action, hidden = form_on(asked)
    owner.post(action, {**hidden, "proof_password": PASSWORD})
    assert servers(runtime)[0].proxy_exceptions == "10.0.0.0/8, .example.com"


def test_other_organization_shares_nothing_and_sees_nothing(
    runtime: Runtime, cast: Cast, sandbox: RunningSandbox, live: Prepared, visitor: Visitor
) -> None:
    stranger = visitor.sign_in(cast.outsider)
    slug = draft(stranger, "Theirs")
    stranger.post(f"/connections/{slug}/setup/instance", {"domain": sandbox.url})

    ours, theirs = servers(runtime)
    assert ours.organization_id != theirs.organization_id
    assert stranger.get(f"/servers/{ours.id}").status_code == 404
    assert f'/servers/{ours.id}"' not in stranger.get("/servers/").text


def test_gateways_secrets_are_sealed_shown_to_no_one_and_dropped_with_the_origin(
    runtime: Runtime, cast: Cast, owner: Visitor, sandbox: RunningSandbox, live: Prepared
) -> None:
    (server,) = servers(runtime)
    client = issue("gatehouse")
    principal = principal_of(runtime, cast.owner)
    wrong = owner.post(f"/servers/{server.id}", {"header_name": "Authorization", "header_value": CANARY})
    assert "has a meaning for HTTP" in wrong.text
    assert CANARY not in wrong.text

    owner.post(f"/servers/{server.id}", {"header_name": "X-Gateway-Key", "header_value": CANARY})
    owner.post(f"/servers/{server.id}", {"header_name": "X-Gateway-Key", "header_value": ""})
    sandbox.requests.clear()
    with open_host_session(runtime, connection_named(runtime, "GitLab")) as http:
        http.fetch("GET", "/api/v4/version")
    assert [seen.headers["x-gateway-key"] for seen in sandbox.requests.all()] == [CANARY]
    assert CANARY not in owner.get(f"/servers/{server.id}").text
    assert CANARY.encode() not in servers(runtime)[0].header_value_sealed
    missing_key = owner.post(f"/servers/{server.id}", {"client_certificate": client.pem})
    assert "Paste the certificate" in missing_key.text

    # A revocation at the old address after a move: the server row is about another origin by then.
    way = {"api_url": sandbox.url, "ca_certificate": "", "proxy": ""}
    owner.post(f"/connections/{live.slug}/setup/instance", {"domain": ELSEWHERE})
    moved = servers(runtime)[0]
    assert (moved.origin, moved.header_value_sealed) == (ELSEWHERE, None)
    sandbox.requests.clear()
    with open_way(runtime, way, moved.id) as http:
        http.fetch("GET", "/api/v4/version")
    assert "x-gateway-key" not in sandbox.requests.all()[0].headers
    save_gateway(runtime, principal, moved.id, EnteredGateway())
    assert servers(runtime)[0].header_name == ""


def test_authority_is_trusted_only_while_the_server_shows_it(runtime: Runtime, owner: Visitor) -> None:
    authority, other = (issue(name, is_authority=True) for name in ("Company", "Other"))
    setup = f"/connections/{draft(owner)}/setup/instance"
    leaf = issue("localhost", "localhost", by=authority)
    with Server(always(response()), tls=leaf.server_context(authority)) as server:
        url = f"https://localhost:{server.port}"
        let_through(runtime, url)

        refused = owner.post(setup, {"domain": url, "trust": other.sha256})
        assert refused.status_code == 422
        assert "now shows other certificates" in refused.text
        assert connection_named(runtime, "GitLab").ca_certificate == ""
        assert owner.post(setup, {"domain": url, "trust": leaf.sha256}).status_code == 422

        owner.post(setup, {"domain": url, "trust": authority.sha256})
        assert connection_named(runtime, "GitLab").ca_certificate == authority.pem.strip()
        renewed = issue("localhost", "localhost", by=authority)
        with Server(always(response()), tls=renewed.server_context()) as again:
            let_through(runtime, f"https://localhost:{again.port}")
            connection = Connection(
                **{**connection_named(runtime, "GitLab").model_dump(), "api_url": f"https://localhost:{again.port}"}
            )
            with open_host_session(runtime, connection) as http:
                assert http.examine().is_trusted
