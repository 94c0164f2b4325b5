from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import col, select

from portal import create_app
from portal.audit.models import AuditEvent
from portal.operation.start import Prepared, banner
from portal.settings import Settings
from tests.conftest import BASE_URL
from tests.security.conftest import World
from tests.support.visitor import Visitor

FORWARDED = {
    "X-Forwarded-Host": "evil.example.com",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Server": "evil.example.com",
    "Forwarded": "for=6.6.6.6;host=evil.example.com;proto=https",
    "X-Original-URL": "/evil",
    "X-Rewrite-URL": "/evil",
}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:8000",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:8001",
        "127.0.0.1:8000.evil.example.com",
        "127.0.0.1:8000@evil.example.com",
        "evil.example.com#127.0.0.1:8000",
        "127.0.0.1.:8000",
        "localhost:8000",
        "[::1]:8000",
        "127.0.0.1:8000, evil.example.com",
        " ",
        "",
        "x" * 10_000,
    ],
)
def test_other_host_is_refused_and_never_repeated(world: World, host: str) -> None:
    for visitor in (Visitor(world.app), world.signed_in()):
        for path in ("/sign-in", "/", "/connections/", "/no-such-page", "/static/css/base.css"):
            answer = visitor.http.get(path, headers={"Host": host}, base_url=BASE_URL, buffered=True)
            assert answer.status_code == 400
            assert "evil" not in answer.text
            assert "evil" not in str(answer.headers)


def test_forwarded_headers_change_nothing_that_is_told(world: World) -> None:
    owner = world.signed_in()
    names = world.names(world.cast.owner, "own")

    for path in ("/sign-in", "/", "/connections", f"/connections/{names['slug']}/setup/application", "/no-such-page"):
        answer = owner.get(path, headers=FORWARDED)
        assert answer.status_code in {200, 303, 308, 404}
        assert "evil" not in answer.text + str(answer.headers)
        assert "https://127.0.0.1:8000" not in answer.text


def test_links_that_leave_the_portal_have_the_configured_base(world: World) -> None:
    page = world.signed_in().post(
        "/members/invitations", {"email": "somebody@example.com", "role": "auditor"}, headers=FORWARDED
    )
    names = world.names(world.cast.owner, "own")
    step = world.signed_in().get(f"/connections/{names['slug']}/setup/application", headers=FORWARDED)

    assert f"{BASE_URL}/invitations/" in page.text
    assert f"{BASE_URL}/oauth/callback/{names['slug']}" in step.text.replace("<wbr>", "")


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, None, "127.0.0.1"),
        (0, "1.2.3.4", "127.0.0.1"),
        (0, "1.2.3.4, 5.6.7.8", "127.0.0.1"),
        (1, None, "127.0.0.1"),
        (1, "1.2.3.4", "1.2.3.4"),
        (1, "1.2.3.4, 5.6.7.8", "5.6.7.8"),
        (1, "1.2.3.4,,5.6.7.8,", "5.6.7.8"),
        (2, "1.2.3.4", "127.0.0.1"),
        (2, "1.2.3.4, 5.6.7.8", "1.2.3.4"),
        (2, "9.9.9.9, 1.2.3.4, 5.6.7.8", "1.2.3.4"),
        # With the port, as some proxies write it: a different port for each connection does not mean a different
        # client.
        (1, "5.6.7.8:1234", "5.6.7.8"),
        (1, "[2001:db8::1]:1234", "2001:db8::1"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "x" * 500, "127.0.0.1"),
        (1, "unknown", "127.0.0.1"),
    ],
)
def test_source_is_what_the_trusted_hops_saw(world: World, hops: int, forwarded: str | None, expected: str) -> None:
    app = create_app(runtime=replace(world.runtime, settings=Settings(base_url=BASE_URL, trusted_proxy_hops=hops)))
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    form = {"email": f"{hops}@example.com", "password": "x" * 2000}

    Visitor(app).post("/sign-in", form, headers=headers)

    assert newest_event(world).source_address == expected


def test_audit_shows_the_socket_address_however_the_header_lies(world: World) -> None:
    form = {"email": world.cast.owner.email, "password": "x" * 2000}
    Visitor(world.app).post("/sign-in", form, headers={"X-Forwarded-For": "1.2.3.4", "X-Real-IP": "1.2.3.4"})

    assert newest_event(world).result == "refused"
    assert newest_event(world).source_address == "127.0.0.1"


def newest_event(world: World) -> AuditEvent:
    with world.runtime.database.reading() as session:
        found = session.exec(select(AuditEvent).order_by(col(AuditEvent.number).desc())).first()
    assert found is not None
    return found


@pytest.mark.parametrize("target", ["http://evil.example.com/sign-in", "https://127.0.0.1:8000@evil/sign-in", "*", "x"])
def test_address_in_absolute_form_counts_more_than_the_header(world: World, target: str) -> None:
    refused = Visitor(world.app).get("/sign-in", environ_overrides={"RAW_URI": target})
    own = Visitor(world.app).get("/sign-in", environ_overrides={"RAW_URI": f"{BASE_URL}/sign-in"})

    assert (refused.status_code, own.status_code) == (400, 200)


@pytest.mark.parametrize("path", ["/sign-in", "/connections/", "/no-such-page", "/static/css/base.css"])
def test_prefix_and_scheme_that_a_server_took_from_a_request_change_no_link(world: World, path: str) -> None:
    # As gunicorn passes them on if it is started without our settings: SCRIPT_NAME, and X-Forwarded-Proto as scheme.
    taken = {"SCRIPT_NAME": "/evil", "wsgi.url_scheme": "https"}
    owner = world.signed_in()

    inside = owner.http.get(path, base_url=BASE_URL, environ_overrides=taken, buffered=True)
    whole = owner.http.get(path, base_url=BASE_URL, environ_overrides={**taken, "SCRIPT_NAME": ""}, buffered=True)
    plain = owner.http.get(path, base_url=BASE_URL, buffered=True)

    assert inside.status_code == 404
    assert "evil" not in inside.text + str(inside.headers)
    assert whole.status_code == plain.status_code
    assert "https://127.0.0.1:8000" not in whole.text + str(whole.headers)


def test_redirect_uri_is_that_of_the_settings_whatever_the_server_says(world: World) -> None:
    names = world.names(world.cast.owner, "own")
    page = f"/connections/{names['slug']}/setup/application"

    answer = world.signed_in().get(page, environ_overrides={"wsgi.url_scheme": "https"}, headers=FORWARDED)

    assert f"{BASE_URL}/oauth/callback/{names['slug']}" in answer.text.replace("<wbr>", "")


@pytest.mark.parametrize(
    ("base_url", "hops", "headers", "sentence"),
    [
        ("http://127.0.0.1:8000", 0, {}, ""),
        ("http://127.0.0.1:8000", 0, {"X-Forwarded-For": "192.0.2.7"}, "TRUSTED_PROXY_HOPS is 0"),
        ("http://127.0.0.1:8000", 0, {"Forwarded": "for=192.0.2.7"}, "TRUSTED_PROXY_HOPS is 0"),
        # The portal itself only speaks plain HTTP: something in front of it decrypts.
        ("https://127.0.0.1:8000", 0, {}, "TRUSTED_PROXY_HOPS is 0"),
        ("https://127.0.0.1:8000", 1, {"X-Forwarded-For": "192.0.2.7"}, ""),
        ("https://127.0.0.1:8000", 1, {}, "names 0 addresses"),
        ("https://127.0.0.1:8000", 2, {"X-Forwarded-For": "192.0.2.7"}, "names 1 addresses"),
    ],
)
def test_administrators_see_that_proxies_and_settings_do_not_fit(
    world: World, base_url: str, hops: int, headers: dict[str, str], sentence: str
) -> None:
    app = create_app(runtime=replace(world.runtime, settings=Settings(base_url=base_url, trusted_proxy_hops=hops)))
    # The server's side of the connection is plain HTTP in every row.
    details = {"headers": headers, "environ_overrides": {"wsgi.url_scheme": "http"}}
    owner, auditor = (Visitor(app).sign_in(who) for who in (world.cast.owner, world.cast.auditor))

    page = owner.get("/connections/", **details)

    assert page.status_code == 200
    assert ('id="proxy-problem"' in page.text) is bool(sentence)
    assert sentence in page.text
    assert 'id="proxy-problem"' not in auditor.get("/connections/", **details).text
    assert 'id="proxy-problem"' not in Visitor(app).get("/sign-in", **details).text


def test_page_that_was_opened_over_plain_http_says_where_to_sign_in(world: World) -> None:
    app = create_app(runtime=replace(world.runtime, settings=Settings(base_url="https://127.0.0.1:8000")))

    opened = {proto: Visitor(app).get("/sign-in", headers={"X-Forwarded-Proto": proto}) for proto in ("http", "https")}

    assert "opened over plain HTTP" in opened["http"].text
    assert "opened over plain HTTP" not in opened["https"].text


@pytest.mark.parametrize("host", ["gatehouse.example.com", "gatehouse.example.com:443", "GateHouse.example.com"])
def test_address_with_the_default_port_and_capitals_is_the_one_browsers_send(world: World, host: str) -> None:
    settings = Settings(
        base_url="https://Gatehouse.example.com:443/",
        data_dir=world.runtime.settings.data_dir,
        database_url=world.runtime.settings.database_url,
    )
    client = create_app(runtime=replace(world.runtime, settings=settings)).test_client()

    assert client.get("/sign-in", headers={"Host": host}, base_url=settings.base_url).status_code == 200
    assert client.get("/sign-in", headers={"Host": f"{host}:8443"}, base_url=settings.base_url).status_code == 400


@pytest.mark.parametrize(
    ("base_url", "hops", "told"), [("https://p.example", 0, 1), ("https://p.example", 1, 0), (BASE_URL, 0, 0)]
)
def test_start_says_that_a_proxy_is_in_front_that_the_settings_do_not_know(base_url: str, hops: int, told: int) -> None:
    settings = Settings(base_url=base_url, trusted_proxy_hops=hops)

    lines = banner(settings, Prepared(setup_link=None, made_key_file=None), None)

    assert sum("GATEHOUSE_TRUSTED_PROXY_HOPS" in line for line in lines) == told
