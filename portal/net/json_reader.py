"""Read JSON from an untrusted source: type, depth, numbers and shape are checked before anything is used (S57)."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from portal.foreign import Foreign, hides_nothing

MAX_DEPTH = 64
MIN_INT64 = -(2**63)
MAX_INT64 = 2**63 - 1
T = TypeVar("T")
_CONTENT_TYPES = {"application/json", "text/json"}
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")
_NO_MARKS = bytes(number for number in range(256) if number not in b'"[]{}')
# Whole numbers only: nothing that follows a point, or continues with one or an exponent.
_LONG_NUMBERS = re.compile(rb"(?<![0-9.])-?[0-9]{19,}+(?![.eE])")
# A text is matched before a number, so that none is found inside it.
_TEXT_OR_LONG_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*+"|(?<![0-9.])(?P<number>-?[0-9]{19,}+)(?![.eE])', re.DOTALL)
# With these every digit is a zero: a fixed text is found many times faster than one of ten at each place.
_ONE_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19
_HAS_BAD_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# A pair of surrogates is matched before a half of one, an escaped backslash before what looks like an escape after it.
_ANY_ESCAPE = re.compile(
    rb"(?P<good>\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})",
    re.DOTALL,
)


class JSONRefused(ValueError):
    """It is not the JSON that was expected; `code` says in which way."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def read_json(content: bytes, content_type: str, shape: type[T]) -> T:
    """Decode into `shape`, a msgspec struct or a list of them; unknown fields are ignored.

    NUL and lone surrogates, which no database accepts, become U+FFFD. The time is linear in the length.

    Raises:
        JSONRefused: `not_json` (another content type, or empty), `too_deep`, `malformed` (syntax, NaN, not
            UTF-8, unbalanced), `wrong_shape` (a type is wrong, a whole number has more than 64 bits).
    """
    if content_type.partition(";")[0].strip().lower() not in _CONTENT_TYPES or not content:
        raise JSONRefused("not_json")
    # At C speed, without one Python step per mark: pages of projects are hundreds of kilobytes. One kind of bracket is
    # enough: the decoder handles unmatched pairs.
    marks = _without_escaped_quotes(content).translate(_ONE_BRACKET, _NO_MARKS).replace(b'""', b"")
    marks = _outside_strings(marks).replace(b" ", b"")
    for _ in range(MAX_DEPTH):
        inner_gone = marks.replace(b"[]", b"")
        if len(inner_gone) == len(marks):
            break
        marks = inner_gone
    if marks:  # Each round removes the innermost level; what is left is deeper, or unclosed.
        raise JSONRefused("too_deep" if b"[]" in marks else "malformed")
    # Databases refuse longer numbers, and Python takes quadratic time for very long ones.
    if _LONG_NUMBER in content.translate(_ONE_DIGIT):
        numbers = _LONG_NUMBERS.findall(_outside_strings(_without_escaped_quotes(content)))
        if not all(map(_is_int64, numbers)):
            raise JSONRefused("wrong_shape")
    if b"\\u" in content and _HAS_BAD_ESCAPE.search(content):
        content = _ANY_ESCAPE.sub(lambda match: match["good"] or rb"\ufffd", content)
    unchecked: list[str] = []

    def take(kind: type[Any], value: Any) -> Any:
        # A kind that makes its texts in another way than the others is asked to.
        if type(value) is not str or not issubclass(kind, Foreign) or kind.__new__ is not Foreign.__new__:
            return make_foreign(kind, value)
        if not value or len(value) > kind.limit or kind.is_sentence:
            return kind(value)
        unchecked.append(value)
        return str.__new__(kind, value)

    try:
        # Native types never get to the hooks: only kinds of foreign text do, which clean their input.
        found = msgspec.json.decode(content, type=shape, dec_hook=take)
        if not hides_nothing(unchecked):
            found = msgspec.json.decode(content, type=shape, dec_hook=make_foreign)
        return found
    except msgspec.ValidationError:
        raise JSONRefused("wrong_shape") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise JSONRefused("malformed") from None


def without_long_numbers(content: bytes) -> bytes:
    """Replace each whole number of more than 64 bits with what no field accepts, so that only that field is wrong."""
    if _LONG_NUMBER not in content.translate(_ONE_DIGIT):
        return content
    return _TEXT_OR_LONG_NUMBER.sub(
        lambda match: b"[null]" if match["number"] and not _is_int64(match["number"]) else match[0], content
    )


def make_foreign(kind: type[Any], value: Any) -> Any:
    """Turn a decoded value into a kind of foreign text; for msgspec's `dec_hook`."""
    return value if isinstance(value, kind) else kind(value)


def _is_int64(number: bytes) -> bool:
    return len(number) <= 20 and MIN_INT64 <= int(number) <= MAX_INT64


def _without_escaped_quotes(content: bytes) -> bytes:
    # Escaped backslashes first: in `"\\\\"` the last quote is not escaped.
    return content.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in content else content


def _outside_strings(content: bytes) -> bytes:
    return b" ".join(content.split(b'"')[::2])
