from __future__ import annotations

import pytest
from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.security.requests import source_address
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
    assert f"{BASE_URL}/oauth/callback/{names['slug']}" in step.text


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
        (1, "x" * 500, "x" * 64),
    ],
)
def test_source_is_what_the_trusted_hops_saw(world: World, hops: int, forwarded: str | None, expected: str) -> None:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}

    with world.app.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.1"}):
        assert source_address(hops) == expected


def test_audit_shows_the_socket_address_however_the_header_lies(world: World) -> None:
    form = {"email": world.cast.owner.email, "password": "x" * 2000}
    Visitor(world.app).post("/sign-in", form, headers={"X-Forwarded-For": "1.2.3.4", "X-Real-IP": "1.2.3.4"})

    with world.runtime.database.reading() as session:
        found = session.exec(select(AuditEvent).order_by(col(AuditEvent.number).desc())).first()
    assert found is not None
    assert found.result == "refused"
    assert found.source_address == "127.0.0.1"
