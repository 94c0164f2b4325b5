"""The line that the web server writes for each request: one line, without any secret, whatever format is set."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from gunicorn.config import Config
from werkzeug.routing import UnicodeConverter

import gatehouse_gunicorn
from portal.accounts import first_run
from tests.conftest import BASE_URL
from tests.security.logged import catching_lines
from tests.support.people import Cast

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/oauth/callback/gitlab",
    "RAW_URI": "/oauth/callback/gitlab?code=canary-1&state=canary-2",
    "QUERY_STRING": "code=canary-1&state=canary-2",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.1",
    "HTTP_COOKIE": "gatehouse=canary-3",
    "HTTP_AUTHORIZATION": "Basic Y2FuYXJ5LTQ6eA==",
    "HTTP_REFERER": "https://portal.example.com/setup/canary-5",
    "HTTP_USER_AGENT": "a browser",
}
RESPONSE = SimpleNamespace(status="303 See Other", sent=12, headers=[("Set-Cookie", "gatehouse=canary-6")])


# Everything a format may contain: Apache's letters, headers both ways, the environment.
EVERYTHING = (
    '%(h)s %(u)s "%(r)s" "%(m)s %(U)s" %(q)s %(s)s %(b)s %(L)ss %(f)s %(a)s %({cookie}i)s %({authorization}i)s '
    "%({referer}i)s %({host}i)s %({set-cookie}o)s %({raw_uri}e)s %({query_string}e)s %({http_cookie}e)s"
)
HEADERS = [("Cookie", "gatehouse=canary-3"), ("Authorization", "Basic Y2FuYXJ5LTQ6eA=="), ("Host", "portal.example")]


def line_for(tmp_path: Path, log_format: str = "", **environ: str) -> str:
    """Return what gunicorn writes for a request, with the portal's logger and format."""
    config = Config()
    config.set("access_log_format", log_format or gatehouse_gunicorn.access_log_format)
    config.set("logger_class", gatehouse_gunicorn.logger_class)
    logger = config.logger_class(config)
    request = SimpleNamespace(headers=HEADERS)
    atoms = logger.atoms(RESPONSE, request, {**ENVIRON, **environ}, timedelta(seconds=1))
    return config.access_log_format % logger.atoms_wrapper_class(atoms)


@pytest.mark.parametrize("log_format", ["", EVERYTHING], ids=["ours", "everything"])
def test_access_log_has_neither_query_nor_cookie_nor_referrer(tmp_path: Path, log_format: str) -> None:
    line = line_for(tmp_path, log_format)

    assert '"GET /oauth/callback/gitlab" 303' in line or '"GET /oauth/callback/gitlab HTTP/1.1"' in line
    assert "canary" not in line
    assert "Y2FuYXJ5" not in line


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a%0d%0aforged%1b[31m%C3%BC", "/a%0d%0aforged%1b%5B31m%C3%BC"),
        ("/a\r\nforged\x1b[31m\x00\x7f\u202e\xfc", "/a%0D%0Aforged%1B%5B31m%00%7F%E2%80%AE%C3%BC"),
        ('/a" 200 "forged', "/a%22%20200%20%22forged"),
        ("http://user:canary@portal.example/path?canary#canary", "/path"),
        ("/path;canary-is-shown?canary", "/path;canary-is-shown"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_path_is_one_encoded_word(tmp_path: Path, target: str, shown: str) -> None:
    line = line_for(tmp_path, RAW_URI=target, PATH_INFO="/never/the/decoded/one\r\n")

    assert f'"GET {shown}" 303' in line
    assert line.isprintable()


def test_what_a_client_says_of_itself_is_escaped(tmp_path: Path) -> None:
    line = line_for(tmp_path, EVERYTHING, HTTP_USER_AGENT="a\x1b[31m\u202eb" + "x" * 9000, REQUEST_METHOD="GET")

    assert "a\\x1b[31m\\x202eb" in line
    assert line.isprintable()
    assert len(line) < 2500


# Parts of addresses that say what is shown, and give no one access.
PUBLIC_PARTS = {"slug", "filename", "step", "connection_slug"}
# A job's id is shown to everyone who may see the job, and its page asks for the right.
PUBLIC_IDS = {
    "bulk.show",
    "bulk.undo",
    "bulk.export",
    "jobs.show",
    "jobs.details",
    "jobs.stop",
    "sites.preview",
    "sites.connect",
}


def test_every_secret_part_of_an_address_is_left_out(app: Flask, tmp_path: Path) -> None:
    secret = "c4n4ry" + "aZ9_-" * 4
    secret_rules = 0
    for rule in app.url_map.iter_rules():
        texts = {name for name in rule.arguments if isinstance(rule._converters.get(name), UnicodeConverter)}
        if rule.endpoint in PUBLIC_IDS or texts <= PUBLIC_PARTS:
            continue
        secret_rules += 1
        values = {
            name: "gitlab" if name in PUBLIC_PARTS else secret if name in texts else 7
            for name in rule.arguments - (rule.defaults or {}).keys()
        }
        _, path = rule.build(values)
        for asked in (path, f"{path}/", path.replace(secret, f"%63{secret[1:]}"), f"/x{path}", f"{path}?a=b"):
            line = line_for(tmp_path, RAW_URI=asked)
            assert secret[1:] not in line
            assert "***" in line
    assert secret_rules >= 4


def test_steps_and_names_stay_readable(app: Flask, tmp_path: Path) -> None:
    for path in (
        "/connections/gitlab-production-2024-eu/setup/service-user",
        "/connections/gitlab/authorization/status",
        "/connections/gitlab/authorization/expected-user",
        "/static/css/panels.css",
    ):
        assert f'"GET {path}" 303' in line_for(tmp_path, RAW_URI=path)


def test_error_lines_of_the_portal_leave_them_out_as_well(
    app: Flask, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "c4n4ry" + "aZ9_-" * 8
    monkeypatch.setattr(first_run, "require_open_setup", broken)

    with catching_lines() as lines:
        for path in (f"/setup/{secret}", f"/setup/{secret}/nothing", f"/invitations/{secret}", f"/hand-over/{secret}"):
            app.test_client().get(path, base_url=BASE_URL)

    assert "unexpected_error" in lines.text
    assert secret not in lines.text


def broken(*_: object) -> None:
    raise RuntimeError("broken")
