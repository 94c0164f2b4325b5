"""S46: nothing outside `portal.net` opens a connection; `test_guard.py` tests the guard that watches a run."""

from __future__ import annotations

import ast
import contextlib
import socket
from pathlib import Path

import pytest

import portal
from portal.net.guard import StrayConnection, only_our_connections
from tests.net.lines import line_to
from tests.net.servers import Peer, Server, response, silent

PORTAL = Path(portal.__file__).parent
WAYS_OUT = {
    "aiohttp",
    "anyio",
    "asyncio",
    "authlib.integrations.requests_client",
    "ftplib",
    "http.client",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "imaplib",
    "poplib",
    "pycurl",
    "requests",
    "smtplib",
    "socket",
    "subprocess",
    "telnetlib",
    "urllib.request",
    "urllib3",
    "websockets",
    "xmlrpc.client",
}
# Each exception has its reason; so must a new one.
ALLOWED = {
    ("operation/backup/postgresql.py", "subprocess"): "pg_dump and pg_restore, for the portal's own database",
    ("mail.py", "smtplib"): "mail to the operator's own server, which is a setting and no one's input",
    ("jobs/workers.py", "socket"): "the machine's name",
    ("operation/listening.py", "socket"): "where the portal itself listens",
    ("operation/serving.py", "subprocess"): "starts the portal's own processes",
    ("sync/git.py", "subprocess"): "git, which connects only to addresses that the outbound client has checked (S94)",
    ("operation/start.py", "http.client"): "waits for the portal's own web server",
}
PACKAGES_THAT_CONNECT = {"net", "sandbox"}  # The outbound client; and the sandbox, which is a server.


def imports_of(path: Path) -> set[str]:
    """Return every module that a file imports, at any depth, `from a import b` as both `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and _name_of(node.func) in {"import_module", "__import__"}:
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return found


def _name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def ways_out_of(path: Path) -> set[str]:
    return {way for name in imports_of(path) for way in WAYS_OUT if name == way or name.startswith(f"{way}.")}


def test_no_module_but_the_door_imports_a_way_out() -> None:
    found = {
        (str(path.relative_to(PORTAL)), way)
        for path in PORTAL.rglob("*.py")
        if path.relative_to(PORTAL).parts[0] not in PACKAGES_THAT_CONNECT
        for way in ways_out_of(path)
    }

    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "code",
    [
        "import socket",
        "import httpx2 as web",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import http.client, json",
        "def f():\n    from requests.sessions import Session",
        "from importlib import import_module\nimport_module('httpx')",
        "__import__('socket')",
    ],
)
def test_each_spelling_of_an_import_is_found(tmp_path: Path, code: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)

    assert ways_out_of(path)


def test_names_that_only_look_alike_are_no_ways_out(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import urllib.parse\nfrom flask import request\nfrom portal.net import Line\nimport requests_like\n"
    )

    assert not ways_out_of(path)


def test_connect_within_a_deadline_but_not_by_the_door_is_noticed() -> None:
    with Server(silent) as server, line_to(server) as line:
        with pytest.raises(StrayConnection), only_our_connections(), line.deadline(5):
            socket.create_connection(("127.0.0.1", server.port))
        assert server.connections == 0


def test_connect_of_another_thread_is_noticed_also_while_the_door_is_used() -> None:
    def past_the_door(peer: Peer) -> None:
        peer.read_request()
        with socket.socket() as sock, contextlib.suppress(StrayConnection):
            sock.connect_ex(("127.0.0.1", peer.server.port))
        peer.send(response())

    with Server(past_the_door) as server, line_to(server) as line:
        with pytest.raises(StrayConnection), only_our_connections():
            line.fetch("GET", "/")
        assert server.connections == 1
