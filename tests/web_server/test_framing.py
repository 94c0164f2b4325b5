"""Requests that two parsers could read differently, or invalid ones: 4xx and the connection ends (S102)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import gatehouse_gunicorn
from portal.operation import serving
from portal.web import request_checks
from tests.web_server.served import ROOT, Served, status_of

FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
# A second request after the first: if it were answered, it would have been smuggled in.
SECOND = "GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"
POST = "POST /sign-in HTTP/1.1\r\nHost: {host}\r\n"
CHUNKED = POST + FORM + "Transfer-Encoding: chunked\r\n"
WRONG = {
    "two lengths": POST + FORM + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nemail=",
    "length and chunks": CHUNKED + "Content-Length: 5\r\n\r\n0\r\n\r\n",
    "unknown coding": POST + FORM + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding twice": CHUNKED + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and identity": POST + FORM + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "coding with a tab": POST + FORM + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "name with a blank": POST + FORM + "Content-Length : 5\r\n\r\nemail",
    "negative length": POST + FORM + "Content-Length: -1\r\n\r\n",
    "length with a plus": POST + FORM + "Content-Length: +5\r\n\r\nemail",
    "lengths in a list": POST + FORM + "Content-Length: 5, 5\r\n\r\nemail",
    "length in hexadecimal": POST + FORM + "Content-Length: 0x5\r\n\r\nemail",
    "length in other digits": POST + FORM + "Content-Length: \u00b2\r\n\r\nab",
    "length of 5,000 digits": POST + FORM + f"Content-Length: {'9' * 5_000}\r\n\r\n",
    "chunk that is none": CHUNKED + "\r\nxyz\r\nemail\r\n0\r\n\r\n",
    "chunk longer than told": CHUNKED + "\r\n1\r\nemail\r\n0\r\n\r\n",
    "folded header": POST + "X-A: b\r\n c\r\n\r\n",
    "header without a name": POST + ": b\r\n\r\n",
    "header with NUL": POST + "X-A: \0\r\n\r\n",
    "two hosts": POST + "Host: evil.example\r\n\r\n",
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "no version": "GET /\r\n\r\n",
    "other version": "GET / HTTP/3.7\r\nHost: {host}\r\n\r\n",
    "other protocol": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower-case method": "get / HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "bare line ends": "GET / HTTP/1.1\nHost: {host}\n\n",
    "version twice": "GET / HTTP/1.1 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "two blanks": "GET  / HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "NUL in the method": "G\0T / HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "address with a blank": "GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "address in absolute form": "GET http://evil.example/sign-in HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "no address": "OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "tunnel": "CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "expectation": POST + "Expect: coffee\r\n\r\n",
}
LONG = {
    "address": ("GET /" + "x" * 9_000 + " HTTP/1.1\r\nHost: {host}\r\n\r\n", 414),
    "header": (POST + "X-A: " + "b" * 65_000 + "\r\n\r\n", 431),
    "headers": (POST + "".join(f"X-{number}: b\r\n" for number in range(200)) + "\r\n", 431),
    "body": (POST + FORM + "Content-Length: 2000000\r\n\r\n" + "x" * 2_000_000, 413),
    "chunks": (CHUNKED + "\r\n" + ("10000\r\n" + "x" * 65_536 + "\r\n") * 20 + "0\r\n\r\n", 413),
}


@pytest.mark.parametrize("name", WRONG)
def test_ambiguous_request_is_refused_and_nothing_after_it_is_answered(served: Served, name: str) -> None:
    answer = served.send((WRONG[name] + SECOND).format(host=served.host).encode("latin-1"), ends=True)

    assert 400 <= status_of(answer) < 500
    # If the request can be distinguished from the next one, that one is a separate request and is answered.
    assert answer.count(b"HTTP/1.1 ") == 1 or name in {"no host", "address in absolute form", "no address"}
    for header in (b"Content-Security-Policy: default-src 'none'", b"X-Content-Type-Options: nosniff", b"no-referrer"):
        assert header in answer
    assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize("name", LONG)
def test_what_is_too_long_is_told_so(served: Served, name: str) -> None:
    sent, status = LONG[name]

    assert status_of(served.send(sent.format(host=served.host).encode(), ends=True)) == status


@pytest.mark.parametrize(
    "body", ["Content-Length: 100\r\n\r\nemail=a", "Transfer-Encoding: chunked\r\n\r\n64\r\nemail=a"]
)
def test_body_that_ends_early_is_400(served: Served, body: str) -> None:
    answer = served.send((POST + FORM + body).format(host=served.host).encode(), ends=True)

    assert status_of(answer) == 400
    assert b"ended early" in answer


def test_whole_chunks_are_a_form(served: Served) -> None:
    sent = CHUNKED + "\r\n7\r\ntheme=d\r\n3\r\nark\r\n0\r\n\r\n"

    # Read as a form, and then refused because it has no token.
    assert (
        status_of(served.send((sent.replace("/sign-in", "/theme")).format(host=served.host).encode(), ends=True)) == 403
    )


@pytest.mark.parametrize(
    "headers",
    [
        "SCRIPT_NAME: /evil\r\n",
        "Script-Name: /evil\r\n",
        "PATH_INFO: /healthz\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Protocol: ssl\r\n",
        "X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 666\r\nX-Forwarded-Prefix: /evil\r\n",
        "Forwarded: for=6.6.6.6;host=evil.example;proto=https\r\nX-Script-Name: /evil\r\n",
        "X_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n",
    ],
)
def test_headers_of_proxies_change_nothing(served: Served, headers: str) -> None:
    answer = served.get("/sign-in", headers)

    assert status_of(answer) == 200
    assert b"evil" not in answer
    assert b"Strict-Transport-Security" not in answer
    assert f'action="{"/sign-in"}"'.encode() in answer
    assert "6.6.6.6" not in served.log.read_text()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_refusals_of_an_https_portal_say_so_for_a_year(scheme: str) -> None:
    environment = {**os.environ, "GATEHOUSE_BASE_URL": f"{scheme}://portal.example.com"}
    program = "import gatehouse_gunicorn as g; print(g.REFUSAL.format(status='', length=0, https=g.STRICT_TRANSPORT))"

    shown = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True)

    assert ("Strict-Transport-Security: max-age=31536000" in shown.stdout) is (scheme == "https")
    assert shown.returncode == 0


def test_names_that_both_sides_use_are_the_same() -> None:
    assert gatehouse_gunicorn.BODY_PROBLEM == request_checks.BODY_PROBLEM
    assert gatehouse_gunicorn.MAX_BODY_BYTES == request_checks.MAX_BODY_BYTES
    assert gatehouse_gunicorn.graceful_timeout == serving.WEB_GRACE_SECONDS
