"""A view for programs has no session, no cookie and no CSRF check; all its errors are problem details (RFC 9457)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal.requestinfo import network_of
from portal.web.machine import RATE, Rate
from portal.web.request_checks import BODY_BROKEN, BODY_PROBLEM, BODY_TOO_LARGE, BODY_TOO_SLOW
from tests.conftest import BASE_URL
from tests.security.logged import catching_lines
from tests.support.machine_views import RAW_BYTES, add_machine_views
from tests.support.people import Cast
from tests.support.visitor import Visitor

JSON = "application/json"
MEMBERS = {"type", "title", "status", "detail", "instance", "code"}


@pytest.fixture
def program(app: Flask) -> FlaskClient:
    """A program that calls an application with such views."""
    add_machine_views(app)
    return app.test_client()


def send(program: FlaskClient, path: str, method: str = "POST", **details: Any) -> TestResponse:
    return program.open(path, method=method, base_url=BASE_URL, **details)


def check_problem(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Check that a response is problem details and nothing else; return them."""
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json"), answer.text
    told: dict[str, Any] = json.loads(answer.text)
    assert set(told) - {"errors"} == MEMBERS
    assert (told["status"], told["code"], len(told["instance"])) == (status, code, 16)
    assert "page" not in told["detail"]
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    return told


def test_program_needs_no_session_no_token_and_gets_no_cookie(program: FlaskClient, app: Flask, cast: Cast) -> None:
    for headers in ({}, {"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = send(program, "/programs/things", json={"name": "x", "count": 2}, headers=headers)
        assert (answer.status_code, answer.json) == (200, {"name": "x", "count": 2})
        assert "Set-Cookie" not in answer.headers
    # A browser's session has no effect here.
    signed_in = Visitor(app).sign_in(cast.owner)
    answer = signed_in.get("/programs/guarded")
    check_problem(answer, 401, "sign_in_required")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


PROBLEMS: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "no such address": ("POST", "/programs/none", {}, 404, "not_found"),
    "other method": ("GET", "/programs/things", {}, 405, "method_not_allowed"),
    "other method beside a page": ("DELETE", "/mixed/raw", {}, 405, "method_not_allowed"),
    "too large": ("POST", "/programs/things", {"json": {"name": "x" * 10_000}}, 413, "too_large"),
    "too large and raw": ("POST", "/programs/raw", {"data": b"x" * (RAW_BYTES + 1)}, 413, "too_large"),
    "other type": ("POST", "/programs/things", {"data": {"name": "x"}}, 415, "unsupported_type"),
    "no type": ("POST", "/programs/things", {"data": b"{}"}, 415, "unsupported_type"),
    "not JSON": ("POST", "/programs/things", {"data": b"{", "content_type": JSON}, 400, "bad_request"),
    "too deep": (
        *("POST", "/programs/things"),
        *({"data": b"[" * 9000, "content_type": JSON}, 400, "bad_request"),
    ),
    "not UTF-8": ("POST", "/programs/things", {"data": b'{"name": "\xff"}', "content_type": JSON}, 400, "bad_request"),
    "other shape": ("POST", "/programs/things", {"json": {"name": 1}}, 422, "invalid_input"),
    "refused field": ("POST", "/programs/things", {"json": {"name": "bad"}}, 422, "invalid_input"),
    "conflict": ("POST", "/programs/things", {"json": {"name": "taken"}}, 409, "conflict"),
    "our fault": ("POST", "/programs/things", {"json": {"name": "broken"}}, 500, "internal"),
    "query is no text": ("POST", "/programs/things?q=%ff", {"json": {"name": "x"}}, 400, "bad_request"),
    "query too long": ("POST", "/programs/things?q=" + "x" * 9000, {"json": {"name": "x"}}, 413, "too_large"),
    "body where none belongs": ("GET", "/programs/rare", {"data": b"x"}, 400, "bad_request"),
    "other host": (
        *("POST", "/programs/things"),
        *({"json": {"name": "x"}, "headers": {"Host": "evil.example"}}, 400, "bad_request"),
    ),
    "body cut off": ("POST", "/programs/raw", {"environ_overrides": {BODY_PROBLEM: BODY_BROKEN}}, 400, "bad_request"),
    "body late": ("POST", "/programs/raw", {"environ_overrides": {BODY_PROBLEM: BODY_TOO_SLOW}}, 408, "too_slow"),
    "body long": ("POST", "/programs/raw", {"environ_overrides": {BODY_PROBLEM: BODY_TOO_LARGE}}, 413, "too_large"),
}


def test_every_error_is_problem_details(program: FlaskClient) -> None:
    for method, path, details, status, code in PROBLEMS.values():
        with catching_lines() as lines:
            told = check_problem(send(program, path, method, **details), status, code)
        assert "elsewhere" not in lines.text
        if status == 500:
            assert told["instance"] in lines.text
            assert "ZeroDivisionError" not in json.dumps(told)

    refused = send(program, "/programs/things", json={"name": "bad"})
    assert json.loads(refused.text)["errors"] == {"name": "It is bad."}


def test_raw_view_takes_any_type_and_its_own_size(program: FlaskClient) -> None:
    for content_type in ("", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/xml"):
        answer = send(program, "/programs/raw", data=b"x" * RAW_BYTES, content_type=content_type)
        assert (answer.status_code, answer.json) == (200, {"size": RAW_BYTES})


def test_pages_keep_their_checks(program: FlaskClient) -> None:
    assert send(program, "/mixed/page", method="GET").headers.getlist("Set-Cookie")
    assert send(program, "/mixed/page", data={"a": "b"}).status_code == 405
    assert send(program, "/mixed/none", method="GET").content_type == "text/html; charset=utf-8"
    assert send(program, "/theme", json={"theme": "dark"}).status_code == 400
    assert send(program, "/theme", data={"theme": "dark"}).status_code == 403


def test_network_that_asks_too_often_is_told_when_to_come_back(program: FlaskClient, app: Flask) -> None:
    rate: Rate = app.extensions[RATE]
    now = rate.now()
    rate.now = lambda: now
    other = {"REMOTE_ADDR": "192.0.2.7"}

    statuses = [send(program, "/programs/rare", "GET").status_code for _ in range(4)]
    refused = send(program, "/programs/rare", "GET")

    assert statuses == [200, 200, 200, 429]
    check_problem(refused, 429, "rate_limited")
    assert refused.headers["Retry-After"] == "20"
    assert send(program, "/programs/rare", "GET", environ_overrides=other).status_code == 200
    now += 20
    assert [send(program, "/programs/rare", "GET").status_code for _ in range(2)] == [200, 429]


def test_neighbours_of_one_ipv6_network_are_one_caller() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
