"""A request whose end two programs could see in different places is refused by the web server, before any view."""

from __future__ import annotations

from pathlib import Path

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser

from portal.serving import web_arguments
from portal.settings import Settings

BODY = b"5\r\nhello\r\n0\r\n\r\n"
AMBIGUOUS = {
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "an encoding nobody knows": b"Transfer-Encoding: xchunked\r\n",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunks that are not last": b"Transfer-Encoding: chunked, identity\r\n",
    "chunks with a tab": b"Transfer-Encoding:\x0bchunked\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "lengths in a list": b"Content-Length: 5, 5\r\n",
    "a length with a sign": b"Content-Length: +5\r\n",
    "a length that is none": b"Content-Length: 0x5\r\n",
    "a blank before the colon": b"Content-Length : 5\r\n",
    "a header that goes on in the next line": b"X: a\r\n Content-Length: 5\r\n",
    "a bare line end": b"X: a\nContent-Length: 5\r\n",
    "NUL in a value": b"X: a\x00b\r\n",
}


def read(head: bytes, folder: Path, *, start: bytes = b"POST /sign-in HTTP/1.1\r\n", body: bytes = BODY) -> bytes:
    """Have the web server read a request as `serve` configures it; return the body it sees."""
    config = Config()
    given = vars(config.parser().parse_args(web_arguments(Settings(data_dir=folder), "127.0.0.1:0", 1)[2:]))
    for name, value in given.items():
        if value is not None and name in config.settings:
            config.set(name, value)
    message = start + b"Host: portal.example.com\r\n" + head + b"\r\n" + body
    request = next(iter(RequestParser(config, iter([message]), ("127.0.0.1", 1))))
    return bytes(request.body.read())


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_request_that_could_end_in_two_places_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises((ParseException, ValueError)):
        read(AMBIGUOUS[name], tmp_path)


@pytest.mark.parametrize(
    ("head", "body", "seen"),
    [
        (b"Content-Length: 5\r\n", b"hello", b"hello"),
        (b"Transfer-Encoding: chunked\r\n", BODY, b"hello"),
        (b"", b"hello", b""),
    ],
)
def test_request_with_one_end_is_read_to_it(tmp_path: Path, head: bytes, body: bytes, seen: bytes) -> None:
    assert read(head, tmp_path, body=body) == seen


@pytest.mark.parametrize(
    "start", [b"POST /sign-in HTTP/1.1 HTTP/1.1\r\n", b"POST  /sign-in\r\n", b"P\x00ST / HTTP/1.1\r\n"]
)
def test_request_line_that_is_none_is_refused(tmp_path: Path, start: bytes) -> None:
    with pytest.raises((ParseException, ValueError)):
        read(b"", tmp_path, start=start)


@pytest.mark.parametrize("head", [b"X: " + b"a" * 9000 + b"\r\n", b"".join(b"X-%d: a\r\n" % n for n in range(200))])
def test_header_that_is_too_long_and_too_many_of_them_are_refused(tmp_path: Path, head: bytes) -> None:
    with pytest.raises((ParseException, ValueError)):
        read(head, tmp_path)
