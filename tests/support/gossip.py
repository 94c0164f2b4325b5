"""A GitLab that leaks everything: a server in front of a sandbox that repeats every secret it ever saw."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import httpx2

PUBLIC_FIELDS = {"client_id", "grant_type", "redirect_uri", "scope", "token_type_hint"}
TOKEN_FIELDS = {"access_token", "refresh_token"}
OWN_HEADERS = {"content-length", "content-encoding", "transfer-encoding", "connection", "x-request-id"}
# Where GitLab's JSON has a text that the portal stores and that affects nothing.
TALKATIVE = {"name", "description", "version", "revision", "default_branch", "path_with_namespace", "full_path"}


def forms_of(secret: str) -> list[str]:
    """Return how a careless server repeats a secret."""
    return [
        secret,
        f"{secret[:20]}...",
        base64.b64encode(f"client:{secret}".encode()).decode(),
        "".join(f"%{ord(letter):02x}" for letter in secret),
    ]


class Gossip:
    """What it knows and how it behaves.

    Attributes:
        secrets: every token, secret, code, verifier and state that passed by, in order.
        talks: whether names, versions and scopes repeat secrets; headers and errors always do.
        renames: whether the username does as well, so that it is someone else's.
        tells: the secrets it repeats; empty: the latest and the oldest of all.
        failures: the start of a path, and the status that it is answered with.
    """

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.url = ""
        self.secrets: dict[str, None] = {}
        self.talks = self.renames = False
        self.tells: list[str] = []
        self.failures: dict[str, int] = {}

    def learn(self, *values: str) -> None:
        """Record secrets."""
        self.secrets.update(dict.fromkeys(value for value in values if len(value) >= 16))

    def talk(self) -> str:
        """Return what it adds to its answers, each secret in all forms."""
        known = self.tells or list(self.secrets)
        return " ".join(form for secret in (*known[-4:], *known[:2]) for form in forms_of(secret))

    def rewrite(self, value: Any, key: str = "") -> Any:
        """Return JSON with secrets in its texts."""
        if isinstance(value, dict):
            return {name: self.rewrite(item, name) for name, item in value.items()}
        if isinstance(value, list):
            told = [self.rewrite(item, key) for item in value]
            return told + self.talk().split()[:8] if key == "scope" else told
        speaks = key in TALKATIVE or (self.renames and key == "username")
        return f"{value} {self.talk()}" if speaks and isinstance(value, str) else value


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gossip: Gossip

    def _answer(self) -> None:
        gossip = self.gossip
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        gossip.learn(self.headers.get("Authorization", "").rpartition(" ")[2])
        gossip.learn(*(value for name, value in parse_qsl(body.decode("latin-1")) if name not in PUBLIC_FIELDS))
        status = next((code for start, code in gossip.failures.items() if self.path.startswith(start)), 0)
        if status:
            self._fail(status)
            return
        sent = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "accept-encoding"}}
        with httpx2.Client(trust_env=False, timeout=20) as client:
            answer = client.request(self.command, gossip.behind + self.path, content=body or None, headers=sent)
        content = answer.content.replace(gossip.behind.encode(), gossip.url.encode())
        if "json" in (answer.headers.get("Content-Type") or "") and content:
            content = self._say(json.loads(content))
        self._send(answer.status_code, dict(answer.headers), content)

    def _say(self, data: Any) -> bytes:
        if isinstance(data, dict):
            self.gossip.learn(*(str(data[name]) for name in TOKEN_FIELDS if data.get(name)))
        if self.path.startswith(("/api/", "/oauth/token/info")) and self.gossip.talks:
            data = self.gossip.rewrite(data)
        elif isinstance(data, dict) and "error" in data:
            data = {**data, "error_description": f"{data.get('error_description')} {self.gossip.talk()}"}
        return json.dumps(data).encode()

    def _fail(self, status: int) -> None:
        talk = self.gossip.talk()
        error = {"error": "invalid_grant" if status == 400 else talk, "error_description": f"It was {talk}"}
        location = f"{self.gossip.url}/{talk.replace(' ', '/')}?code={talk.split()[0]}"
        self._send(status, {"Content-Type": "application/json", "Location": location}, json.dumps(error).encode())

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, value.replace(self.gossip.behind, self.gossip.url))
        self.send_header("X-Request-Id", f"01GOSSIP {self.gossip.talk()}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def gossiping(behind: str) -> Iterator[Gossip]:
    """Run one in front of a sandbox while the block runs."""
    gossip = Gossip(behind)
    handler = type("Handler", (_Handler,), {"gossip": gossip})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        gossip.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield gossip
        finally:
            server.shutdown()
