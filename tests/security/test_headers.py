from __future__ import annotations

from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from portal.settings import Settings
from portal.vault import KeyRing
from tests.conftest import BASE_URL
from tests.security.conftest import World, make_world
from tests.security.rights_matrix import PUBLIC, ROWS, Row
from tests.support.people import PASSWORD
from tests.support.visitor import Visitor

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
HTTPS = "https://portal.example.com"


def boom() -> str:
    raise RuntimeError("boom")


def check_common(answer: TestResponse, opener: str = "same-origin") -> None:
    headers = answer.headers
    assert headers.getlist("Content-Security-Policy") == [POLICY]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == opener
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not {name for name in headers.keys() if name.lower().startswith("access-control")}  # noqa: SIM118
    assert "Server" not in headers
    assert "X-Powered-By" not in headers


def is_kept(row: Row) -> bool:
    return row.endpoint == "static"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.endpoint}")
def test_every_route_has_every_header_for_the_owner_and_for_a_visitor(world: World, row: Row) -> None:
    names = world.names(world.cast.owner, "own") if row.names_object else {}
    opener = "same-origin-allow-popups" if row.endpoint in {"authorization.show", "handover.step"} else "same-origin"
    owner = world.signed_in()

    for visitor in (Visitor(world.app), owner):
        for htmx in (False, True):
            answer = world.ask(row, visitor, names, htmx=htmx)
            check_common(answer, opener)
            if not is_kept(row):
                assert answer.headers["Cache-Control"] == "no-store"
            if visitor is owner and row.right != PUBLIC:
                assert "Cookie" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no-such-page", 404),
        ("GET", "/static/no-such-file.css", 404),
        ("GET", "/static/../portal/settings.py", 404),
        ("DELETE", "/profile", 405),
        ("TRACE", "/profile", 405),
        # From one of our pages without a session, or from an older session than the current one.
        ("POST", "/profile/name", (401, 403)),
        ("GET", "/connections", 308),
    ],
)
def test_errors_and_redirects_have_every_header(
    world: World, method: str, path: str, status: int | tuple[int, int]
) -> None:
    statuses = status if isinstance(status, tuple) else (status, status)
    for visitor, status in zip((Visitor(world.app), world.signed_in()), statuses, strict=True):
        answer = visitor.http.open(path, method=method, base_url=BASE_URL, headers={"Origin": BASE_URL}, buffered=True)
        assert answer.status_code == status
        check_common(answer)
        assert answer.headers["Cache-Control"] == "no-store"


def test_failures_and_refusals_have_every_header(app: Flask) -> None:
    boom.declared_right = PUBLIC  # type: ignore[attr-defined]
    app.add_url_rule("/boom", "boom", boom)
    visitor = Visitor(app)

    failed = visitor.get("/boom")
    elsewhere = visitor.http.get("/sign-in", base_url="http://evil.example.com")
    large = visitor.post("/sign-in", b"x" * 2_000_000, token="")

    assert (failed.status_code, elsewhere.status_code, large.status_code) == (500, 400, 413)
    for answer in (failed, elsewhere, large):
        check_common(answer)
        assert answer.headers["Cache-Control"] == "no-store"


def test_static_file_is_kept_only_under_its_digest_and_carries_no_cookie(world: World) -> None:
    for visitor in (Visitor(world.app), world.signed_in()):
        plain = visitor.get("/static/css/base.css", buffered=True)
        digest = plain.get_etag()[0]
        versioned = visitor.get(f"/static/css/base.css?v={digest}", buffered=True)
        other = visitor.get("/static/css/base.css?v=0123456789ab", buffered=True)
        assert versioned.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert plain.headers["Cache-Control"] == other.headers["Cache-Control"] == "no-cache"
        assert "Set-Cookie" not in versioned.headers


def test_foreign_origin_gets_no_permission(world: World) -> None:
    answer = world.signed_in().get("/profile", headers={"Origin": "https://evil.example.com"})

    check_common(answer)


def test_signing_out_makes_browsers_forget(world: World) -> None:
    answer = world.signed_in().post("/sign-out")

    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'


def test_http_portal_sends_no_strict_transport_security(world: World) -> None:
    assert "Strict-Transport-Security" not in Visitor(world.app).get("/sign-in").headers


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, ring: KeyRing) -> Iterator[World]:
    settings = Settings(base_url=HTTPS, data_dir=tmp_path_factory.mktemp("https"))
    world = make_world(settings, migrated_file, ring)
    yield world
    world.runtime.database.close()


def test_https_portal_sends_a_year_of_strict_transport_security_everywhere(secure: World) -> None:
    visitor = Visitor(secure.app)

    for path in ("/sign-in", "/no-such-page", "/static/css/base.css", "/profile", "/healthz"):
        answer = visitor.get(path, buffered=True)
        check_common(answer)
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_every_cookie_of_an_https_portal_is_secure_and_bound_to_the_host(secure: World) -> None:
    visitor = Visitor(secure.app)
    credentials = {"email": secure.cast.owner.email, "password": PASSWORD}

    answers = [
        visitor.get("/sign-in"),
        visitor.post("/theme", {"theme": "dark"}),
        visitor.post("/sign-in", credentials),
        visitor.get("/profile"),
        visitor.post("/sign-out"),
    ]

    assert answers[3].status_code == 200
    headers = [header for answer in answers for header in answer.headers.getlist("Set-Cookie")]
    assert len(headers) >= 4
    for header in headers:
        for name, cookie in SimpleCookie(header).items():
            assert name.startswith("__Host-"), header
            assert cookie["secure"], header
            assert cookie["httponly"], header
            assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Lax"), header


def test_every_cookie_of_an_http_portal_is_out_of_reach_of_scripts(world: World) -> None:
    visitor = Visitor(world.app)

    for answer in (visitor.get("/sign-in"), visitor.post("/theme", {"theme": "dark"})):
        (header,) = answer.headers.getlist("Set-Cookie")
        assert "HttpOnly" in header
        assert "SameSite=Lax" in header
        assert "Domain" not in header
        assert "Secure" not in header


def test_chosen_theme_is_on_the_next_page(secure: World) -> None:
    visitor = Visitor(secure.app)
    visitor.post("/theme", {"theme": "dark"})

    assert 'data-bs-theme="dark"' in visitor.get("/sign-in").text
