"""Rules for redirect URIs: what an application may register, and what a request may use of it."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, parse_qsl, urlsplit

FORBIDDEN_SCHEMES = frozenset({"data", "vbscript", "javascript"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def registration_errors(text: str) -> list[str]:
    """Return GitLab's messages for a registered value (URIs separated by whitespace); empty if it is good."""
    uris = text.split()
    if not uris:
        return ["can't be blank"]
    messages = [message for uri in uris for message in _registration_errors(uri)]
    return list(dict.fromkeys(messages))


def _registration_errors(uri: str) -> list[str]:
    parts = _split(uri)
    if parts is None:
        return ["must be a valid URI."]
    # The engine's URI parser calls "scheme:anything" without a slash opaque; "localhost:8000/x" is the usual case.
    opaque = bool(parts.scheme) and not parts.netloc and not parts.path.startswith("/")
    findings = {
        "is forbidden by the server.": parts.scheme in FORBIDDEN_SCHEMES,
        "cannot contain a fragment.": "#" in uri,
        "must specify a scheme.": opaque or parts.scheme == "localhost",
        "must be an absolute URI.": not parts.scheme and not parts.hostname,
        "must be a valid URI.": parts.scheme in _DEFAULT_PORTS and not opaque and not parts.hostname,
    }
    return [message for message, found in findings.items() if found]


def matches(registered: str, requested: str) -> bool:
    """Return whether `requested` is one of the URIs in `registered`, by the engine's rules."""
    asked = _split(requested)
    if asked is None or asked.fragment or not asked.scheme or not asked.netloc:
        return False
    candidates = (_split(uri) for uri in registered.split())
    return any(candidate is not None and _same(candidate, asked) for candidate in candidates)


def _same(registered: SplitResult, asked: SplitResult) -> bool:
    if (registered.scheme, registered.hostname, registered.path) != (asked.scheme, asked.hostname, asked.path):
        return False
    if registered.username != asked.username or registered.password != asked.password:
        return False
    if not _is_loopback_ip(registered.hostname) and _port(registered) != _port(asked):
        return False
    return not registered.query or sorted(_pairs(registered)) == sorted(_pairs(asked))


def _pairs(parts: SplitResult) -> list[tuple[str, str]]:
    return parse_qsl(parts.query, keep_blank_values=True)


def _port(parts: SplitResult) -> int | None:
    return parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _is_loopback_ip(hostname: str | None) -> bool:
    """Return whether the host is a loopback address; the name `localhost` does not count (RFC 8252 §7.3)."""
    try:
        return ipaddress.ip_address(hostname or "").is_loopback
    except ValueError:
        return False


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return None if any(character.isspace() for character in uri) else parts
