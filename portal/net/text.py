"""Text from elsewhere: made harmless to read, never trusted (S60)."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"
# Bidirectional controls, zero-width characters and the byte order mark: they make a text look like another one.
_HIDDEN = {*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF}


def plain_text(value: str, limit: int = 500) -> str:
    """Return NFC text of at most `limit` characters, with control and hidden characters made visible."""
    if value.isascii() and value.isprintable():
        return _cut(value, limit)
    shown = "".join(_visible(character) for character in unicodedata.normalize("NFC", value[: limit * 2]))
    return _cut(shown, limit)


def _cut(shown: str, limit: int) -> str:
    return shown if len(shown) <= limit else shown[: limit - 1] + ELLIPSIS


def _visible(character: str) -> str:
    number = ord(character)
    if number in _HIDDEN or 0x7F <= number <= 0x9F or 0xD800 <= number <= 0xDFFF:
        return f"⟨U+{number:04X}⟩" if number in _HIDDEN else "\ufffd"
    if number < 0x20:
        return " " if character in "\t\n\r" else "\ufffd"
    return character
