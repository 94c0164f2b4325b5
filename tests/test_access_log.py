"""The line that the web server writes for each request: no query string, for a callback's holds `code` and `state`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

from gunicorn.config import Config
from gunicorn.glogging import Logger

from portal.serving import web_arguments
from portal.settings import Settings

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


def test_access_log_has_neither_query_nor_cookie_nor_referrer(tmp_path: Path) -> None:
    config = Config()
    given = config.parser().parse_args(web_arguments(Settings(data_dir=tmp_path), "127.0.0.1:0", 1)[2:])
    config.set("access_log_format", given.access_log_format)
    logger = Logger(config)
    atoms = logger.atoms(RESPONSE, SimpleNamespace(headers=[]), ENVIRON, timedelta(seconds=1))

    line = config.access_log_format % logger.atoms_wrapper_class(atoms)

    assert '"GET /oauth/callback/gitlab" 303' in line
    assert "canary" not in line
    assert "Y2FuYXJ5" not in line
