"""What copying and pasting adds: invisible characters, and quotes around the value."""

from __future__ import annotations

import unicodedata

# Invisible letters and marks that are not format characters.
_EMPTY = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
_AROUND = {'"': '"', "'": "'", "`": "`", "<": ">", "“": "”", "„": "“", "‘": "’", "«": "»"}


def trim_pasted(text: str) -> str:
    """Return the text without blanks and invisible characters at both ends."""
    start, end = 0, len(text)
    while start < end and _shows_nothing(text[start]):
        start += 1
    while end > start and _shows_nothing(text[end - 1]):
        end -= 1
    return text[start:end]


def unquote(text: str) -> str:
    """Return the text without one pair of quotes or angle brackets around it."""
    if len(text) > 1 and _AROUND.get(text[0]) == text[-1]:
        return trim_pasted(text[1:-1])
    return text


def find_invisible(text: str) -> str:
    """Say where the first invisible non-ASCII character is and which one it is; empty if there is none."""
    for position, character in enumerate(text):
        if _shows_nothing(character) and not character.isascii():
            where = f"after “{text[max(position - 10, 0) : position]}”" if position else "at the beginning"
            return f"There is an invisible character (U+{ord(character):04X}) {where}."
    return ""


def _shows_nothing(character: str) -> bool:
    return character in "\t\n\r" or unicodedata.category(character) in {"Cf", "Zs", "Zl", "Zp"} or character in _EMPTY
