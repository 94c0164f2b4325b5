"""Answers that no GitLab should give: complete HTTP responses, byte for byte, and a server that sends them."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl

JSON = "application/json"
PLAIN_PROJECT = b'{"id":1,"name":"a","path_with_namespace":"a/a"}'


def response(
    body: bytes, *, status: str = "200 OK", content_type: str = JSON, headers: tuple[str, ...] = (), length: int = -1
) -> bytes:
    """Return one HTTP/1.1 response; `length` may lie."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers, "Connection: close"]
    if not any(line.lower().startswith("transfer-encoding") for line in headers):
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _json_cases() -> dict[str, bytes]:
    bodies = {
        "empty": b"",
        "null": b"null",
        "true": b"true",
        "number": b"12",
        "text": b'"text"',
        "empty_object": b"{}",
        "object_for_list": b'{"message":"no"}',
        "list_of_numbers": b"[1,2,3]",
        "list_of_lists": b"[[[]]]",
        "list_of_null": b"[null]",
        "truncated": b'{"id": 1, "username": "gate',
        "two_documents": b"{}{}",
        "nan": b'{"id": NaN}',
        "infinity": b'[{"id": Infinity}]',
        "deep_list": b"[" * 200_000,
        "deep_object": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        "id_beyond_int64": b'{"id": 9223372036854775808, "username": "a", "version": 9223372036854775808}',
        "id_as_text": b'{"id": "1", "username": "a"}',
        "id_as_float": b'[{"id": 1.5, "name": "a", "path_with_namespace": "a/a"}]',
        "name_is_a_list": b'[{"id": 1, "name": ["a"], "path_with_namespace": "a/a"}]',
        "name_is_null": b'[{"id": 1, "name": null, "path_with_namespace": "a/a"}]',
        "lone_surrogate_key": b'{"\\ud800": 1}',
        "not_utf8": b'{"username": "\xff\xfe"}',
        "utf16": '{"id": 1}'.encode("utf-16"),
        "huge_number": b"[" + b"9" * 5000 + b"]",
        "huge_text": b'{"version": "' + b"x" * 9_000_000 + b'"}',
        "ids_go_backwards": b'[{"id":2,"name":"b","path_with_namespace":"a/b"},' + PLAIN_PROJECT + b"]",
        "ids_repeat": b"[" + PLAIN_PROJECT + b"," + PLAIN_PROJECT + b"]",
        "control_characters": b'{"username": "a\x00\x01"}',
    }
    return {name: response(body) for name, body in bodies.items()}


def _http_cases() -> dict[str, bytes]:
    html = b"<!doctype html><title>Sign in</title><script>alert(1)</script>"
    good = b'{"message":"401 Unauthorized"}'
    return {
        "html_login_page": response(html, content_type="text/html"),
        "html_as_json": response(html),
        "plain_text": response(b"GitLab OK", content_type="text/plain"),
        "no_content": response(b"", status="204 No Content"),
        "partial_content": response(b"{}", status="206 Partial Content"),
        "redirect_elsewhere": response(b"", status="302 Found", headers=("Location: https://evil.example/",)),
        "redirect_to_script": response(b"", status="301 Moved", headers=("Location: javascript:alert(1)",)),
        "redirect_without_target": response(b"", status="307 Temporary Redirect"),
        "not_modified": response(b"", status="304 Not Modified"),
        "bad_gateway_html": response(html, status="502 Bad Gateway", content_type="text/html"),
        "teapot": response(b"{}", status="418 I'm a teapot"),
        "gone": response(b'{"error":"API V3 is no longer supported."}', status="410 Gone"),
        "status_999": response(b"{}", status="999 What"),
        "broken_gzip": response(b"\x1f\x8b broken", headers=("Content-Encoding: gzip",)),
        "cut_gzip": response(gzip.compress(b"{}" * 999)[:20], headers=("Content-Encoding: gzip",)),
        "brotli": response(b"\x8b\x00\x80{}\x03", headers=("Content-Encoding: br",)),
        "gzip_bomb": response(gzip.compress(b" " * 50_000_000), headers=("Content-Encoding: gzip",)),
        "length_too_long": response(b"{}", length=5000),
        "bad_chunks": response(b"zz\r\n{}\r\n", headers=("Transfer-Encoding: chunked",)),
        "not_http": b"SSH-2.0-OpenSSH_9.2\r\n",
        "redis": b"-ERR unknown command 'GET'\r\n",
        "nothing": b"",
        "half_a_head": b"HTTP/1.1 200 OK\r\nContent-Ty",
        "header_injection": response(good, status="401 Unauthorized", headers=("X-Request-Id: \x1b[31m<b>",)),
        "hostile_error": response(b'{"error":{"a":[{"b":"<svg onload=alert(1)>"}]}}', status="400 Bad Request"),
        "retry_after_nonsense": response(b"Retry later", status="429 Too Many", headers=("Retry-After: 999999",)),
    }


CASES: dict[str, bytes] = {**_json_cases(), **_http_cases()}


class ScriptedServer:
    """Answers every request with `answer`; `answers` maps the start of a path to its own, which wins.

    `echo` makes the answer from the secrets that a request carried; all of them are in `secrets`.
    """

    def __init__(self) -> None:
        self.answer = b""
        self.echo: Callable[[list[str]], bytes] | None = None
        self.secrets: set[str] = set()
        self.answers: dict[str, bytes] = {}
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(5)
                head, body = _read_request(connection)
                self.requests += 1
                secrets = _secrets_in(head, body)
                self.secrets.update(secrets)
                if self.echo:
                    connection.sendall(self.echo(secrets))
                    connection.shutdown(socket.SHUT_WR)
                    return
                path = head.split(b" ")[1].decode("latin-1") if b" " in head else ""
                special = (answer for start, answer in self.answers.items() if path.startswith(start))
                connection.sendall(next(special, self.answer))
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                return


PUBLIC = {"client_id", "grant_type", "redirect_uri"}


def _secrets_in(head: bytes, body: bytes) -> list[str]:
    lines = head.decode("latin-1").split("\r\n")
    tokens = [
        line.rpartition(" ")[2] for line in lines if line.lower().startswith(("authorization:", "private-token:"))
    ]
    return tokens + [value for name, value in parse_qsl(body.decode("latin-1")) if name not in PUBLIC]


def _read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    lines = (line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    length = next((int(line.split(b":")[1]) for line in lines), 0)
    while len(body) < length:
        body += connection.recv(65536) or b"x" * length
    return head, body


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Run one while the block runs."""
    server = ScriptedServer()
    try:
        yield server
    finally:
        server.close()
