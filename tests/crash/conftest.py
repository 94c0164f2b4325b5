"""Processes that die at a named point, on both databases; the key ring is a file that they share."""

from __future__ import annotations

import pytest

from portal.settings import Settings
from portal.vault import KeyRing


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite and PostgreSQL in turn."""
    return str(request.param)


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    """The ring of this portal's own key file."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return KeyRing.create_file(settings.resolved_key_file)
