"""The web server's log: whatever the format, an entry holds no secret and is exactly one line.

It is outside the package, like `wsgi.py`: gunicorn's first process loads it and must not hold the portal's modules, or
the workers that it starts on SIGHUP would have the old version.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

# Everything a format may contain besides gunicorn's letters; any other header may hold a cookie, a token or a code.
HARMLESS_HEADERS = frozenset({"host", "x-forwarded-for", "x-request-id", "content-type", "content-length"})
MAX_TEXT = 500
_ORIGIN = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class AccessLog(Logger):  # type: ignore[misc]
    """gunicorn's log with encoded paths without their secret parts, no query, no referrer, and texts on one line."""

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> dict[str, Any]:
        """Return the values that a format may contain."""
        found = super().atoms(resp, req, environ, request_time)
        kept = {name: value for name, value in found.items() if not name.startswith("{") or _is_harmless(name)}
        path = _path_of(environ.get("RAW_URI", ""))
        kept |= {"U": path, "q": "", "u": "-", "f": "-"}
        kept["r"] = f"{environ.get('REQUEST_METHOD')} {path} {environ.get('SERVER_PROTOCOL')}"
        return {name: _one_line(value) if isinstance(value, str) else value for name, value in kept.items()}


def _is_harmless(name: str) -> bool:
    header, _, kind = name[1:].partition("}")
    return kind in {"i", "o"} and header in HARMLESS_HEADERS


def _path_of(target: str) -> str:
    """Return the path of a request's target; a query may hold `code` and `state`."""
    from portal.requestinfo import loggable_path  # Only workers write these lines.

    return loggable_path(re.split(r"[?#]", _ORIGIN.sub("", target), maxsplit=1)[0])


def _one_line(text: str) -> str:
    if not text.isprintable():
        text = "".join(mark if mark.isprintable() else f"\\x{ord(mark):02x}" for mark in text)
    return text[:MAX_TEXT]
