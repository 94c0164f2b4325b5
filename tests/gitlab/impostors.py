"""What may answer instead of a GitLab: other forges, identity providers, gateways, and APIs of all kinds.

Each is a table from paths to answers; any other path gets the answer of `*`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "/api/v4/version"
DISCOVERY = "/.well-known/openid-configuration"
REQUEST_ID = {"X-Request-Id": "01HF3Q5W6VY9KX8Z1C2B3D4E5F"}


@dataclass(frozen=True)
class Reply:
    """One answer; `body` is sent as JSON unless it is text."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()

    @property
    def content_type(self) -> str:
        return "text/html; charset=utf-8" if isinstance(self.body, str) else "application/json"


Table = Mapping[str, Reply]
PAGE = "<!doctype html><title>Not here</title>"


def everywhere(status: int, body: Any, **headers: str) -> Table:
    """Answer every path the same way, as a gateway does."""
    return {"*": Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})}


def openid(authorize: str, token: str, issuer: str = "{base}") -> Reply:
    """Return a discovery document; `{base}` is the server's own address."""
    return Reply(
        200, {"issuer": issuer, "authorization_endpoint": authorize, "token_endpoint": token, "scopes_supported": []}
    )


GITLAB_DOCUMENT = openid("{base}/oauth/authorize", "{base}/oauth/token")
GITLAB_REFUSAL = Reply(401, {"message": "401 Unauthorized"})

IMPOSTORS: dict[str, Table] = {
    "Gitea": {
        VERSION: Reply(404, PAGE),
        "/api/v1/version": Reply(200, {"version": "1.22.3"}),
        DISCOVERY: openid("{base}/login/oauth/authorize", "{base}/login/oauth/access_token"),
        "*": Reply(404, PAGE),
    },
    "Forgejo whose API wants a token": {
        VERSION: Reply(401, {"message": "token is required", "url": "{base}/api/swagger"}),
        DISCOVERY: openid("{base}/login/oauth/authorize", "{base}/login/oauth/access_token"),
        "*": Reply(404, PAGE),
    },
    "Gogs": everywhere(404, PAGE),
    "GitHub Enterprise": {
        "*": Reply(
            401,
            {
                "message": "Requires authentication",
                "documentation_url": "https://docs.github.com/rest",
                "status": "401",
            },
            {"X-GitHub-Request-Id": "C0FF:1A2B", **REQUEST_ID},
        )
    },
    "Bitbucket Data Center": everywhere(401, {"errors": [{"message": "Authentication required"}]}),
    "Azure DevOps Server": everywhere(401, PAGE, WWW_Authenticate="Bearer"),
    "Mattermost, which GitLab's package brings along": {
        VERSION: Reply(
            404,
            {"id": "api.context.404.app_error", "message": "Sorry, we could not find the page.", "status_code": 404},
            REQUEST_ID,
        ),
        "*": Reply(
            401,
            {
                "id": "api.context.session_expired.app_error",
                "message": "Invalid or expired session",
                "status_code": 401,
            },
            REQUEST_ID,
        ),
    },
    "a social network": {
        VERSION: Reply(404, {"error": "The requested resource could not be found"}, REQUEST_ID),
        DISCOVERY: GITLAB_DOCUMENT,  # Made by the same library, at the same addresses.
        "*": Reply(404, PAGE),
    },
    "another application on GitLab's OAuth library": {
        VERSION: Reply(401, {"error": "The access token is invalid"}, REQUEST_ID),
        DISCOVERY: GITLAB_DOCUMENT,
        "*": Reply(404, PAGE),
    },
    "Keycloak": {
        "/realms/master/.well-known/openid-configuration": openid("{base}/realms/master/x", "{base}/realms/master/y"),
        "*": Reply(404, {"error": "HTTP 404 Not Found"}),
    },
    "an identity provider at the root": {
        VERSION: Reply(401, {"error": "invalid_token"}),
        DISCOVERY: openid("{base}/protocol/openid-connect/auth", "{base}/protocol/openid-connect/token"),
        "*": Reply(404, PAGE),
    },
    "an identity provider that speaks in GitLab's words": {
        VERSION: GITLAB_REFUSAL,
        DISCOVERY: openid("{base}/oauth2/authorize", "{base}/oauth2/token"),
        "*": Reply(404, PAGE),
    },
    "Kong without a key": everywhere(401, {"message": "No API key found in request"}, X_Kong_Request_Id="3b2a"),
    "Kong with its newer words": everywhere(401, {"message": "Unauthorized", "request_id": "3b2a"}, **REQUEST_ID),
    "AWS API Gateway": everywhere(401, {"message": "Unauthorized"}, x_amzn_RequestId="7e1f", **REQUEST_ID),
    "Azure API Management": everywhere(401, {"statusCode": 401, "message": "Access denied due to missing key."}),
    "Spring Boot": everywhere(401, {"timestamp": 1, "status": 401, "error": "Unauthorized", "path": VERSION}),
    "FastAPI": everywhere(401, {"detail": "Not authenticated"}, WWW_Authenticate="Bearer"),
    "NestJS": everywhere(401, {"message": "Unauthorized", "statusCode": 401}, **REQUEST_ID),
    "Drone": everywhere(401, {"message": "Unauthorized"}),
    "Harbor": everywhere(401, {"errors": [{"code": "UNAUTHORIZED", "message": "unauthorized"}]}, **REQUEST_ID),
    "a Docker registry": everywhere(401, {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}),
    "Nexus": everywhere(401, PAGE, WWW_Authenticate='BASIC realm="Sonatype Nexus Repository Manager"'),
    "Kubernetes": everywhere(401, {"kind": "Status", "status": "Failure", "message": "Unauthorized", "code": 401}),
    "a gateway that says what GitLab says, to everything": everywhere(401, {"message": "401 Unauthorized"}),
    "the same with a request id": everywhere(401, {"message": "401 Unauthorized"}, **REQUEST_ID),
    "a gateway with GitLab's words among others": everywhere(
        401, {"message": "401 Unauthorized", "trace": "1"}, **REQUEST_ID
    ),
    "a proxy that took away whatever shows GitLab": {VERSION: GITLAB_REFUSAL, "*": Reply(404, PAGE)},
    "a page with another GitLab's discovery document": {
        VERSION: GITLAB_REFUSAL,
        DISCOVERY: openid(
            "https://gitlab.example.com/oauth/authorize",
            "https://gitlab.example.com/oauth/token",
            "https://gitlab.example.com",
        ),
        "*": Reply(404, PAGE),
    },
    "an API with its own version": everywhere(200, {"version": "4.1.0"}, **REQUEST_ID),
    "an API that is there for everyone": everywhere(200, {"status": "ok"}, **REQUEST_ID),
    "an API that hides itself": everywhere(404, {"error": "404 Not Found"}, **REQUEST_ID),
    "an API that lets no one in": everywhere(403, {"message": "403 Forbidden"}, **REQUEST_ID),
    "a single-page application": everywhere(200, PAGE),
    "a sign-in page in front of it": everywhere(401, PAGE, **REQUEST_ID),
}

GITLABS: dict[str, Table] = {
    "new": {
        VERSION: Reply(
            401,
            {"message": "401 Unauthorized"},
            {**REQUEST_ID, "X-Runtime": "0.013", "X-Gitlab-Meta": '{"correlation_id":"01HF3Q","version":"1"}'},
        ),
        DISCOVERY: GITLAB_DOCUMENT,
        "*": Reply(404, PAGE),
    },
    "behind a proxy that keeps /.well-known/ to itself": {
        VERSION: Reply(401, {"message": "401 Unauthorized"}, REQUEST_ID),
        "*": Reply(404, PAGE),
    },
    "of which only its own header is left": {
        VERSION: Reply(401, {"message": "401 Unauthorized"}, {"X-Gitlab-Meta": '{"correlation_id":"a","version":"1"}'}),
        "*": Reply(403, PAGE),
    },
    "behind a proxy that takes its headers away": {
        VERSION: GITLAB_REFUSAL,
        DISCOVERY: GITLAB_DOCUMENT,
        "*": Reply(404, PAGE),
    },
    "whose gateway signs requests in": {
        VERSION: Reply(200, {"version": "17.5.1-ee", "revision": "ceb07b24cb0"}, REQUEST_ID),
        DISCOVERY: GITLAB_DOCUMENT,
        "*": Reply(404, PAGE),
    },
}


@dataclass
class Impostor:
    """A running one, with everything it was sent."""

    url: str
    table: Table
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def sent(self) -> str:
        """Return everything that reached it, to search it for secrets."""
        return "\n".join("\n".join(request) for request in self.requests)


@contextmanager
def playing(table: Table, prefix: str = "") -> Iterator[Impostor]:
    """Serve a table on loopback, below `prefix`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            impostor.requests.append((f"{self.command} {self.path}", str(self.headers), sent))
            path = self.path.partition("?")[0].removeprefix(prefix)
            reply = impostor.table.get(path, impostor.table["*"])
            content = reply.content.replace(b"{base}", (impostor.url + prefix).encode())
            self.send_response_only(reply.status)
            for name, value in {**reply.headers, "Content-Type": reply.content_type}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    impostor = Impostor(f"http://127.0.0.1:{server.server_port}", table)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield impostor
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
