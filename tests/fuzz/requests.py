"""Requests from hell: every route, every method, every kind of body, each reproducible from its number."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote_to_bytes

from flask import Flask

from tests.security.hostile_bodies import BODIES
from tests.security.rights_matrix import ROWS

METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "X" * 300, "ä")
URLENCODED = "application/x-www-form-urlencoded"
# Values from our forms and addresses, so that the hostile value gets to where it is used.
NAMES = (
    *("q", "next", "before", "after", "state", "page", "group", "code", "iss", "error", "error_description", "actor"),
    *("action", "result", "from", "to", "format", "object", "only", "repository_id", "repository_ids", "group_id"),
    *("grant_id", "role", "email", "name", "password", "new_password", "organization", "theme", "v", "in_popup", "use"),
    *("domain", "api_url", "ca_certificate", "proxy", "display_name", "method", "services", "hooks_wanted", "preset"),
    *("service_username", "application_id", "secret", "choice", "revoked", "confirmation", "use_external", "sort"),
    *("proxy_exceptions", "reach", "trust", "client_certificate", "client_key", "header_name", "header_value"),
    *("csrf_token", "proof_password", "_method", "connection", "connection_id", "visibility", "archived", "enabled"),
)
TEXTS: tuple[str, ...] = (
    *(
        "",
        " ",
        "x",
        "0",
        "-1",
        "1",
        "on",
        "owner",
        "auditor",
        "dark",
        "csv",
        "oauth",
        "full",
        "repositories",
        "enabled",
    ),
    *(
        "2147483648",
        "9223372036854775808",
        "9" * 400,
        "9" * 5000,
        "1e308",
        "NaN",
        "-0",
        "0x1",
        "²",
        "١",
        "１",
        "1.5",
        "1_0",
    ),
    *(
        "\0",
        "a\0b",
        "\r\n",
        "a\r\nSet-Cookie: x=y",
        "\x1b[31m",
        "\u202e",
        "\u200b",
        "\ufeff",
        "\ufffd",
        "\uffff",
        "\ud83d",
    ),
    *(
        "ß",
        "ı",
        "ς",
        "e\u0301",
        "𝕏",
        "👩‍👩‍👧‍👦",
        "ä" * 300,
        "x" * 5000,
        "<script>alert(1)</script>",
        "'\"><b hx-get=/x>",
    ),
    *(
        "{{7*7}}",
        "${7*7}",
        "%s%n",
        "%25",
        "%00",
        "%",
        "%zz",
        "%u0041",
        "../../etc/passwd",
        "..%2f",
        "\\\\evil\\x",
        "//evil",
    ),
    *("' OR 1=1 --", "'; DROP TABLE user; --", "1); --", "a%' ESCAPE '", "__proto__", "[]", "{}", "[[" * 200, "null"),
    *(
        "http://evil.example",
        "https://gitlab.example.com",
        "gitlab.example.com/gitlab",
        "127.0.0.1",
        "[::1]",
        "[::ffff:1.2.3.4",
    ),
    *("https://a:b@c:99999/", "https://[", "http://169.254.169.254/", "javascript:alert(1)", "/profile", "//profile"),
    *("2026-01-01", "0000-00-00", "9999-12-31", "2026-02-30T25:61", "10000-01-01", "-----BEGIN CERTIFICATE-----\nx"),
    *(
        "=HYPERLINK(1)",
        "@x",
        "+1",
        "olga@example.com",
        "a@" + "b" * 300,
        "a@b",
        "@",
        "CON",
        "LPT1",
        ".",
        "..",
        "/" * 500,
    ),
)
TYPES = (
    *(
        URLENCODED,
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "application/json",
        "text/xml",
        "text/plain",
    ),
    *(
        "application/octet-stream",
        "application/x-www-form-urlencoded; charset=utf-7",
        "multipart/mixed; boundary=b",
        "",
    ),
    *("multipart/form-data; boundary=" + "b" * 300, "x", "/", ";", "application/problem+json", "image/png", 'a/b;c="d'),
)
HEADERS: dict[str, tuple[str, ...]] = {
    "HX-Request": ("true", "false", "TRUE"),
    "HX-Boosted": ("true",),
    "HX-History-Restore-Request": ("true",),
    "HX-Current-URL": ("http://127.0.0.1:8000/x", "//", "\xff", "x" * 3000),
    "HX-Target": ("alerts", "#", "\xe4" * 50),
    "X-Polling": ("1", "x"),
    "Origin": ("null", "http://127.0.0.1:8000", "http://127.0.0.1:8000.evil.example", "", "\xff"),
    "Sec-Fetch-Site": ("same-origin", "cross-site", "none", "", "x"),
    "Referer": ("http://evil.example", "\xff\xfe"),
    "User-Agent": ("", "\xff" * 500, "x" * 5000, "a\tb"),
    "Accept": ("*/*", "application/json", "text/html;q=x", "," * 500, "\xff"),
    "Accept-Encoding": ("gzip", "gzip;q=0", "identity;q=0, *;q=0", ";;;", "gzip;q=nan"),
    "Accept-Language": ("de", "x" * 2000, "*;q=inf"),
    "If-None-Match": ("*", '"x"', 'W/"', "x" * 3000),
    "If-Modified-Since": ("Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Foo 99999 99:99:99 GMT", "0"),
    "If-Range": ('"x"', "yesterday"),
    "Range": ("bytes=0-0", "bytes=-1", "bytes=9-1,5-5", "bytes=" + "0-1," * 300, "lines=1", "bytes=a-b"),
    "Authorization": ("Basic eDp5", "Bearer x", "Basic \xff", "Negotiate", "Digest a=b,,=c"),
    "Cookie": (
        "a=b",
        "gatehouse=x",
        "=x",
        ";" * 500,
        'a="\\777"',
        "gatehouse-device=a.b.c~~",
        "x=" + "y" * 3000,
        "\xff=\xff",
    ),
    "Expect": ("100-continue",),
    "X-Forwarded-For": ("6.6.6.6", "x" * 500, "," * 300, "[::1]:1, 1.2.3.4:5"),
    "X-Forwarded-Proto": ("https", "http", "x"),
    "X-Forwarded-Host": ("evil.example", "a:b:c"),
    "X-Forwarded-Prefix": ("/evil", "//"),
    "Forwarded": ("for=6.6.6.6", 'for="[', ";;;="),
    "X-HTTP-Method-Override": ("DELETE",),
    "Purpose": ("prefetch",),
    "Sec-Purpose": ("prefetch",),
    "Content-Encoding": ("gzip", "x"),
    "Transfer-Encoding": ("chunked",),
    "Upgrade": ("websocket", "h2c"),
    "Max-Forwards": ("0", "x"),
}
HOSTS = ("evil.example", "127.0.0.1", "", "127.0.0.1:8000:9", "\xff", "[::1", "127.0.0.1:8000, evil", "x" * 3000)


@dataclass(frozen=True)
class Hostile:
    """One request.

    Attributes:
        target: as in the request line.
        headers: without Host, Cookie of the session and token, which `environ` adds.
        host: empty for the right one.
        has_token: whether it has the session's token, as one of our pages would send it.
        length: what Content-Length says, if that is wrong.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    content_type: str
    host: str = ""
    has_token: bool = True
    length: str = ""

    def environ(self, host: str, cookie: str, token: str) -> dict[str, Any]:
        """Return what a WSGI server passes to the application."""
        path, _, query = self.target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": self.target,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.input_terminated": True,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in self._all_headers(host, cookie, token):
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = f"{environ[key]},{value}" if key in environ and key != "HTTP_HOST" else value
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if f"HTTP_{name}" in environ:
                environ[name] = environ.pop(f"HTTP_{name}")
        return environ

    def raw(self, host: str, cookie: str, token: str) -> bytes:
        """Return the bytes on the line."""
        head = [f"{self.method} {self.target} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in self._all_headers(host, cookie, token)]
        return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1", "replace") + self.body

    def _all_headers(self, host: str, cookie: str, token: str) -> list[tuple[str, str]]:
        found = [("Host", self.host or host), *self.headers]
        if cookie:
            found.append(("Cookie", cookie))
        if self.has_token:
            found += [("X-CSRFToken", token)]
            found += [] if any(name == "Sec-Fetch-Site" for name, _ in found) else [("Sec-Fetch-Site", "same-origin")]
        if self.content_type:
            found.append(("Content-Type", self.content_type))
        if self.body or self.length:
            found.append(("Content-Length", self.length or str(len(self.body))))
        return found


def make(app: Flask, seed: str, names: dict[str, str]) -> Hostile:
    """Make the request of a seed; `names` are objects that exist, for the addresses."""
    chance = random.Random(seed)
    rule, methods = chance.choice(_rules(app))
    method = chance.choice(methods) if chance.random() < 0.85 else chance.choice(METHODS)
    target = _path(chance, rule, names)
    if chance.random() < 0.4:
        target += "?" + _pairs(chance, [chance.choice(NAMES) for _ in range(chance.randrange(1, 5))])
    body, content_type = b"", ""
    if method not in {"GET", "HEAD", "OPTIONS"} or chance.random() < 0.05:
        body, content_type = _body(chance, rule, names)
    return Hostile(
        method=method,
        target=target,
        headers=_headers(chance),
        body=body,
        content_type=content_type,
        host=chance.choice(HOSTS) if chance.random() < 0.02 else "",
        has_token=chance.random() < 0.9,
        length=chance.choice(("0", "5", "999999", "-1", "9" * 30, "x", "1,2", "²")) if chance.random() < 0.02 else "",
    )


@cache
def _rules(app: Flask) -> list[tuple[str, tuple[str, ...]]]:
    found = [(rule.rule, tuple(sorted(rule.methods or ()))) for rule in app.url_map.iter_rules()]
    # Requests that change things are more frequent.
    return [*found, *(pair for pair in found if "POST" in pair[1] for _ in range(2))]


@cache
def _fields_of(path: str) -> tuple[dict[str, str], ...]:
    pattern = path.replace("<", "{").replace(">", "}")
    ends = pattern.rpartition("/")[2]
    return tuple(row.form for row in ROWS if row.method == "POST" and row.path.endswith(ends))


def _path(chance: random.Random, rule: str, names: dict[str, str]) -> str:
    parts = []
    for part in rule.split("/"):
        if not part.startswith("<"):
            parts.append(part)
            continue
        name = part.strip("<>").rpartition(":")[2]
        known = names.get(name) or names.get({"number": "audit_number"}.get(name, ""), "")
        value = known if known and chance.random() < 0.8 else chance.choice(TEXTS)
        parts.append(quote(value.encode("utf-8", "surrogatepass"), safe="/" if chance.random() < 0.1 else ""))
    path = "/".join(parts)
    kind = chance.random()
    if kind < 0.02:
        path = chance.choice(
            (path + "/", "/" + path, path.upper(), path + "%00", path + "/..", path + "%ff", path * 20)
        )
    elif kind < 0.03:
        path = chance.choice(
            ("*", "http://127.0.0.1:8000" + path, "http://evil.example" + path, "x", "//", "/%2e%2e/", "/;")
        )
    return path[:8000]


def _pairs(chance: random.Random, names: Sequence[str], values: dict[str, str] | None = None) -> str:
    pairs = []
    for name in names:
        value = (values or {}).get(name)
        if value is None or chance.random() < 0.5:
            value = chance.choice(TEXTS)
        encoded = quote_plus(value.encode("utf-8", "surrogatepass"))
        if chance.random() < 0.03:
            encoded = chance.choice(("%", "%zz", "%ff", "%ed%a0%80", "%c0%80", "+", "%uD800"))
        pairs.append(f"{quote_plus(name)}={encoded}")
    return "&".join(pairs)


def _body(chance: random.Random, rule: str, names: dict[str, str]) -> tuple[bytes, str]:
    kind = chance.random()
    fields = dict(chance.choice(_fields_of(rule) or ({},)))
    for name, value in fields.items():
        if value.startswith("{") and value.endswith("}"):
            fields[name] = names.get(value.strip("{}"), value)
    wanted = [name for name in fields if chance.random() < 0.9]
    wanted += [chance.choice(NAMES) for _ in range(chance.randrange(3) if chance.random() < 0.4 else 0)]
    if kind < 0.65:
        return _pairs(chance, wanted, fields).encode(), URLENCODED
    if kind < 0.8:
        content_type, body, _ = chance.choice(tuple(BODIES.values()))
        return body.replace(b"{field}", chance.choice(wanted or list(NAMES)).encode()), content_type
    if kind < 0.88:
        return _multipart(chance, wanted, fields), "multipart/form-data; boundary=b"
    if kind < 0.93:
        value = json.dumps({name: chance.choice(TEXTS) for name in wanted}, ensure_ascii=chance.random() < 0.5)
        return value.encode("utf-8", "surrogatepass"), chance.choice(TYPES)
    if kind < 0.97:
        return chance.randbytes(chance.randrange(600)), chance.choice(TYPES)
    return b"x=" + b"y" * chance.choice((10_000, 1_048_574, 1_048_577, 1_500_000)), chance.choice(TYPES)


def _multipart(chance: random.Random, names: Sequence[str], values: dict[str, str]) -> bytes:
    parts = []
    for name in names:
        value = values.get(name, "") if chance.random() < 0.5 else chance.choice(TEXTS)
        disposition = chance.choice(
            (
                f'form-data; name="{name}"',
                f'form-data; name="{name}"',
                f'form-data; name="{name}"; filename="x"',
                f"form-data; name*=utf-8''{name}",
                f"form-data; name={name}; name=other",
                "form-data",
                f'FORM-DATA; NAME="{name}',
                "",
            )
        )
        more = chance.choice(
            ("", "", "Content-Type: text/plain; charset=utf-16\r\n", "Content-Length: -5\r\n", "\x00: x\r\n")
        )
        head = f"--b\r\nContent-Disposition: {disposition}\r\n{more}\r\n"
        parts.append(head.encode() + value.encode("utf-8", "surrogatepass") + b"\r\n")
    return b"".join(parts) + chance.choice((b"--b--\r\n", b"--b--\r\n", b"--b--", b"--b", b""))


def _headers(chance: random.Random) -> tuple[tuple[str, str], ...]:
    if chance.random() < 0.5:
        return ()
    chosen = [chance.choice(tuple(HEADERS)) for _ in range(chance.randrange(1, 5))]
    return tuple((name, chance.choice(HEADERS[name])) for name in chosen)
