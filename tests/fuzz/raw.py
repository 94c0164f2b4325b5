"""The same requests as raw bytes, and bytes that are not a request: what no client library would send."""

from __future__ import annotations

import random
import re
import time
from urllib.parse import urlencode

from flask import Flask

from tests.fuzz.requests import make
from tests.fuzz.world import Found
from tests.support.people import PASSWORD
from tests.web_server.served import Served, read_all, status_of

# This many bytes at a time, as on a slow network.
SPLIT = 3
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_TOKEN = re.compile(rb'name="csrf_token" value="([^"]+)"')
_COOKIE = re.compile(rb"Set-Cookie: (gatehouse=[^;]+);")


def sign_in(served: Served, email: str) -> tuple[str, str]:
    """Sign in by the form; return cookie and token."""
    page = served.get()
    cookie, token = _first(_COOKIE, page), _first(_TOKEN, page)
    body = urlencode({"email": email, "password": PASSWORD, "csrf_token": token})
    head = f"POST /sign-in HTTP/1.1\r\nHost: {served.host}\r\nCookie: {cookie}\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n"
    answer = served.send((head + body).encode())
    assert status_of(answer) == 303, answer
    cookie = _first(_COOKIE, answer)
    return cookie, _first(_TOKEN, served.get("/profile", f"Cookie: {cookie}\r\n"))


def run_raw_block(
    served: Served, app: Flask, names: dict[str, str], email: str, seed: int, number: int, size: int
) -> Found:
    """Send the requests of one block; `email` is of someone who may change nothing, empty for a visitor.

    `app` is only used for its addresses.
    """
    found, read_from = Found(), len(served.log.read_bytes())
    cookie, token = sign_in(served, email) if email else ("", "")
    for index in range(size):
        key = f"{seed}:{number}:{index}"
        started = time.perf_counter()
        sent = _spoil(random.Random(f"raw {key}"), make(app, key, names).raw(served.host, cookie, token))
        statuses = [int(status) for status in _STATUS.findall(_send(served, sent))]
        found.requests += 1
        found.statuses.update(statuses or [0])
        found.longest = (max(found.longest[0], time.perf_counter() - started), 0.0)
        if any(status >= 500 for status in statuses):
            found.failures.append(f"raw {key} {statuses}: {sent[:600]!r}")
    log = served.log.read_bytes()[read_from:]
    if b"Traceback" in log or b"unexpected_error" in log:
        found.failures.append(f"raw block {seed}:{number} wrote a traceback: {log[log.find(b'Traceback') :][:1500]!r}")
    if status_of(served.get()) != 200:
        found.failures.append(f"after raw block {seed}:{number} others are not answered")
    return found


def _send(served: Served, sent: bytes) -> bytes:
    connection = served.connect()
    served.connections.remove(connection)
    try:
        for start in range(0, len(sent), len(sent) // SPLIT + 1):
            connection.sendall(sent[start : start + len(sent) // SPLIT + 1])
        connection.shutdown(1)
    except OSError:  # Refused before all of it was sent.
        pass
    return read_all(connection)


def _spoil(chance: random.Random, sent: bytes) -> bytes:
    """Return the bytes of a request, one time in three as they are."""
    kind, place = chance.randrange(9), chance.randrange(len(sent))
    head, _, body = sent.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if kind == 0:
        return sent[:place]
    if kind == 1:
        return sent[:place] + chance.randbytes(chance.randrange(1, 9)) + sent[place:]
    if kind == 2:
        again = chance.choice(lines)
        return b"\r\n".join([*lines, again, b"X-A: b", b" folded"]) + b"\r\n\r\n" + body
    if kind == 3:
        sizes = (b"%x" % len(body), b"-1", b"ffffffffffffffff", b"5;a=b", b"", b"0x5", b"g", b"00000001")
        kept = [line for line in lines if not line.lower().startswith(b"content-length")]
        chunks = chance.choice(sizes) + b"\r\n" + body + chance.choice((b"\r\n0\r\n\r\n", b"\r\n", b"0\r\n", b""))
        return b"\r\n".join([*kept, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n" + chunks
    if kind == 4:
        return sent.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")), chance.choice((1, -1)))
    if kind == 5:
        return sent + sent
    return sent


def _first(pattern: re.Pattern[bytes], text: bytes) -> str:
    found = pattern.search(text)
    assert found, text
    return found.group(1).decode()
