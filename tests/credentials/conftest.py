"""These tests run on both databases; the key ring is a file, shared with processes that are killed."""

from __future__ import annotations

from tests.disconnection.conftest import backend, ring, world

__all__ = ["backend", "ring", "world"]
