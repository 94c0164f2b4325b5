"""Texts as the audit log stores them: one event stays one line, and text from GitLab is marked as such (S86)."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime
from typing import Any

from portal.foreign import Foreign

MAX_DETAIL_LENGTH = 500
MAX_KEY_LENGTH = 80


def encode_controls(text: str, limit: int) -> str:
    """Write control, formatting and unassigned characters as `\\u....`, so that one event stays one line (S86)."""
    if text.isprintable():
        return text[:limit]
    encoded = "".join(_encode(character) for character in text[:limit])
    return encoded[:limit]


def plain(value: Any) -> Any:
    """Return a value in the form that is hashed: a time in UTC, to the microsecond."""
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def clean_details(value: Any) -> Any:
    """Return details as plain JSON with encoded, shortened texts."""
    if isinstance(value, dict):
        return {encode_controls(str(key), MAX_KEY_LENGTH): clean_details(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_details(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, map(clean_details, value)))
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return encode_controls(str(value), MAX_DETAIL_LENGTH)


def foreign_paths(value: Any, path: str) -> list[str]:
    """Return which fields hold text from GitLab, such as `details.path`; a list counts as a whole."""
    if isinstance(value, Foreign):
        return [path]
    if isinstance(value, dict):
        below = ((f"{path}.{encode_controls(str(key), MAX_KEY_LENGTH)}", item) for key, item in value.items())
        return [found for name, item in below for found in foreign_paths(item, name)]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [path] if any(foreign_paths(item, path) for item in value) else []
    return []


def _encode(character: str) -> str:
    # Category C holds line breaks, ANSI escapes, text-direction marks and lone surrogates alike; Z* but the space
    # holds the line and paragraph separators.
    category = unicodedata.category(character)
    if category.startswith("C") or (category.startswith("Z") and character not in {" ", "\u00a0"}):
        return f"\\u{ord(character):04x}"
    return character
