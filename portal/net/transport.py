"""The HTTP engine's transport: our backend, our TLS context, and a cap on decoded bytes.

authlib's client uses the same transport, so OAuth and API calls go through one stack.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import httpcore2
import httpx2

from portal.net.backend import GuardedBackend
from portal.net.deadline import MAX_BYTES_OF_ERRORS, current
from portal.net.errors import AnswerBroken, AnswerEncoded, AnswerTooLarge, RedirectRefused

MAX_CONNECTIONS = 10
# A pooled connection keeps its once-checked address; after this many idle seconds the name is resolved again.
KEEP_ALIVE_SECONDS = 30.0
CHUNK_BYTES = 64 * 1024
_GZIP = 31  # zlib's window bits for "gzip header expected".


class GuardedTransport(httpx2.BaseTransport):
    """One per line: own TLS context, own pool, HTTP/1.1, no redirects, nothing from the environment."""

    def __init__(
        self, backend: GuardedBackend, context: ssl.SSLContext, extra_headers: Mapping[str, str] | None = None
    ) -> None:
        # Added here, so that a request of another library has them, too; this transport connects to one address only.
        self.extra_headers = extra_headers or {}
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            network_backend=backend,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            http2=False,
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; the body of the answer is read, decoded and capped as it is consumed.

        Raises:
            OutboundError: no usable answer. A redirect counts as no answer.
        """
        request.headers["Accept-Encoding"] = "gzip"
        request.headers.update(self.extra_headers)
        current().begin_request()
        with _translated():
            answer = self._pool.handle_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions={"timeout": {"pool": current().left()}},
                )
            )
        headers = httpx2.Headers(answer.headers)
        try:
            if 300 <= answer.status < 400:
                # A query may hold a code or a state, so it must not reach pages or logs.
                place = headers.get("Location", "").partition("?")[0].partition("#")[0]
                raise RedirectRefused(answer.status, place)
            body = _CappedBody(answer, headers)
        except BaseException:
            answer.close()
            raise
        # The body is decoded as it is read: no one may decode it again, and the length counted the encoded bytes.
        if "Content-Encoding" in headers:
            for name in ("Content-Encoding", "Content-Length"):
                headers.pop(name, None)
        return httpx2.Response(answer.status, headers=headers, stream=body)

    def close(self) -> None:
        """Close every pooled connection."""
        self._pool.close()


class _CappedBody(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response, headers: httpx2.Headers) -> None:
        cap = current().max_bytes if answer.status < 400 else min(current().max_bytes, MAX_BYTES_OF_ERRORS)
        declared = headers.get("Content-Length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:18]) > cap:
            raise AnswerTooLarge(may_have_been_processed=True)
        self._answer = answer
        told = "identity" if current().takes_any_encoding else headers.get("Content-Encoding", "identity")
        encoding = told.strip().lower()
        self._chunks = decoded(answer.iter_stream(), encoding, cap)

    def __iter__(self) -> Iterator[bytes]:
        try:
            with _translated():
                yield from self._chunks
        finally:
            self.close()

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the engine's exceptions into ours."""
    try:
        yield
    except httpcore2.TimeoutException:  # Only the pool's: all connections stayed busy. Reads raise our own exceptions.
        raise current().passed() from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
        raise AnswerBroken(may_have_been_processed=current().sent) from None


def decoded(chunks: Iterable[bytes], encoding: str, cap: int) -> Iterator[bytes]:
    """Yield the decoded body: `identity` or exactly one `gzip`, nothing else.

    Raises:
        AnswerTooLarge: more than `cap` bytes, encoded or decoded.
        AnswerEncoded: another encoding.
        AnswerBroken: broken or truncated compression, or bytes after it.
        DeadlinePassed: also while a bomb is inflated.
    """
    chunks = _capped(chunks, cap)
    if encoding in {"", "identity"}:
        return chunks
    if encoding in {"gzip", "x-gzip"}:
        return _capped(_ungzipped(chunks), cap)
    raise AnswerEncoded(encoding)


def _capped(chunks: Iterable[bytes], cap: int) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > cap:
            raise AnswerTooLarge(may_have_been_processed=True)
        current().go_on_late()
        yield chunk


def _ungzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(_GZIP)
    is_empty = True
    for chunk in chunks:
        rest = chunk
        while rest:
            if decoder.eof:  # zlib would collect what follows the end without limit.
                raise AnswerBroken(may_have_been_processed=True)
            is_empty = False
            try:
                yield decoder.decompress(rest, CHUNK_BYTES)
            except zlib.error:
                raise AnswerBroken(may_have_been_processed=True) from None
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    # An answer without a body (204, or to HEAD) may still name an encoding.
    if not decoder.eof and not is_empty:
        raise AnswerBroken(may_have_been_processed=True)
