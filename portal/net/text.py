"""Text from elsewhere: made harmless to read, never trusted (S60)."""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "…"
REPLACEMENT = "\ufffd"
# Letters and marks that show nothing, so `isprintable` lets them pass: joiners, vowel and syllable fillers.
_EMPTY = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]")


def plain_text(value: str, limit: int = 500) -> str:
    """Return NFC text of at most `limit` characters, with control and hidden characters made visible.

    Tabs and line ends become blanks, control characters U+FFFD; bidirectional controls, zero-width and other
    characters that show nothing become ⟨U+202E⟩ and the like, because they make a text look like another one.
    """
    # Twice the limit: composing may halve a text, never more of it is needed.
    text = unicodedata.normalize("NFC", value[: limit * 2])
    if not text.isprintable() or _EMPTY.search(text):
        text = "".join(map(_visible, text))
    if len(text) > limit or len(value) > limit * 2:
        return text[: limit - 1] + ELLIPSIS
    return text


def _visible(character: str) -> str:
    if character in "\t\n\r\u2028\u2029":
        return " "
    category = unicodedata.category(character)
    if category in {"Cc", "Cs"}:
        return REPLACEMENT
    if category == "Cf" or _EMPTY.match(character):
        return f"⟨U+{ord(character):04X}⟩"
    return character
