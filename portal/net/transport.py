"""The HTTP engine's transport: our backend, our TLS context, decoded bytes capped before anybody sees them.

authlib's client takes the same transport, so OAuth and API calls go through one stack.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterator

import httpcore2
import httpx2

from portal.net.backend import GuardedBackend
from portal.net.deadline import MAX_BYTES_OF_ERRORS, current
from portal.net.errors import AnswerBroken, AnswerTooLarge, OutboundError

MAX_CONNECTIONS = 10
# A pooled connection keeps its once-checked address; after this many idle seconds the name is resolved anew.
KEEP_ALIVE_SECONDS = 30.0
CHUNK_BYTES = 64 * 1024
_GZIP = 31  # zlib's window bits for "gzip header expected".


class GuardedTransport(httpx2.BaseTransport):
    """One per line: own TLS context, own pool, HTTP/1.1, no redirects, nothing from the environment."""

    def __init__(self, backend: GuardedBackend, context: ssl.SSLContext) -> None:
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            network_backend=backend,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            http2=False,
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; the body of the answer is read, decoded and capped as it is consumed."""
        request.headers["Accept-Encoding"] = "gzip"
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
        encoding = headers.pop("Content-Encoding", "identity").strip().lower()
        cap = current().max_bytes if answer.status < 400 else min(current().max_bytes, MAX_BYTES_OF_ERRORS)
        if "Content-Encoding" in headers or encoding != "identity":
            headers.pop("Content-Length", None)  # It counted the encoded bytes.
        body = _CappedBody(answer, encoding, cap)
        return httpx2.Response(answer.status, headers=headers, stream=body)

    def close(self) -> None:
        """Close every pooled connection."""
        self._pool.close()


class _CappedBody(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response, encoding: str, cap: int) -> None:
        self._answer = answer
        self._encoding = encoding
        self._cap = cap

    def __iter__(self) -> Iterator[bytes]:
        total = 0
        with _translated():
            for chunk in _decoded(self._answer.iter_stream(), self._encoding):
                total += len(chunk)
                if total > self._cap:
                    raise AnswerTooLarge(may_have_been_processed=True)
                yield chunk

    def close(self) -> None:
        self._answer.close()


def _decoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if encoding in {"", "identity"}:
        yield from chunks
    elif encoding in {"gzip", "x-gzip"}:
        yield from _ungzipped(chunks)
    else:
        raise AnswerBroken(may_have_been_processed=True)


def _ungzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    # Decoded in small steps, so that a bomb is noticed long before it is inflated.
    decoder = zlib.decompressobj(_GZIP)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                yield decoder.decompress(rest, CHUNK_BYTES)
                rest = decoder.unconsumed_tail
    except zlib.error:
        raise AnswerBroken(may_have_been_processed=True) from None
    if not decoder.eof:
        raise AnswerBroken(may_have_been_processed=True)


class _translated:
    """Turn the engine's exceptions into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, OutboundError):
            return
        engine = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)
        if isinstance(error, (*engine, httpcore2.UnsupportedProtocol)):
            raise AnswerBroken(may_have_been_processed=current().sent) from None
