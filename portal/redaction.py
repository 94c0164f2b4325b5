"""The secrets that this process held recently, and redacting them from texts.

GitLab's OAuth tokens are plain hexadecimal and match no pattern, so they are recognised by value: whole, in part (a
peer may repeat only the first twenty characters), and in the forms in which HTTP and JSON carry them.
"""

from __future__ import annotations

import binascii
import html
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from urllib.parse import unquote_plus

MASK = "***"
# Shorter values would blank out ordinary words.
MIN_LENGTH = 8
# A shorter part of a secret reveals too little of it, and would blank out too much else.
MIN_PART = 16
MAX_REGISTERED = 5000
# So many are searched one after the other; more of them by their first characters.
FEW_PIECES = 64
# Of one piece in one secret, at either end.
MAX_PLACES = 4

_values: OrderedDict[str, None] = OrderedDict()
# Where each piece of MIN_LENGTH characters occurs: value and offset. Every part of MIN_PART characters holds one.
_pieces: dict[str, tuple[tuple[str, int], ...]] = {}
# Those of `_pieces` that contain a blank; usually there are none, and then only words need to be checked.
_blank_pieces: set[str] = set()
_lock = threading.Lock()
_WORD = re.compile(r"\S{8,}")
# The characters of generated secrets (RFC 6750 §2.1). Parts of anything else are ordinary words: of an address that
# someone pasted as Secret, or of a JSON text that is sealed as a whole.
_ONE_WORD = re.compile(r"[A-Za-z0-9._~+/=-]+")
_ENCODED = re.compile(r"\S{12,}")
_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}")
_TO_STANDARD = str.maketrans("-_", "+/")
# What looks like a token of GitLab's, or a JWT, whoever held it. Three digits tell one from a project's name.
_TOKEN = re.compile(
    r"\b(?:gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|soat|imt|ffct)-|giat_)(?=(?:[A-Za-z_.-]*[0-9]){3})[\w.-]{16,}"
    r"|\beyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?"
)
_LONG_WORD = re.compile(r"[A-Za-z0-9_-]{20,}")


def register(value: str) -> None:
    """Redact a secret from every text from now on; the oldest of very many are dropped."""
    if len(value) < MIN_LENGTH:
        return
    with _lock:
        if value not in _values:
            for piece, offset in _pieces_of(value):
                # A new tuple each time, because readers take no lock.
                _pieces[piece] = (*_pieces.get(piece, ()), (value, offset))
                if _WORD.fullmatch(piece) is None:
                    _blank_pieces.add(piece)
        _values[value] = None
        _values.move_to_end(value)
        while len(_values) > MAX_REGISTERED:
            _forget(_values.popitem(last=False)[0])


def registered_values() -> list[str]:
    """Return every secret this process has held recently, longest first."""
    with _lock:
        return sorted(_values, key=len, reverse=True)


def redact(text: str) -> str:
    """Replace every registered secret in a text, and every part of one that is long enough to matter.

    Every log line passes through here, so the work grows with the text and not with the number of secrets: each
        position is looked up by its next few characters.
    """
    if not _may_hold_one(text):
        return text
    kept: list[str] = []
    begin = 0
    for at in [at for at in range(len(text) - MIN_LENGTH + 1) if text[at : at + MIN_LENGTH] in _pieces]:
        if at >= begin and (found := _longest(text, at, begin)) is not None:
            start, end = found
            kept += (text[begin:start], MASK)
            begin = end
    return "".join(kept) + text[begin:]


def redact_foreign(text: str) -> str:
    """Replace secrets in a foreign text, also URL-encoded, JSON-escaped and in base64, and what looks like a token.

    A word that hides a secret in another form is replaced as a whole.
    """
    text = redact(text)
    if "gl" in text or "giat_" in text or "eyJ" in text:
        text = _TOKEN.sub(MASK, text)

    # Most texts can hide nothing (see `_other_forms`), and GitLab's lists have a million of them.
    if not any(mark in text for mark in "%\\&") and all(run == run.lower() for run in _BASE64.findall(text)):
        return text

    def mask(word: re.Match[str]) -> str:
        return MASK if any(redact(form) != form for form in _other_forms(word[0])) else word[0]

    return _ENCODED.sub(mask, text)


def redact_random(text: str) -> str:
    """Replace what may be a secret that this process never held: for foreign sentences, never for names."""
    return _LONG_WORD.sub(lambda word: MASK if _is_random(word[0]) else word[0], text)


def _is_random(word: str) -> bool:
    digits, capitals, small = (sum(map(test, word)) for test in (str.isdigit, str.isupper, str.islower))
    # Three digits and a letter are unusual for a word, and so are as many capitals as small letters.
    return (digits >= 3 and digits < len(word)) or min(capitals, small) >= len(word) / 4


def _may_hold_one(text: str) -> bool:
    if len(_pieces) <= FEW_PIECES:
        return any(piece in text for piece in tuple(_pieces))
    words = (text,) if _blank_pieces else _WORD.findall(text)
    return any(
        not _pieces.keys().isdisjoint([word[at : at + MIN_LENGTH] for at in range(len(word) - MIN_LENGTH + 1)])
        for word in words
    )


def _longest(text: str, at: int, begin: int) -> tuple[int, int] | None:
    """Return from where to where the longest secret goes, or part of one, that has a piece at `at`."""
    best: tuple[int, int] | None = None
    for value, offset in _pieces.get(text[at : at + MIN_LENGTH], ()):
        start, end, first, last = at, at + MIN_LENGTH, offset, offset + MIN_LENGTH
        while start > begin and first > 0 and text[start - 1] == value[first - 1]:
            start, first = start - 1, first - 1
        while end < len(text) and last < len(value) and text[end] == value[last]:
            end, last = end + 1, last + 1
        is_whole = end - start == len(value)
        is_part = end - start >= MIN_PART and _ONE_WORD.fullmatch(value) is not None
        if (is_whole or is_part) and (best is None or end - start > best[1] - best[0]):
            best = start, end
    return best


def _other_forms(word: str) -> Iterator[str]:
    plain = word
    if "%" in plain:
        yield (plain := unquote_plus(plain))
    if "\\" in plain:
        yield (plain := _JSON_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), plain.replace("\\/", "/")))
    if "&" in plain:
        yield (plain := html.unescape(plain))
    for match in _BASE64.finditer(plain):
        run = match[0]
        # Base64 of text nearly always has a capital first in each group, so lower-case paths are not base64.
        if run == run.lower():
            continue
        standard = run.translate(_TO_STANDARD)
        for skipped in range(4):
            cut = standard[skipped:]
            yield binascii.a2b_base64(cut + "A" * (-len(cut) % 4)).decode("latin-1")


def _pieces_of(value: str) -> Iterator[tuple[str, int]]:
    places: dict[str, list[int]] = {}
    for offset in range(0, len(value) - MIN_LENGTH + 1, MIN_LENGTH) if _ONE_WORD.fullmatch(value) else (0,):
        places.setdefault(value[offset : offset + MIN_LENGTH], []).append(offset)
    for piece, offsets in places.items():
        # A text that repeats itself thousands of times would cost the square of its length: its ends are enough.
        yield from ((piece, offset) for offset in [*offsets[:MAX_PLACES], *offsets[MAX_PLACES:][-MAX_PLACES:]])


def _forget(value: str) -> None:
    for piece, offset in _pieces_of(value):
        left = tuple(place for place in _pieces[piece] if place != (value, offset))
        if left:
            _pieces[piece] = left
        else:
            del _pieces[piece]
            _blank_pieces.discard(piece)
