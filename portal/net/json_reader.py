"""Read JSON that a stranger wrote: type, depth and shape are checked before anything is believed (S57)."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

MAX_DEPTH = 64
MIN_INT64 = -(2**63)
MAX_INT64 = 2**63 - 1
T = TypeVar("T")
# Strings are skipped, so that brackets inside them do not count; linear in the length.
_TOKENS = re.compile(rb'"[^"]*"|[\[{]|[\]}]')
_ESCAPES = re.compile(rb"\\.", re.DOTALL)
_NO_MARKS = bytes(number for number in range(256) if number not in b'"[]{}')
_BAD_ESCAPES = re.compile(rb"\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})")


class JSONRefused(ValueError):
    """It is not the JSON that was expected; `code` says in which way."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def read_json(content: bytes, content_type: str, shape: type[T]) -> T:
    """Decode into `shape`, a msgspec struct or a list of them; unknown fields are ignored.

    Raises:
        JSONRefused: `not_json` (another content type, or empty), `too_deep`, `malformed` (syntax, NaN, lone
            surrogates, not UTF-8), `wrong_shape` (a type or a number is not what it must be).
    """
    if content_type.partition(";")[0].strip().lower() not in {"application/json", "text/json"} or not content:
        raise JSONRefused("not_json")
    if _depth(content) > MAX_DEPTH:
        raise JSONRefused("too_deep")
    try:
        return msgspec.json.decode(_neutral(content), type=shape)
    except msgspec.ValidationError:
        raise JSONRefused("wrong_shape") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise JSONRefused("malformed") from None


def _depth(content: bytes) -> int:
    # All but the marks of structure is dropped at C speed first: pages of projects are hundreds of kilobytes.
    marks = _ESCAPES.sub(b"", content) if b"\\" in content else content
    marks = marks.translate(None, _NO_MARKS).replace(b'""', b"")
    deepest = depth = 0
    for token in _TOKENS.findall(marks):
        if token in {b"[", b"{"}:
            depth += 1
            deepest = max(deepest, depth)
        elif token in {b"]", b"}"}:
            depth -= 1
    return deepest


def _neutral(content: bytes) -> bytes:
    """Replace escapes that no database takes: NUL and halves of surrogate pairs."""
    if b"\\u" not in content:
        return content
    pairs = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
    kept: list[bytes] = []
    position = 0
    for pair in pairs.finditer(content):
        kept += [_BAD_ESCAPES.sub(rb"\\ufffd", content[position : pair.start()]), pair.group()]
        position = pair.end()
    return b"".join(kept) + _BAD_ESCAPES.sub(rb"\\ufffd", content[position:])
