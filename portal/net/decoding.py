"""A body as it arrives, decoded in small steps and counted before anyone sees it (S56)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from portal.net.deadline import current
from portal.net.errors import AnswerBroken, AnswerEncoded, AnswerTooLarge

CHUNK_BYTES = 64 * 1024
_GZIP = 31  # zlib's window bits for "gzip header expected".


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
            yield _decompress(decoder, rest)
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    # An answer without a body (204, or to HEAD) may still name an encoding.
    if not decoder.eof and not is_empty:
        raise AnswerBroken(may_have_been_processed=True)


def _decompress(decoder: zlib._Decompress, data: bytes) -> bytes:
    try:
        return decoder.decompress(data, CHUNK_BYTES)
    except zlib.error:
        raise AnswerBroken(may_have_been_processed=True) from None
