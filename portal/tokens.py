"""Random values that only a browser or a person holds: session cookies and one-time links."""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """Return 256 random bits for an address or a cookie."""
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """Return what is stored for a token."""
    return hashlib.sha256(token.encode()).hexdigest()
